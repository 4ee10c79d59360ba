from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tachikoma.offline.conversation import Conversation
from tachikoma.offline.script import Answer, ToolUse
from tachikoma.offline.wire import encode_error, encode_events, encode_message, tokens_in

_ASKED = Conversation("claude-x", True, ("Bash",), 3, "do it", ())
_COMMAND = {"command": "printf '%s\\n' 'ünï' >> NOTES.md && git add -A && git commit -q -m x"}
_ANSWER = Answer("I do it, as you wish, right now.", ToolUse("Bash", _COMMAND))


def _events(answer: Answer) -> list[tuple[str, dict[str, Any]]]:
    told = []
    for raw in encode_events(_ASKED, answer, 7):
        event, data, *rest = raw.decode().split("\n")
        assert rest == ["", ""]
        told.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


def _put_together(answer: Answer) -> dict[str, Any]:
    """What a client makes of the stream."""
    message: dict[str, Any] = {}
    pieces: list[str] = []
    for name, event in _events(answer):
        assert event["type"] == name
        match name:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
                pieces = []
            case "content_block_delta":
                pieces += [
                    value
                    for key, value in event["delta"].items()
                    if key in ("text", "partial_json")
                ]
            case "content_block_stop":
                block = message["content"][event["index"]]
                if block["type"] == "text":
                    block["text"] = "".join(pieces)
                else:
                    block["input"] = json.loads("".join(pieces))
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
            case _:
                pass
    return message


def test_a_stream_has_the_events_of_the_api_in_their_order() -> None:
    names = [name for name, _ in _events(_ANSWER)]
    assert [name for name in names if name != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "ping",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert names.count("content_block_delta") > 3


def test_the_stream_put_together_is_the_whole_message() -> None:
    assert _put_together(_ANSWER) == encode_message(_ASKED, _ANSWER, 7)


@given(text=st.text(), value=st.text())
def test_no_text_gets_lost_in_pieces(text: str, value: str) -> None:
    answer = Answer(text, ToolUse("Bash", {"command": value}))
    text_block, tool_block = _put_together(answer)["content"]
    assert (text_block["text"], tool_block["input"]) == (text, {"command": value})


def test_ids_are_the_same_for_the_same_question_and_new_for_the_next_turn() -> None:
    later = Conversation("claude-x", False, ("Bash",), 5, "do it", ())
    one, again, other = (
        json.loads(json.dumps(encode_message(asked, _ANSWER, 7)))["content"][1]["id"]
        for asked in (_ASKED, _ASKED, later)
    )
    assert one == again != other


def test_an_error_has_the_form_of_the_api() -> None:
    assert encode_error(401, "no", "req_1") == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "no"},
        "request_id": "req_1",
    }


def test_tokens_grow_with_the_request_and_are_never_none() -> None:
    assert [tokens_in(b""), tokens_in(b"x" * 400)] == [1, 100]
