"""Frames <-> typed messages (pure): one JSON object each, tagged by ``type``, read as serde does.

Reading never raises: what cannot be read is a `BadFrame`, a value like any other, so that a
single bad frame ends no connection.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, NoReturn, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from tachikoma.makima.commands import Command, Error
from tachikoma.makima.frames import Part
from tachikoma.makima.messages import Message

Frame = Message | Command
_LONGEST_REASON = 400
_T = TypeVar("_T")

# Not deferred: a connection's first frame should not pay for building them.
_FRAME: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])
_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class _Numbered(Part):
    seq: Annotated[int | None, Field(ge=0, lt=2**63)] = None


_NUMBER = TypeAdapter(_Numbered)


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A frame that could not be read; ``reason`` quotes no value from it but an unknown type."""

    reason: str

    def answer(self) -> Error:
        """Give what a server says to it; a daemon has no such message, and drops the frame."""
        return Error(code="bad_message", message=self.reason)


def encode(frame: Frame) -> str:
    """Write ``frame`` with every field, those that are None as null.

    Names of files that are no Unicode come to us with halves of surrogate pairs, which no frame
    can carry: each is written as a question mark.
    """
    try:
        return frame.model_dump_json(by_alias=True)
    except PydanticSerializationError:
        fields = frame.model_dump(by_alias=True)
        return _sound(json.dumps(fields, default=str, ensure_ascii=False, separators=(",", ":")))


def numbered(text: str, seq: int) -> str:
    """Give the frame ``text``, as `encode` wrote it, with its number: a field ``seq``."""
    return f'{text[:-1]},"seq":{seq}}}'


def decode(text: str) -> Frame | BadFrame:
    """Read a frame of either side."""
    return _read(_FRAME, text)


def decode_command(text: str) -> Command | BadFrame:
    """Read what a server said; a daemon's message is a bad frame here."""
    return _read(_COMMAND, text)


def decode_message(text: str) -> Message | BadFrame:
    """Read what a daemon said; a server's command is a bad frame here."""
    return _read(_MESSAGE, text)


def seq_of(text: str) -> int | BadFrame | None:
    """Give the number of a frame that was read well; None if it has none."""
    if '"seq"' not in text:
        return None
    try:
        return _NUMBER.validate_json(text, by_alias=True, by_name=False).seq
    except ValidationError as error:
        return BadFrame(_shortened(_told(error)))


def _read(side: TypeAdapter[_T], text: str) -> _T | BadFrame:
    try:
        # What pydantic's own reader lets pass and serde's does not is found by this first.
        json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
        return side.validate_json(text, by_alias=True, by_name=False)
    except ValidationError as error:
        return BadFrame(_shortened(_told(error)))
    except RecursionError:
        return BadFrame("this is not JSON that can be read: it is nested too deep")
    except ValueError as error:
        return BadFrame(_shortened(f"this is not JSON: {error}"))


def _without_repeats(pairs: list[tuple[str, object]]) -> None:
    """Refuse an object that gives a name twice: two readers might take two values from it."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("an object in it gives a name twice")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number there")


def _told(error: ValidationError) -> str:
    """Say of each fault where it is and what it is; the values may be secret, and stay out."""
    return "; ".join(_fault(each) for each in error.errors(include_input=False, include_url=False))


def _fault(fault: ErrorDetails) -> str:
    match fault["type"]:
        case "json_invalid":
            return f"this is not JSON: {fault.get('ctx', {}).get('error', fault['msg'])}"
        case "union_tag_not_found":
            return "type: Field required"
        case "union_tag_invalid":
            return f"type: there is no {fault.get('ctx', {}).get('tag')!r} from this side"
        case _:
            place = ".".join(str(part) for part in fault["loc"])
            return f"{place}: {fault['msg']}" if place else fault["msg"]


def _shortened(reason: str) -> str:
    sound = _sound(reason)
    return sound if len(sound) <= _LONGEST_REASON else f"{sound[: _LONGEST_REASON - 1]}…"


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
