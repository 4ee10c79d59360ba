"""How Claude Code is spoken to and understood: its command line and its stream-json (pure).

Whatever a line of its output holds, reading it never fails: what is not understood is None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from tachikoma.makima.record import Figures
from tachikoma.makima.settings import ProcessSettings

LONGEST_SUMMARY = 120
"""Characters of a summary."""

_ALWAYS = ("--output-format=stream-json", "--input-format=stream-json")
_VERBOSE = "--verbose"
_NO_QUESTIONS = "--dangerously-skip-permissions"

_TELLING = (
    *("command", "file_path", "notebook_path", "path", "pattern", "url", "query"),
    *("description", "skill", "subject", "prompt"),
)
"""The inputs that tell best what a tool is used for, the best first."""
_MOST_COUNT = 2**63 - 1
_USERS = '{"type":"user",'
"""How Claude Code begins the lines that hold what tools said: most of what it prints, and nothing
in them is for us.
"""


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A turn begins, in this conversation; Claude Code says it at each turn."""

    session: str
    model: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What the agent does now, in a few words: one line without control characters."""

    summary: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """How many tokens something took."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn is over; the process takes further messages.

    ``error`` tells why it failed ("" if it did not). ``turns`` and ``tokens`` are of this turn;
    ``cost_usd`` and ``tokens_so_far`` are of the whole process, None where it does not say.
    """

    is_error: bool
    subtype: str
    error: str
    text: str
    turns: int
    tokens: Tokens
    tokens_so_far: Tokens | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class ControlAnswered:
    """The agent answers a control request; ``error`` is "" if it did what was asked."""

    request_id: str
    error: str


Event = SessionStarted | Progress | TurnEnded | ControlAnswered


@dataclass(frozen=True, slots=True)
class Account:
    """What an agent took: in processes that have ended, and in the present one.

    A process counts its cost from 0, also one that resumes a conversation. An account that goes
    on from a record (``Account(process=record.figures)``) is right for the process that the
    record is about.
    """

    before: Figures = field(default_factory=Figures)
    process: Figures = field(default_factory=Figures)

    @property
    def total(self) -> Figures:
        """Everything so far."""
        return _added(self.before, self.process)

    def after(self, turn: TurnEnded) -> Account:
        """Give the account after a turn."""
        now = self.process
        if turn.tokens_so_far is not None:
            tokens = turn.tokens_so_far
        else:
            tokens = Tokens(
                now.input_tokens + turn.tokens.input,
                now.output_tokens + turn.tokens.output,
                now.cache_read_tokens + turn.tokens.cache_read,
                now.cache_creation_tokens + turn.tokens.cache_creation,
            )
        figures = Figures(
            turns=now.turns + turn.turns,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_read_tokens=tokens.cache_read,
            cache_creation_tokens=tokens.cache_creation,
            cost_usd=now.cost_usd if turn.cost_usd is None else turn.cost_usd,
        )
        return replace(self, process=figures)

    def resumed(self) -> Account:
        """Give the account with which another process of the same task begins."""
        return Account(before=self.total)


def claude_argv(settings: ProcessSettings) -> list[str]:
    """Give the command line of an agent, as the settings have it."""
    ours = [*_ALWAYS]
    if not settings.disable_verbose:
        ours.append(_VERBOSE)
    if not settings.enable_permissions:
        ours.append(_NO_QUESTIONS)
    return [settings.claude_command, *settings.claude_pre_args, *ours, *settings.claude_args]


def user_message(text: str, uuid: UUID) -> bytes:
    """Give the line that says ``text`` to the agent."""
    message = {"role": "user", "content": text}
    return _line({"type": "user", "message": message, "uuid": str(uuid)})


def interrupt_request(request_id: str) -> bytes:
    """Give the line that asks the agent to stop what it does; `ControlAnswered` follows."""
    request = {"subtype": "interrupt"}
    return _line({"type": "control_request", "request_id": request_id, "request": request})


def read_event(line: str, *, directory: PurePosixPath | None = None) -> Event | None:
    """Say what a line of the agent's output means for us, None for nothing.

    Paths below ``directory`` (where the agent works) are told from there.
    """
    if line.startswith(_USERS):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    told: Event | None
    match event:
        case {"type": "system", "subtype": "init"}:
            told = SessionStarted(_text(event.get("session_id")), _text(event.get("model")))
        case {"type": "system", "subtype": "api_retry"}:
            told = _retry(event)
        case {"type": "assistant", "message": {"content": list(blocks)}}:
            told = _progress(blocks, directory)
        case {"type": "result"}:
            told = _turn(event)
        case {"type": "control_response", "response": dict(response)}:
            error = "" if response.get("subtype") != "error" else _said(response.get("error"))
            told = ControlAnswered(_text(response.get("request_id")), error)
        case _:
            told = None
    return told


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _retry(event: Mapping[str, Any]) -> Progress:
    attempt, most = _count(event.get("attempt")), _count(event.get("max_retries"))
    why = _text(event.get("error")).replace("_", " ") or "no answer"
    return Progress(_short(f"Trying the model again, {attempt} of {most}: {why}"))


def _progress(blocks: Sequence[Any], directory: PurePosixPath | None) -> Progress | None:
    said = [summary for block in blocks if (summary := _of_block(block, directory))]
    return Progress(said[-1]) if said else None


def _of_block(block: object, directory: PurePosixPath | None) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return _short(next((line for line in text.splitlines() if line.strip()), ""))
        case {"type": "tool_use", "name": str(name), "input": dict(given)}:
            return _short(_tool(name, given, directory))
        case _:
            return ""


def _tool(name: str, given: Mapping[str, Any], directory: PurePosixPath | None) -> str:
    for key in _TELLING:
        value = given.get(key)
        if not isinstance(value, str) or not value.strip():
            continue
        if key.endswith("path"):
            return f"{name} {_below(value, directory)}"
        return f"{name}: {next(line for line in value.splitlines() if line.strip())}"
    return name


def _below(path: str, directory: PurePosixPath | None) -> str:
    place = PurePosixPath(path)
    if directory is None or place == directory or not place.is_relative_to(directory):
        return path
    return str(place.relative_to(directory))


def _turn(event: Mapping[str, Any]) -> TurnEnded:
    subtype = _text(event.get("subtype"))
    # An API failure is a "success" that is an error; a turn that was broken off says why in errors.
    is_error = event.get("is_error") is True or subtype.startswith("error")
    text = _text(event.get("result"))
    return TurnEnded(
        is_error=is_error,
        subtype=subtype,
        error=_why(event, subtype, text) if is_error else "",
        text=text,
        turns=_count(event.get("num_turns")),
        tokens=_of_turn(event.get("usage")),
        tokens_so_far=_of_process(event.get("modelUsage")),
        cost_usd=_cost(event.get("total_cost_usd")),
    )


def _why(event: Mapping[str, Any], subtype: str, text: str) -> str:
    errors = event.get("errors")
    said = (_said(each) for each in errors) if isinstance(errors, list) else iter(())
    return text.strip() or "; ".join(filter(None, said)) or subtype or "the turn failed"


def _of_turn(usage: object) -> Tokens:
    if not isinstance(usage, dict):
        return Tokens()
    return Tokens(
        input=_count(usage.get("input_tokens")),
        output=_count(usage.get("output_tokens")),
        cache_read=_count(usage.get("cache_read_input_tokens")),
        cache_creation=_count(usage.get("cache_creation_input_tokens")),
    )


def _of_process(models: object) -> Tokens | None:
    if not isinstance(models, dict) or not models:
        return None
    each = [model for model in models.values() if isinstance(model, dict)]
    return Tokens(
        input=_sum(model.get("inputTokens") for model in each),
        output=_sum(model.get("outputTokens") for model in each),
        cache_read=_sum(model.get("cacheReadInputTokens") for model in each),
        cache_creation=_sum(model.get("cacheCreationInputTokens") for model in each),
    )


def _added(one: Figures, other: Figures) -> Figures:
    return Figures(
        turns=one.turns + other.turns,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_creation_tokens=one.cache_creation_tokens + other.cache_creation_tokens,
        cost_usd=one.cost_usd + other.cost_usd,
    )


def _sum(values: Iterator[object]) -> int:
    return min(sum(map(_count, values)), _MOST_COUNT)


def _count(value: object) -> int:
    """Give a number of things; what is none counts as 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= _MOST_COUNT else 0


def _cost(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        cost = float(value)
    except OverflowError:
        return None
    return cost if math.isfinite(cost) and cost >= 0 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _said(value: object) -> str:
    return _text(value) or json.dumps(value)


def _short(text: str) -> str:
    """Make one line of it, for people: nothing that moves a cursor, and not too long."""
    plain = "".join(each if each.isprintable() else " " for each in text[: 8 * LONGEST_SUMMARY])
    line = " ".join(plain.split())
    return line if len(line) <= LONGEST_SUMMARY else f"{line[: LONGEST_SUMMARY - 1].rstrip()}…"
