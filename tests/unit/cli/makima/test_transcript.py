from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachikoma.cli.makima.transcript import Transcript


def told(*events: object, room: int = 80) -> list[str]:
    transcript = Transcript(room=room)
    return [
        piece.text
        for event in events
        for piece in transcript(event if isinstance(event, str) else json.dumps(event))
    ]


def said(*blocks: object, **more: object) -> dict[str, object]:
    return {"type": "assistant", "message": {"content": list(blocks)}, **more}


def answered(*blocks: object, **more: object) -> dict[str, object]:
    return {"type": "user", "message": {"content": list(blocks)}, **more}


INIT = {
    "type": "system",
    "subtype": "init",
    "session_id": "s1",
    "model": "claude-opus-4-8",
    "claude_code_version": "2.1.197",
}


def test_a_session_is_told_once() -> None:
    assert told(INIT, INIT) == ["session s1: claude-opus-4-8, 2.1.197"]


def test_what_the_agent_says_stands_whole() -> None:
    text = "I look at it.\n" + "long " * 40
    first, second = told(said({"type": "text", "text": text}))
    assert (first, len(second)) == ("I look at it.", 199)


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ({"name": "Bash", "input": {"command": "make\ntest"}}, "→ Bash: make test"),
        ({"name": "Read", "input": {"file_path": "/a.py", "limit": 3}}, "→ Read: /a.py"),
        ({"name": "TodoWrite", "input": {"todos": [1]}}, '→ TodoWrite: {"todos": [1]}'),
        ({"name": "Odd"}, "→ Odd"),
    ],
)
def test_a_call_of_a_tool_is_one_line(block: dict[str, object], line: str) -> None:
    assert told(said({"type": "tool_use", **block})) == [line]


def test_a_long_call_is_cut_to_the_terminal() -> None:
    (line,) = told(said({"type": "tool_use", "name": "Bash", "input": {"command": "x" * 500}}))
    assert len(line) == 80
    assert line.endswith("…")


def test_results_are_their_first_line_and_how_much_more_there_is() -> None:
    result = {"type": "tool_result", "content": "one\n\ntwo\nthree\n"}
    failed = {"type": "tool_result", "content": [{"type": "text", "text": "no"}], "is_error": True}
    empty = {"type": "tool_result", "content": None}
    assert told(answered(result, failed, empty)) == [
        "  • one (and 2 lines)",
        "  ✗ no",
        "  • nothing",
    ]


def test_messages_to_the_agent_and_work_of_its_own_agents_stand_out() -> None:
    assert told(
        {"type": "user", "message": {"content": "Please also test it"}},
        said({"type": "text", "text": "aside"}, parent_tool_use_id="t1"),
    ) == ["> Please also test it", "  aside"]


def test_the_end_of_a_turn_has_time_and_cost() -> None:
    good = {"type": "result", "duration_ms": 12_340, "total_cost_usd": 0.456, "is_error": False}
    bad = {"type": "result", "duration_ms": 10, "is_error": True, "errors": ["aborted"]}
    assert told(good, bad) == [
        "✓ turn ended after 12.3 s, $0.46 so far",
        "✗ the turn failed: aborted",
        "turn ended after 0.0 s, $0.00 so far",
    ]


def test_what_is_not_the_agents_own_says_whose_it_is() -> None:
    assert told(
        {"type": "stderr", "text": "no such file"},
        {"type": "daemon", "text": "paused"},
        {"type": "cut", "bytes": 3 << 20},
        "no JSON",
        "",
        {"type": "system", "subtype": "api_retry", "attempt": 2, "uuid": "u"},
    ) == [
        "stderr: no such file",
        "-- paused",
        "-- 3.0 MiB of older output were not kept",
        "no JSON",
        "asks the API again: attempt 2",
    ]


def test_what_is_of_no_use_to_people_is_left_out() -> None:
    assert told({"type": "rate_limit_event"}, {"type": "control_response"}, {"no": "type"}) == []


@pytest.mark.parametrize(
    "event",
    [
        said({"type": "text", "text": "\x1b[2J\x9bgone"}),
        said({"type": "tool_use", "name": "Bash", "input": {"command": "\x1b[2J\x9bgone"}}),
        answered({"type": "tool_result", "content": "\x1b[2J\x9bgone"}),
        {"type": "stderr", "text": "\x1b[2J\x9bgone"},
        "\x1b[2J\x9bgone",
        '{"type": "\x1b[2J\x9bgone"',
    ],
)
def test_an_agent_cannot_command_the_terminal(event: object) -> None:
    lines = told(event)
    assert lines
    assert not set("".join(lines)) & {"\x1b", "\x9b"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["assistant", "user", "system", "result", "stderr", "cut", "daemon"])},
    optional={
        "subtype": st.sampled_from(["init", "api_retry"]) | JSON,
        "message": st.fixed_dictionaries({"content": st.lists(JSON, max_size=3) | JSON}) | JSON,
        "text": JSON,
        "bytes": JSON,
        "duration_ms": JSON,
        "total_cost_usd": JSON,
        "errors": JSON,
        "is_error": JSON,
    },
)


@settings(max_examples=40)
@given(st.text() | JSON.map(json.dumps) | EVENTS.map(json.dumps))
def test_nothing_that_an_agent_prints_breaks_it(line: str) -> None:
    assert all("\x1b" not in piece.text for piece in Transcript(room=40)(line))
