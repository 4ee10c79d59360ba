from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.host.journal import FileJournal
from tachikoma.model.events import Event, Notice, StepEnded, StepProgress, StepStarted
from tachikoma.model.names import VmName

VM = VmName("tachikoma-app-x")


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(directory=tmp_path / "vms", clock=FakeClock())


def test_each_line_has_its_time_and_no_credential(journal: FileJournal) -> None:
    journal.note(VM, "one\nkey sk-ant-abcd-0123456789\n")
    assert journal.path(VM).read_text() == (
        "2023-11-14T22:13:20Z one\n2023-11-14T22:13:20Z key sk-ant-abcd[redacted]\n"
    )
    assert journal.path(VM).stat().st_mode & 0o077 == 0


def test_steps_and_notices_are_overheard_and_handed_on(journal: FileJournal) -> None:
    events: list[Event] = [
        StepStarted("clone", "Making"),
        StepProgress("mounts"),
        StepEnded("clone", 1.26),
        Notice("by the way"),
    ]
    heard: list[Event] = []
    report = journal.overhearing(VM, heard.append)
    for event in events:
        report(event)
    assert heard == events
    lines = [line.split(" ", 1)[1] for line in journal.path(VM).read_text().splitlines()]
    assert lines == ["clone: Making", "clone: done in 1.3 s", "by the way"]


def test_a_long_log_begins_anew_and_keeps_the_one_before(journal: FileJournal) -> None:
    for _ in range(3):
        journal.note(VM, "x" * 600_000)
    kept = journal.path(VM).with_name(f"{VM}.log.1")
    assert journal.path(VM).stat().st_size < 1 << 20
    assert kept.exists()
    journal.forget(VM)
    journal.forget(VM)
    assert not kept.exists()
    assert not journal.path(VM).exists()


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "vms").write_text("in the way")
    FileJournal(directory=tmp_path / "vms", clock=FakeClock()).note(VM, "lost")
