from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.course import Standing
from tachikoma.makima.server.entries import Entry, MachineEntry, Outcome
from tachikoma.makima.server.views import Around, attention, daemon, files_of, task_row, waits_for

TASK, HOST = UUID(int=1), UUID(int=2)
ENTRY = Entry(id=TASK, name="x", created=0.0)
AROUND = Around(needs={}, undone={}, subtasks={}, hosts={HOST: "worker"}, here=frozenset({HOST}))
AWAY = replace(AROUND, here=frozenset())


def out(status: TaskStatus) -> Entry:
    return replace(ENTRY, standing=Standing(status=status, out=True, attempt=1), machine=HOST)


@pytest.mark.parametrize(
    ("entry", "around", "said"),
    [
        (ENTRY, AROUND, ""),
        (out(TaskStatus.RUNNING), AROUND, ""),
        (out(TaskStatus.RUNNING), AWAY, "its daemon worker is away"),
        (out(TaskStatus.PAUSED), AROUND, "it is held until somebody resumes it"),
        (
            replace(
                ENTRY, standing=Standing(status=TaskStatus.DONE), outcome=Outcome(success=False)
            ),
            AROUND,
            "its work is done, and could not be delivered: run the action again",
        ),
    ],
)
def test_a_person_is_told_what_waits_for_one(entry: Entry, around: Around, said: str) -> None:
    assert attention(entry, around) == said


@pytest.mark.parametrize(
    ("entry", "around", "said"),
    [
        (out(TaskStatus.RUNNING), AROUND, ""),
        (out(TaskStatus.PENDING), AROUND, "its daemon, which has other tasks before it"),
        (ENTRY, AROUND, "a daemon with room for it"),
        (ENTRY, AWAY, "a daemon: none is connected"),
        (ENTRY, replace(AROUND, undone={TASK: 1}), "a task that is not done yet"),
        (ENTRY, replace(AROUND, undone={TASK: 2}), "2 tasks not done yet"),
    ],
)
def test_a_pending_task_tells_what_it_waits_for(entry: Entry, around: Around, said: str) -> None:
    assert waits_for(entry, around) == said


def test_a_row_has_what_stands_around_it() -> None:
    around = replace(AROUND, needs={TASK: (HOST,)}, subtasks={TASK: 3})
    row = task_row(out(TaskStatus.RUNNING), around)
    assert (row.dependencies, row.subtasks) == ((HOST,), 3)
    assert row.daemon is not None
    assert row.daemon.hostname == "worker"


def test_a_daemon_without_a_number_is_a_relay() -> None:
    entry = MachineEntry(HOST, "m", "worker", 0, 5, None, 0.0, 1.0, None)
    shown = daemon(entry, here=False, active=2)
    assert (shown.relay, shown.connected, shown.connected_at) == (True, False, None)
    assert daemon(replace(entry, most=4), here=True, active=0).relay is False
    assert files_of('["a"]') == ("a",)
