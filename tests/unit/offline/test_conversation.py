from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.offline.conversation import (
    BadRequest,
    Conversation,
    ToolOutcome,
    decode_conversation,
)


def _user(*blocks: object) -> dict[str, object]:
    return {"role": "user", "content": list(blocks)}


def _text(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}


def _result(identity: str, content: object, **more: object) -> dict[str, object]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **more}


_TOOL_USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash"}]}


def test_a_first_request_is_its_prompt_and_tools_without_the_clients_reminders() -> None:
    body = {
        "model": "m",
        "stream": True,
        "tools": [{"name": "Bash"}, {"name": "Read"}],
        "messages": [
            _user(_text("<system-reminder>\nCLAUDE.md\n</system-reminder>"), _text("do it"))
        ],
    }
    assert decode_conversation(body) == Conversation(
        model="m", streamed=True, tools=("Bash", "Read"), messages=1, prompt="do it", outcomes=()
    )


def test_what_tools_gave_counts_from_the_last_prompt_on() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "first"},
            _TOOL_USE,
            _user(_result("t0", "old")),
            {"role": "user", "content": "second"},
            _TOOL_USE,
            _user(_result("t1", [_text("one"), _text("two")], is_error=True), _text("by the way")),
            {"role": "system", "content": "a note"},
            _user(_text("<system-reminder>x</system-reminder>")),
        ],
    }
    assert decode_conversation(body) == Conversation(
        model="m",
        streamed=False,
        tools=(),
        messages=8,
        prompt="second",
        outcomes=(ToolOutcome("t1", "one\ntwo", failed=True),),
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "the body must be a JSON object"),
        ({"messages": [_user()]}, "model: field required"),
        ({"model": "m"}, "messages: at least one message is required"),
        ({"model": "m", "messages": []}, "messages: at least one message is required"),
    ],
)
def test_a_body_that_the_api_would_refuse_is_refused_with_the_reason(
    body: object, why: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        decode_conversation(body)
    assert str(refused.value) == why


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(messages=st.lists(_json, min_size=1), tools=_json)
def test_any_json_gives_a_conversation(messages: list[object], tools: object) -> None:
    body = {"model": "m", "messages": messages, "tools": tools}
    assert decode_conversation(body).messages == len(messages)
