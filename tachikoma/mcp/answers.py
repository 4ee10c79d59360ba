"""What a call's end looks like in the protocol (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from tachikoma.host.process import redacted
from tachikoma.mcp.shapes import Ran
from tachikoma.model.errors import CommandDeadlineError, TachikomaError, VmNotFoundError

ERROR = "tachikoma/error"
"""The key in an error result's ``_meta`` under which its parts stand."""
_NOT_FOUND = -32002
"""What the protocol has for a resource that is not there."""
_BUG = "tachikoma.bug"


def succeeded(result: BaseModel) -> types.CallToolResult:
    """Give what a tool gives back: structured, and the same as text for older clients.

    A command that ran into its deadline has said something, and is an error all the same.
    """
    text = types.TextContent(type="text", text=result.model_dump_json())
    data = result.model_dump(mode="json")
    if isinstance(result, Ran) and result.timed_out:
        late = CommandDeadlineError(
            f"the command in {result.vm_name} took longer than {result.seconds:g} s and was ended",
            hint="give a larger deadline_s, or leave it running in the background with nohup",
        )
        error = failed(late)
        return types.CallToolResult(
            content=[*error.content, text],
            structured_content=data,
            is_error=True,
            _meta=error.meta,
        )
    return types.CallToolResult(content=[text], structured_content=data)


def failed(error: TachikomaError) -> types.CallToolResult:
    """Give an error that the model reads: what is wrong, what to do next, and its stable code.

    Not as structured content: clients check that against the tool's schema also in errors.
    """
    return _failure(error.code, error.message, error.hint, error.details)


def broken(bug: Exception) -> types.CallToolResult:
    """Give what is said of a bug of ours."""
    what = redacted(f"{type(bug).__name__}: {bug}")[:1000]
    message = f"this is a bug in tachikoma: {what}"
    return _failure(_BUG, message, "please report it, with what the server's log says", "")


@contextmanager
def as_protocol_errors() -> Iterator[None]:
    """Turn our errors into the protocol's, where a request has no other way to fail."""
    try:
        yield
    except TachikomaError as error:
        code = _NOT_FOUND if isinstance(error, VmNotFoundError) else types.INTERNAL_ERROR
        data = {"code": error.code, "hint": error.hint}
        raise MCPError(code=code, message=error.message, data=data) from error


def _failure(code: str, message: str, hint: str, details: str) -> types.CallToolResult:
    lines = [message, details, f"hint: {hint}" if hint else "", f"code: {code}"]
    parts = {"code": code, "message": message, "hint": hint, "details": details}
    return types.CallToolResult(
        content=[types.TextContent(type="text", text="\n".join(filter(None, lines)))],
        is_error=True,
        _meta={ERROR: parts},
    )
