from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.commands import LONGEST_NAME, SpawnTask, name_from

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")


def test_a_task_without_a_name_is_called_by_the_first_line_of_its_plan() -> None:
    assert name_from("\n   Build  the feature \nand test it") == "Build the feature"
    spawn = SpawnTask(task_id=TASK, plan="Build it\nnow", depth=0, is_orchestrator=False)
    assert spawn.task_name == "Build it"


def test_a_name_that_is_given_stays() -> None:
    spawn = SpawnTask(
        task_id=TASK, plan="Build it", task_name="Feature", depth=0, is_orchestrator=False
    )
    assert spawn.task_name == "Feature"


def test_a_plan_of_nothing_has_a_name_all_the_same() -> None:
    assert name_from(" \n\t\n") == "Unnamed task"


@given(st.text())
def test_a_derived_name_is_one_short_line(plan: str) -> None:
    name = name_from(plan)
    assert 0 < len(name) <= LONGEST_NAME
    assert len(name.splitlines()) == 1
