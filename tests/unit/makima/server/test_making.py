from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tachikoma.makima.record import TaskStatus
from tachikoma.makima.server.bodies import CreateTask
from tachikoma.makima.server.course import Standing
from tachikoma.makima.server.entries import Entry
from tachikoma.makima.server.making import DEEPEST, check_of_tool, made
from tachikoma.makima.server.shapes import Action
from tachikoma.model.errors_fleet import RequestError

LEAD = Entry(
    id=UUID(int=1), name="lead", created=0.0, orchestrator=True, repo="/r", base_branch="dev"
)


def test_a_subtask_takes_after_its_orchestrator() -> None:
    given = CreateTask(plan="part\nof it", action=Action.MERGE)
    entry = made(given, id_=UUID(int=2), parent=LEAD, now=5.0)
    assert (entry.name, entry.parent, entry.depth) == ("part", LEAD.id, 1)
    assert (entry.repo, entry.base_branch, entry.action) == ("/r", "dev", Action.NONE)
    own = made(CreateTask(plan="x", base_branch="b"), id_=UUID(int=2), parent=LEAD, now=5.0)
    assert own.base_branch == "b"


@pytest.mark.parametrize(
    ("parent", "reason"),
    [
        (replace(LEAD, orchestrator=False), "not_an_orchestrator"),
        (replace(LEAD, standing=Standing(status=TaskStatus.DONE)), "wrong_state"),
        (replace(LEAD, depth=DEEPEST), "too_deep"),
    ],
)
def test_not_every_task_can_have_subtasks(parent: Entry, reason: str) -> None:
    with pytest.raises(RequestError) as caught:
        made(CreateTask(plan="x"), id_=UUID(int=2), parent=parent, now=0.0)
    assert (caught.value.status, caught.value.reason) == (409, reason)


def test_an_orchestrator_says_nothing_about_where_work_goes() -> None:
    check_of_tool(CreateTask(plan="x", name="y", priority=3, parent=LEAD.id), LEAD.id)
    with pytest.raises(RequestError, match="cannot choose repo, action"):
        check_of_tool(CreateTask(plan="x", repo="/etc", action=Action.NONE), LEAD.id)
