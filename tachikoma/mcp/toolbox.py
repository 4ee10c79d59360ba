"""The table of tools: their names, what they do to the world, and their schemas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mcp_types as types
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from pydantic import BaseModel, ValidationError

from tachikoma.mcp import tools
from tachikoma.mcp.call import Call
from tachikoma.model.errors import BadArgumentError

_CALL = "call"
_MOST_TOLD = 8


@dataclass(frozen=True)
class Tool:
    """One tool. Its schemas are made when somebody asks, not while the server starts."""

    name: str
    title: str
    work: Callable[..., Awaitable[BaseModel]]
    reads_only: bool = False
    destroys: bool = False
    idempotent: bool = False
    open_world: bool = False
    moves_vms: bool = False

    @cached_property
    def listed(self) -> types.Tool:
        """The tool as clients see it."""
        schema = self._metadata.arg_model.model_json_schema(by_alias=True)
        return types.Tool(
            name=self.name,
            title=self.title,
            description=_plain(self.work.__doc__ or ""),
            input_schema=_untitled({**schema, "additionalProperties": False}),
            output_schema=_untitled(self._metadata.output_schema or {}),
            annotations=types.ToolAnnotations(
                title=self.title,
                read_only_hint=self.reads_only,
                destructive_hint=self.destroys,
                idempotent_hint=self.idempotent or self.reads_only,
                open_world_hint=self.open_world,
            ),
        )

    async def use(self, call: Call, arguments: Mapping[str, Any]) -> BaseModel:
        """Check the arguments and do the work.

        Raises:
            BadArgumentError: one is missing, unknown, or of the wrong type.
            TachikomaError: what the work raises.
        """
        return await self.work(call, **self._checked(arguments))

    def _checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        known = self._metadata.arg_model.model_fields
        takes = f"{self.name} takes {', '.join(known)}"
        if unknown := sorted(set(arguments) - set(known)):
            names = ", ".join(name[:80] for name in unknown[:_MOST_TOLD])
            raise BadArgumentError(f"{self.name} has no argument {names}", hint=takes)
        try:
            return self._metadata.validate_arguments(dict(arguments))
        except ValidationError as error:
            raise BadArgumentError(
                f"wrong arguments for {self.name}: {_reasons(error)}", hint=takes
            ) from error

    @cached_property
    def _metadata(self) -> FuncMetadata:
        return func_metadata(self.work, skip_names=(_CALL,), structured_output=True)


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("spawn", "Spawn a VM for a branch", tools.spawn, idempotent=True, moves_vms=True),
        Tool("exec", "Run a command in a VM", tools.run_command, destroys=True, open_world=True),
        Tool("list", "List the VMs", tools.list_vms, reads_only=True),
        Tool("status", "Look closely at a VM", tools.status, reads_only=True),
        Tool("halt", "Stop a VM", tools.halt, idempotent=True, moves_vms=True),
        Tool(
            "destroy", "Destroy a VM", tools.destroy, destroys=True, idempotent=True, moves_vms=True
        ),
        Tool(
            "checkpoint",
            "Save and restore a VM's disk",
            tools.checkpoint,
            destroys=True,
            moves_vms=True,
        ),
        Tool("pr", "Open a pull request", tools.pr, idempotent=True, open_world=True),
        Tool("logs", "Read the logs of a VM", tools.logs, reads_only=True),
        Tool("usage", "What a VM's model calls took", tools.usage, reads_only=True),
        Tool("read_file", "Read a file in a VM", tools.read_file, reads_only=True),
        Tool(
            "write_file", "Write a file in a VM", tools.write_file, destroys=True, idempotent=True
        ),
    )
}


def _plain(doc: str) -> str:
    """Give a docstring as text: paragraphs, without the indentation of the code."""
    paragraphs = "\n".join(line.strip() for line in doc.strip().splitlines()).split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def _untitled(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave the titles out that pydantic makes of every name: a model reads them all."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = ("properties", "$defs")
    return {
        key: {name: _untitled(inner) for name, inner in value.items()}
        if key in named
        else _untitled(value)
        for key, value in schema.items()
        if key != "title"
    }


def _reasons(error: ValidationError) -> str:
    told = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(str(part)[:80] for part in each['loc']) or 'arguments'}: {each['msg']}"
        for each in told[:_MOST_TOLD]
    )
