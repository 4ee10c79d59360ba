"""What a request carries, checked by the types of its endpoint (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin
from uuid import UUID

from pydantic import ValidationError

from tachikoma.makima.server.calls import not_found
from tachikoma.makima.server.shapes import Shape
from tachikoma.model.errors_fleet import RequestError

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_MOST_TOLD = 5


def body_of(kind: type[Shape], content_type: str, raw: bytes, *, optional: bool) -> Shape | None:
    """Read a body; None for one that may be missing, and is.

    Raises:
        RequestError: it is no JSON, or has wrong fields.
    """
    if not raw and optional:
        return None
    if content_type != "application/json":
        raise RequestError(
            f"the body is {content_type or 'of no type'}, and should be application/json",
            status=415,
            reason="not_json",
            hint="send the header `Content-Type: application/json`",
        )
    try:
        return kind.model_validate_json(raw, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        if any(fault["type"] == "json_invalid" for fault in error.errors()):
            raise RequestError(
                "the body is no JSON that can be read", status=400, reason="bad_json"
            ) from error
        raise _invalid(_told(error)) from error


def query_of(kind: type[Shape], pairs: Sequence[tuple[str, str]]) -> Shape:
    """Read a query.

    Raises:
        RequestError: it has wrong fields.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    values: dict[str, Any] = {}
    for name, texts in given.items():
        if name not in fields:
            raise _invalid(f"there is no parameter {name!r}")
        values[name] = _value(name, fields[name], texts)
    try:
        return kind.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _invalid(_told(error)) from error


def id_of(what: str, text: str) -> UUID:
    """Read an id of the path.

    Raises:
        RequestError: it is none, so there is no such thing.
    """
    try:
        return UUID(text)
    except ValueError:
        raise not_found(f"{what} {text[:64]!r}") from None


def _value(name: str, kind: Any, texts: Sequence[str]) -> object:  # noqa: ANN401 - an annotation
    if get_origin(kind) is tuple:
        return tuple(texts)
    if len(texts) > 1:
        raise _invalid(f"{name} is there {len(texts)} times")
    (text,) = texts
    kinds = get_args(kind) or (kind,)
    # pydantic takes more for a number or a truth than the document says.
    if int in kinds:
        if not _WHOLE.fullmatch(text):
            raise _invalid(f"{name}: this is no whole number")
        return int(text)
    if bool in kinds:
        if text not in {"true", "false"}:
            raise _invalid(f"{name}: this is neither true nor false")
        return text == "true"
    return text


def _told(error: ValidationError) -> str:
    """Say of each fault where it is and what it is; the values may be secret, and stay out."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    told = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
        for fault in faults[:_MOST_TOLD]
    ]
    return "; ".join(told).encode("utf-8", "replace").decode()


def _invalid(message: str) -> RequestError:
    return RequestError(
        message, status=422, reason="invalid", hint="/openapi.json says what is right"
    )
