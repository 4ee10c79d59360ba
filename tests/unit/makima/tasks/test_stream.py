from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.record import Figures
from tachikoma.makima.settings import ProcessSettings
from tachikoma.makima.tasks.stream import (
    LONGEST_SUMMARY,
    Account,
    ControlAnswered,
    Progress,
    SessionStarted,
    Tokens,
    TurnEnded,
    claude_argv,
    interrupt_request,
    read_event,
    user_message,
)

ID = UUID("550e8400-e29b-41d4-a716-446655440000")


def event(**fields: Any) -> Any:
    return read_event(json.dumps(fields), directory=PurePosixPath("/srv/app"))


def used(name: str, **given: Any) -> Any:
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": given}
    return event(type="assistant", message={"content": [block]})


# What is said to it.


def test_the_command_line_has_what_goes_before_the_defaults_and_what_comes_behind() -> None:
    settings = ProcessSettings(claude_pre_args=("--model", "opus"), claude_args=("--effort", "low"))
    assert claude_argv(settings) == [
        *("claude", "--model", "opus"),
        *("--output-format=stream-json", "--input-format=stream-json"),
        *("--verbose", "--dangerously-skip-permissions", "--effort", "low"),
    ]


def test_permissions_and_quiet_are_what_the_settings_can_change() -> None:
    quiet = ProcessSettings(claude_command="/opt/claude", disable_verbose=True)
    both = ("--output-format=stream-json", "--input-format=stream-json")
    assert claude_argv(quiet) == ["/opt/claude", *both, "--dangerously-skip-permissions"]
    asks = ProcessSettings(enable_permissions=True)
    assert claude_argv(asks) == ["claude", *both, "--verbose"]


def test_a_message_is_one_line_whatever_is_in_it() -> None:
    line = user_message("one\ntwo \ud800 ü \u2028", ID)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "type": "user",
        "message": {"role": "user", "content": "one\ntwo \ud800 ü \u2028"},
        "uuid": str(ID),
    }


def test_an_interrupt_is_a_control_request() -> None:
    assert json.loads(interrupt_request("i1")) == {
        "type": "control_request",
        "request_id": "i1",
        "request": {"subtype": "interrupt"},
    }


# What it says.


def test_what_a_tool_said_tells_us_nothing_whatever_it_looks_like() -> None:
    looks = {"type": "result", "is_error": True, "result": "no"}
    content = [{"type": "tool_result", "content": json.dumps(looks)}]
    told = {"type": "user", "message": {"content": content}}
    for separators in ((",", ":"), (", ", ": ")):
        assert read_event(json.dumps(told, separators=separators)) is None


def test_a_session_is_known_by_its_id() -> None:
    started = event(type="system", subtype="init", session_id="s", model="m", tools=[])
    assert started == SessionStarted("s", "m")


@pytest.mark.parametrize(
    ("name", "given", "summary"),
    [
        ("Bash", {"command": "make test", "description": "Test it"}, "Bash: make test"),
        ("Bash", {"command": "\n  cd x\nmake"}, "Bash: cd x"),
        ("Edit", {"file_path": "/srv/app/src/app.py", "old_string": "a"}, "Edit src/app.py"),
        ("Read", {"file_path": "/etc/hosts"}, "Read /etc/hosts"),
        ("Glob", {"path": "/srv/app", "pattern": "*"}, "Glob /srv/app"),
        ("Grep", {"pattern": "TODO"}, "Grep: TODO"),
        ("Task", {"prompt": "Look\nhere", "description": "Look for it"}, "Task: Look for it"),
        ("TodoWrite", {"todos": [{"content": "x"}]}, "TodoWrite"),
        ("Bash", {"command": 3}, "Bash"),
    ],
)
def test_a_tool_is_told_by_what_it_is_used_for(
    name: str, given: dict[str, Any], summary: str
) -> None:
    assert used(name, **given) == Progress(summary)


def test_words_are_told_by_their_first_line() -> None:
    block = {"type": "text", "text": "\n \n  I look at  it.\nThen I go on."}
    told = event(type="assistant", message={"content": [block]})
    assert told == Progress("I look at it.")


def test_thoughts_and_nothing_are_no_progress() -> None:
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": " \n"}, None, 3]
    assert event(type="assistant", message={"content": blocks}) is None


def test_a_summary_is_short_and_moves_no_cursor() -> None:
    told = used("Bash", command="\x1b[2J\x07echo \u202e" + "x" * 1000)
    assert told.summary.startswith("Bash: [2J echo xxx")
    assert len(told.summary) == LONGEST_SUMMARY
    assert told.summary.endswith("x…")


def test_a_model_that_does_not_answer_is_progress_of_a_kind() -> None:
    told = event(type="system", subtype="api_retry", attempt=2, max_retries=10, error="rate_limit")
    assert told == Progress("Trying the model again, 2 of 10: rate limit")


RESULT = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "num_turns": 2,
    "result": "third",
    "total_cost_usd": 0.25,
    "usage": {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 3},
    "modelUsage": {
        "opus": {"inputTokens": 300, "outputTokens": 21, "cacheReadInputTokens": 4},
        "haiku": {"inputTokens": 1, "outputTokens": 1, "cacheCreationInputTokens": 5},
    },
}


def test_a_turn_ends_with_what_it_and_the_process_took() -> None:
    assert event(**RESULT) == TurnEnded(
        is_error=False,
        subtype="success",
        error="",
        text="third",
        turns=2,
        tokens=Tokens(10, 2, 3, 0),
        tokens_so_far=Tokens(301, 22, 4, 5),
        cost_usd=0.25,
    )


def test_an_api_failure_is_an_error_that_calls_itself_a_success() -> None:
    failed = event(**RESULT | {"is_error": True, "result": "API Error: 401"})
    assert (failed.is_error, failed.error) == (True, "API Error: 401")


def test_a_turn_that_was_broken_off_says_why_in_its_errors() -> None:
    broken = {"type": "result", "subtype": "error_during_execution"}
    assert event(**broken, errors=["gone", {"a": 1}]).error == 'gone; {"a": 1}'
    assert event(**broken).error == "error_during_execution"
    assert event(**broken).is_error is True
    assert event(type="result", is_error=True).error == "the turn failed"


def test_a_control_request_is_answered_by_its_id() -> None:
    good = {"subtype": "success", "request_id": "i1"}
    assert event(type="control_response", response=good) == ControlAnswered("i1", "")
    bad = {"subtype": "error", "request_id": "i2", "error": "Unsupported"}
    assert event(type="control_response", response=bad) == ControlAnswered("i2", "Unsupported")


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", "null", "3", "[]", "{}", "no JSON", "{", '{"type": 3}', '{"type": "future"}'),
        *('{"type": "assistant"}', '{"type": "assistant", "message": {"content": "text"}}'),
        *("[" * 100_000, "1" * 5000, '{"type": "control_response"}', "\ud800"),
    ],
)
def test_what_is_not_understood_is_nothing(line: str) -> None:
    assert read_event(line) is None


def test_figures_that_are_none_count_as_nothing() -> None:
    odd = {"total_cost_usd": float("nan"), "num_turns": -1, "usage": [], "modelUsage": {"x": 3}}
    turn = event(**RESULT | odd)
    assert (turn.turns, turn.tokens, turn.tokens_so_far) == (0, Tokens(), Tokens())
    assert turn.cost_usd is None
    huge = event(**RESULT | {"total_cost_usd": 10**400, "num_turns": True, "modelUsage": None})
    assert (huge.cost_usd, huge.turns, huge.tokens_so_far) == (None, 0, None)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_known = st.fixed_dictionaries(
    {"type": st.sampled_from(["system", "assistant", "result", "control_response"])},
    optional={
        "subtype": st.sampled_from(["init", "api_retry", "success"]) | _json,
        "message": st.fixed_dictionaries({"content": st.lists(_json, max_size=3) | _json}) | _json,
        "response": _json,
        "usage": _json,
        "modelUsage": _json,
        "errors": _json,
        "is_error": _json,
        "total_cost_usd": _json,
    },
)


@given(_known | _json)
def test_no_event_of_any_shape_is_too_much(value: Any) -> None:
    told = read_event(json.dumps(value))
    if isinstance(told, Progress):
        assert told.summary.isprintable()
        assert 0 < len(told.summary) <= LONGEST_SUMMARY


# What it took.


def test_cost_and_tokens_are_those_of_the_process_and_turns_add_up() -> None:
    first = event(**RESULT)
    second = replace(first, cost_usd=0.75, tokens_so_far=Tokens(600, 40, 5, 6))
    account = Account().after(first).after(second)
    assert account.total == Figures(4, 600, 40, 5, 6, 0.75)


def test_a_process_that_resumes_begins_at_nothing_and_adds_up() -> None:
    first = event(**RESULT)
    account = Account().after(first).resumed().after(first)
    assert account.total == Figures(4, 602, 44, 8, 10, 0.5)


def test_a_turn_without_figures_of_the_process_adds_its_own() -> None:
    bare = replace(event(**RESULT), tokens_so_far=None, cost_usd=None)
    account = Account(process=Figures(1, 5, 5, 5, 5, 0.5)).after(bare)
    assert account.total == Figures(3, 15, 7, 8, 5, 0.5)
