from __future__ import annotations

from uuid import UUID

import pytest

from tachikoma.makima.messages import TaskProgress
from tachikoma.makima.relay.entries import Batch, Event, Machine, MachineRow, Status


def test_nothing_is_nothing_to_write() -> None:
    assert not Batch()
    assert not Batch(wake={"a"})


@pytest.mark.parametrize(
    "batch",
    [
        Batch(says=[TaskProgress(task_id=UUID(int=1), summary="half")]),
        Batch(events=[Event(0.0, "kind", "text")]),
        Batch(delivered={"a": 1}),
        Batch(dropped=[UUID(int=1)]),
        Batch(state={"name": "value"}),
    ],
)
def test_anything_is_something_to_write(batch: Batch) -> None:
    assert batch


def test_only_completed_and_failed_tasks_have_ended() -> None:
    assert [each for each in Status if each.ended] == [Status.COMPLETED, Status.FAILED]


def test_a_machine_is_called_by_its_host_and_the_id_of_its_daemon() -> None:
    row = MachineRow("m", UUID(int=5), "box", 0, 0.0)
    assert Machine(row).called == "box (00000000-0000-0000-0000-000000000005)"
