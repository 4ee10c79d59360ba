"""What an agent printed, for people: its events as short lines (pure)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tachikoma.cli import words

_MAIN = (
    "command",
    "file_path",
    "path",
    "pattern",
    "url",
    "query",
    "description",
    "prompt",
    "skill",
)
"""Of what a tool is given, that which tells most, the best first."""
_LONGEST_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A line to show, and how it looks (as `Style` calls it)."""

    text: str
    looks: tuple[str, ...] = ()


class Transcript:
    """Turns the lines of a task's log into lines for people, none longer than ``room`` but what the
    agent says itself. What it holds is the agent's word: shown, never obeyed, never raising.
    """

    def __init__(self, *, room: int) -> None:
        self._room = room
        self._session = ""

    def __call__(self, line: str) -> list[Piece]:
        """Give what there is to show of one line."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        found = self._event(event) if isinstance(event, dict) else self._plain(line)
        return [Piece(words.clean(each.text).replace("\t", "    "), each.looks) for each in found]

    def _plain(self, line: str) -> Iterator[Piece]:
        if line.strip():
            yield Piece(self._fit(line))

    def _event(self, event: Mapping[str, object]) -> Iterator[Piece]:
        show = _SHOWN.get(_text(event.get("type")))
        if show is not None:
            yield from show(self, event)

    def _fit(self, text: str, indent: str = "") -> str:
        flat = " ".join(words.clean(text[:_LONGEST_TEXT]).split())
        return indent + words.fit(flat, max(self._room - len(indent), 20))

    def _system(self, event: Mapping[str, object]) -> Iterator[Piece]:
        match event.get("subtype"):
            case "init" if (session := _text(event.get("session_id"))) != self._session:
                self._session = session
                model, version = _text(event.get("model")), _text(event.get("claude_code_version"))
                yield Piece(self._fit(f"session {session}: {model}, {version}"), ("dim",))
            case "api_retry":
                yield Piece(self._fit(f"asks the API again: {_brief(event)}"), ("yellow",))
            case _:
                return

    def _assistant(self, event: Mapping[str, object]) -> Iterator[Piece]:
        inner = "  " if event.get("parent_tool_use_id") else ""
        for block in _blocks(event):
            match block.get("type"):
                case "text":
                    text = _text(block.get("text"))[:_LONGEST_TEXT].strip()
                    yield from (Piece(f"{inner}{line}") for line in text.splitlines())
                case "tool_use":
                    yield Piece(self._fit(f"→ {_call(block)}", inner), ("cyan",))
                case "thinking":
                    thought = _text(block.get("thinking")).strip()
                    if thought:
                        yield Piece(self._fit(f"({thought})", inner), ("dim",))
                case _:
                    continue

    def _user(self, event: Mapping[str, object]) -> Iterator[Piece]:
        inner = "  " if event.get("parent_tool_use_id") else ""
        for block in _blocks(event):
            match block.get("type"):
                case "tool_result":
                    yield self._result_of_tool(block, inner)
                case "text":
                    yield Piece(self._fit(f"> {_text(block.get('text'))}", inner), ("bold",))
                case _:
                    continue

    def _result_of_tool(self, block: Mapping[str, object], inner: str) -> Piece:
        text = "\n".join(_text(each.get("text")) for each in _contents(block.get("content")))
        lines = [line for line in text.splitlines() if line.strip()]
        more = f" (and {words.count(len(lines) - 1, 'line')})" if len(lines) > 1 else ""
        first = lines[0][:_LONGEST_TEXT] if lines else "nothing"
        failed = block.get("is_error") is True
        room = max(self._room - len(inner) - len(more) - 4, 20)
        told = words.fit(" ".join(words.clean(first).split()), room)
        return Piece(f"{inner}  {'✗' if failed else '•'} {told}{more}", _failed(failed))

    def _result(self, event: Mapping[str, object]) -> Iterator[Piece]:
        failed = event.get("is_error") is True
        if failed:
            errors = event.get("errors")
            why = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
            why = why or _text(event.get("result")) or _text(event.get("subtype"))
            yield Piece(self._fit(f"✗ the turn failed: {why}"), ("red",))
        took = words.seconds(_number(event.get("duration_ms")) / 1000)
        cost = _number(event.get("total_cost_usd"))
        yield Piece(
            self._fit(f"{'' if failed else '✓ '}turn ended after {took}, ${cost:.2f} so far"),
            ("dim",) if failed else ("green",),
        )

    def _stderr(self, event: Mapping[str, object]) -> Iterator[Piece]:
        yield Piece(self._fit(f"stderr: {_text(event.get('text'))}"), ("yellow",))

    def _daemon(self, event: Mapping[str, object]) -> Iterator[Piece]:
        yield Piece(self._fit(f"-- {_text(event.get('text'))}"), ("dim",))

    def _cut(self, event: Mapping[str, object]) -> Iterator[Piece]:
        size = words.size(int(_number(event.get("bytes"))))
        yield Piece(f"-- {size} of older output were not kept", ("dim",))


_SHOWN: Mapping[str, Callable[[Transcript, Mapping[str, object]], Iterator[Piece]]] = {
    "system": Transcript._system,  # noqa: SLF001 - its own table
    "assistant": Transcript._assistant,  # noqa: SLF001 - as above
    "user": Transcript._user,  # noqa: SLF001 - as above
    "result": Transcript._result,  # noqa: SLF001 - as above
    "stderr": Transcript._stderr,  # noqa: SLF001 - as above
    "daemon": Transcript._daemon,  # noqa: SLF001 - as above
    "cut": Transcript._cut,  # noqa: SLF001 - as above
}


def _failed(failed: bool) -> tuple[str, ...]:  # noqa: FBT001 - one word decides
    return ("red",) if failed else ("dim",)


def _blocks(event: Mapping[str, object]) -> list[Mapping[str, object]]:
    message = event.get("message")
    return _contents(message.get("content")) if isinstance(message, dict) else []


def _contents(found: object) -> list[Mapping[str, object]]:
    """Give a content, which may be a plain text, as blocks."""
    if isinstance(found, str):
        return [{"type": "text", "text": found}]
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _call(block: Mapping[str, object]) -> str:
    name, given = _text(block.get("name")), block.get("input")
    if not isinstance(given, dict):
        return name
    main = next((given[key] for key in _MAIN if isinstance(given.get(key), str)), None)
    if main is None and given:
        main = json.dumps(given, ensure_ascii=False, default=str)
    return f"{name}: {main}" if main else name


def _brief(event: Mapping[str, object]) -> str:
    parts = (f"{key} {value}" for key, value in event.items() if key not in ("type", "subtype"))
    return ", ".join(part for part in parts if "uuid" not in part and "session" not in part)


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _number(found: object) -> float:
    return float(found) if isinstance(found, int | float) and abs(found) < 1e15 else 0.0
