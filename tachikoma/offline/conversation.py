"""What a messages request says, reduced to what a script decides by (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
"""Claude Code adds such blocks to what the user said; they are no words of the user's."""


class BadRequest(ValueError):
    """A body that the API would refuse; the text says why."""


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a tool gave back."""

    tool_use_id: str
    text: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request: what was asked last, and what the tools have said since.

    ``tools`` are the names of the tools that the client offers; a client's side calls (a title,
    a warm-up) offer none.
    """

    model: str
    streamed: bool
    tools: tuple[str, ...]
    messages: int
    prompt: str
    outcomes: tuple[ToolOutcome, ...]


def decode_conversation(body: object) -> Conversation:
    """Read the JSON body of a messages request.

    Raises:
        BadRequest: it lacks what the API demands; the text says what.
    """
    if not isinstance(body, Mapping):
        raise BadRequest("the body must be a JSON object")
    model = body.get("model")
    if not isinstance(model, str):
        raise BadRequest("model: field required")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: at least one message is required")
    prompt, outcomes = _last_exchange(_mappings(messages))
    return Conversation(
        model=model,
        streamed=body.get("stream") is True,
        tools=tuple(str(tool.get("name", "")) for tool in _mappings(body.get("tools"))),
        messages=len(messages),
        prompt=prompt,
        outcomes=outcomes,
    )


def _last_exchange(
    messages: Iterable[Mapping[str, object]],
) -> tuple[str, tuple[ToolOutcome, ...]]:
    prompt = ""
    outcomes: list[ToolOutcome] = []
    for message in messages:
        if message.get("role") != "user":
            continue
        content = message.get("content")
        results = [block for block in _mappings(content) if block.get("type") == "tool_result"]
        if results:
            outcomes += map(_outcome, results)
        elif said := _REMINDER.sub("", _text(content)).strip():
            prompt, outcomes = said, []
    return prompt, tuple(outcomes)


def _outcome(block: Mapping[str, object]) -> ToolOutcome:
    return ToolOutcome(
        tool_use_id=str(block.get("tool_use_id", "")),
        text=_text(block.get("content")),
        failed=block.get("is_error") is True,
    )


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(
        text
        for block in _mappings(content)
        if block.get("type") == "text" and isinstance(text := block.get("text"), str)
    )


def _mappings(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, Mapping)]
