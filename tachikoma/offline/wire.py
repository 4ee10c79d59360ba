"""Answers in the form of the Anthropic messages API: whole messages, streams and errors (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from tachikoma.offline.conversation import Conversation
from tachikoma.offline.script import Answer, ToolUse

Json = Mapping[str, object]

_PIECE = 24
"""Characters in one delta: small, so that every client and proxy has to put pieces together."""

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
}


def encode_message(conversation: Conversation, answer: Answer, input_tokens: int) -> Json:
    """Give the whole message, for a request that does not stream."""
    content: list[Json] = [{"type": "text", "text": answer.text}]
    if answer.tool is not None:
        content.append(_tool_block(conversation, answer.tool, answer.tool.input))
    return _message(conversation, input_tokens) | {
        "content": content,
        "stop_reason": answer.stop_reason,
        "usage": _usage(input_tokens, _output_tokens(answer)),
    }


def encode_events(conversation: Conversation, answer: Answer, input_tokens: int) -> Iterator[bytes]:
    """Yield the server-sent events of the message, in order."""
    yield _event("message_start", message=_message(conversation, input_tokens))
    yield from _block(0, {"type": "text", "text": ""}, "text_delta", "text", answer.text)
    yield _event("ping")
    if answer.tool is not None:
        start = _tool_block(conversation, answer.tool, {})
        arguments = json.dumps(answer.tool.input)
        yield from _block(1, start, "input_json_delta", "partial_json", arguments)
    yield _event(
        "message_delta",
        delta={"stop_reason": answer.stop_reason, "stop_sequence": None},
        usage={"output_tokens": _output_tokens(answer)},
    )
    yield _event("message_stop")


def encode_error(status: int, message: str, request_id: str) -> Json:
    """Give the body of an error answer."""
    kind = _ERROR_TYPES.get(status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }


def tokens_in(body: bytes) -> int:
    """Estimate the tokens of a request: about four bytes each, at least one."""
    return max(len(body) // 4, 1)


def _block(index: int, start: Json, kind: str, key: str, text: str) -> Iterator[bytes]:
    yield _event("content_block_start", index=index, content_block=start)
    for at in range(0, len(text), _PIECE):
        delta = {"type": kind, key: text[at : at + _PIECE]}
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _event(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | fields)}\n\n".encode()


def _message(conversation: Conversation, input_tokens: int) -> dict[str, object]:
    return {
        "id": f"msg_{_mark(conversation, 'message')}",
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(input_tokens, 1),
    }


def _tool_block(conversation: Conversation, tool: ToolUse, given: Mapping[str, object]) -> Json:
    return {
        "type": "tool_use",
        "id": f"toolu_{_mark(conversation, tool.name)}",
        "name": tool.name,
        "input": given,
    }


def _mark(conversation: Conversation, what: str) -> str:
    """Give an id that is the same when the same is asked again, and new at every turn."""
    told = f"{what}\0{conversation.messages}\0{conversation.prompt}"
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _usage(input_tokens: int, output_tokens: int) -> Json:
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _output_tokens(answer: Answer) -> int:
    arguments = json.dumps(answer.tool.input) if answer.tool is not None else ""
    return max(len(answer.text + arguments) // 4, 1)
