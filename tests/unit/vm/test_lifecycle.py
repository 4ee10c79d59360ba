from __future__ import annotations

import pytest

from tachikoma.vm.lifecycle import LEADS_TO, STEPS, Goal, Phase, Step, decide

CELLS = [(goal, phase) for goal in Goal for phase in Phase]


@pytest.mark.parametrize(("goal", "phase"), CELLS)
def test_every_cell_of_the_table_is_defined(goal: Goal, phase: Phase) -> None:
    assert isinstance(decide(goal, phase), Step)


@pytest.mark.parametrize(("goal", "phase"), CELLS)
def test_every_path_ends_without_going_round(goal: Goal, phase: Phase) -> None:
    seen: set[Phase] = set()
    while (step := STEPS[goal][phase]) not in {Step.DONE, Step.REFUSE}:
        assert phase not in seen
        seen.add(phase)
        phase = LEADS_TO[step]


@pytest.mark.parametrize(("goal", "phase"), CELLS)
def test_a_path_that_is_not_refused_ends_at_its_goal(goal: Goal, phase: Phase) -> None:
    while (step := STEPS[goal][phase]) not in {Step.DONE, Step.REFUSE}:
        phase = LEADS_TO[step]
    # What is stopped has no memory left that could be kept: it is as much at rest as it can be.
    fulfilled = {goal.value, "stopped"} if goal is Goal.SUSPENDED else {goal.value}
    assert step is Step.REFUSE or phase.value in fulfilled


@pytest.mark.parametrize("goal", list(Goal))
def test_what_we_do_not_know_is_never_touched(goal: Goal) -> None:
    assert decide(goal, Phase.UNKNOWN) is Step.REFUSE
