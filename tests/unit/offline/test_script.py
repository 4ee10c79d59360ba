from __future__ import annotations

from tachikoma.offline.conversation import Conversation, ToolOutcome
from tachikoma.offline.script import Answer, RunsCommands, Scenario, ToolUse, decide

_FIRST = Answer("first", ToolUse("Bash", {"command": "one"}))
_SECOND = Answer("second", ToolUse("Bash", {"command": "two"}))
_SCENARIO = Scenario(when="the errand", turns=(_FIRST, _SECOND), closing="it said {output}")


def _asked(
    prompt: str, *outcomes: ToolOutcome, tools: tuple[str, ...] = ("Bash", "Read")
) -> Conversation:
    return Conversation("m", True, tools, 1 + 2 * len(outcomes), prompt, outcomes)


def _gave(text: str, *, failed: bool = False) -> ToolOutcome:
    return ToolOutcome("t", text, failed)


def test_a_scenario_goes_through_its_tools_and_closes_with_the_last_output() -> None:
    asked = "please do the errand"
    answers = [
        _SCENARIO.answer(_asked(asked)),
        _SCENARIO.answer(_asked(asked, _gave("1"))),
        _SCENARIO.answer(_asked(asked, _gave("1"), _gave("2"))),
    ]
    assert answers == [_FIRST, _SECOND, Answer("it said 2")]
    assert [answer.stop_reason for answer in answers if answer] == [
        "tool_use",
        "tool_use",
        "end_turn",
    ]


def test_a_scenario_stops_when_a_tool_fails_and_says_so() -> None:
    answer = _SCENARIO.answer(_asked("the errand", _gave("no such file", failed=True)))
    assert answer == Answer("I stop here, because the tool failed:\nno such file")


def test_the_same_question_gets_the_same_answer_again() -> None:
    again = [_SCENARIO.answer(_asked("the errand", _gave("1"))) for _ in range(3)]
    assert again == [_SECOND, _SECOND, _SECOND]


def test_a_side_call_without_tools_gets_a_short_plain_answer() -> None:
    assert decide((_SCENARIO, RunsCommands()), _asked("the errand", tools=())) == Answer("OK")


def test_a_prompt_that_no_script_knows_gets_a_short_plain_answer() -> None:
    assert decide((_SCENARIO, RunsCommands()), _asked("good morning")) == Answer("OK")


def test_a_prompt_to_run_a_command_runs_it_as_it_is_and_repeats_its_output() -> None:
    script = RunsCommands()
    asked = script.answer(_asked("run: echo 'a {output}' | wc"))
    assert asked is not None
    assert asked.tool == ToolUse(
        "Bash", {"command": "echo 'a {output}' | wc", "description": "Run what was asked"}
    )
    told = script.answer(_asked("run: echo", _gave("{output} 1")))
    assert told == Answer("{output} 1")
