from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.messages import BranchList, MergeResult
from tachikoma.makima.server.asking import Questions
from tachikoma.model.errors_fleet import RequestError
from tests.waiting import until

TASK = UUID(int=1)


def answer(text: str) -> MergeResult:
    return MergeResult(task_id=TASK, success=True, message=text)


async def test_the_answer_goes_to_who_asked() -> None:
    questions = Questions(SystemClock())

    def say() -> None:
        questions.answered(BranchList(task_id=TASK, branches=()))
        questions.answered(MergeResult(task_id=UUID(int=2), success=True, message="other"))
        questions.answered(answer("mine"))

    found = await questions.ask(TASK, MergeResult, say, deadline_s=1)
    assert found.message == "mine"


async def test_one_question_at_a_time() -> None:
    questions, said = Questions(SystemClock()), []

    async def ask(name: str) -> str:
        found = await questions.ask(TASK, MergeResult, lambda: said.append(name), deadline_s=5)
        return found.message

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(name)) for name in ("a", "b")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert said == ["a"]
        questions.answered(answer("to a"))
        await until(lambda: said == ["a", "b"])
        questions.answered(answer("to b"))
    assert [each.result() for each in asked] == ["to a", "to b"]


async def test_a_late_answer_is_not_that_to_the_next_question() -> None:
    questions = Questions(SystemClock())
    with pytest.raises(RequestError) as caught:
        await questions.ask(TASK, MergeResult, lambda: None, deadline_s=0.01)
    assert (caught.value.status, caught.value.reason) == (504, "daemon_silent")

    def say() -> None:
        questions.answered(answer("late"))
        questions.answered(answer("right"))

    assert (await questions.ask(TASK, MergeResult, say, deadline_s=1)).message == "right"


def test_what_nobody_asked_for_is_passed_over() -> None:
    Questions(SystemClock()).answered(answer("hello"))
