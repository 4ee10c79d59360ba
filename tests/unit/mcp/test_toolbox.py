from __future__ import annotations

from typing import Any

import jsonschema
import mcp_types as types
import pytest

from tachikoma.git.port import Commit
from tachikoma.mcp.toolbox import TOOLS
from tests.conftest import ROOT
from tests.unit.cli.stand import CommandLine
from tests.unit.mcp.stand import CWD, NAME, connected, says

NAMES = [
    "spawn",
    "exec",
    "list",
    "status",
    "halt",
    "destroy",
    "checkpoint",
    "pr",
    "logs",
    "usage",
    "read_file",
    "write_file",
]


def listed(name: str) -> types.Tool:
    return TOOLS[name].listed


def test_the_tools_have_the_names_of_the_commands() -> None:
    assert [name for name in TOOLS if name in NAMES] == NAMES


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_tells_all_that_a_client_and_a_model_want_to_know(name: str) -> None:
    tool = listed(name)
    assert tool.title
    assert tool.description
    assert "``" not in tool.description
    assert tool.annotations is not None
    jsonschema.Draft202012Validator.check_schema(tool.input_schema)
    assert tool.output_schema is not None
    jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    assert tool.input_schema["additionalProperties"] is False
    assert tool.output_schema["type"] == "object"
    assert "title" not in tool.input_schema


def test_the_guide_names_every_tool_with_its_arguments() -> None:
    guide = (ROOT / "docs" / "how-to" / "mcp.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in guide.splitlines() if line.startswith("| `")}
    assert list(rows) == list(TOOLS)
    for name, row in rows.items():
        told = row.split("|")[2].replace("*", "").replace(" ", "").split(",")
        assert told == list(listed(name).input_schema.get("properties", {}))


def test_spawn_demands_cwd_and_the_others_the_vm() -> None:
    assert listed("spawn").input_schema["required"] == ["cwd"]
    assert listed("exec").input_schema["required"] == ["vm_name", "command"]
    for name in ("status", "halt", "destroy"):
        assert listed(name).input_schema["required"] == ["vm_name"]
    assert "required" not in listed("list").input_schema


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        ("spawn", (False, False, True, False)),
        ("exec", (False, True, False, True)),
        ("list", (True, False, True, False)),
        ("status", (True, False, True, False)),
        ("halt", (False, False, True, False)),
        ("destroy", (False, True, True, False)),
        ("checkpoint", (False, True, False, False)),
        ("pr", (False, False, True, True)),
        ("logs", (True, False, True, False)),
        ("usage", (True, False, True, False)),
        ("read_file", (True, False, True, False)),
        ("write_file", (False, True, True, False)),
    ],
)
def test_a_tool_says_what_it_does_to_the_world(
    name: str, hints: tuple[bool, bool, bool, bool]
) -> None:
    told = listed(name).annotations
    assert told is not None
    assert hints == (
        told.read_only_hint,
        told.destructive_hint,
        told.idempotent_hint,
        told.open_world_hint,
    )


async def test_what_a_tool_gives_is_what_its_schema_says(line: CommandLine) -> None:
    line.shell.script = says(b"x" * 20_000, b"size 0\n")
    uses: list[tuple[str, dict[str, Any]]] = [
        ("spawn", {"cwd": CWD}),
        ("exec", {"vm_name": NAME, "command": "x"}),
        ("list", {}),
        ("status", {"vm_name": NAME}),
        ("write_file", {"vm_name": NAME, "path": "x", "content": ""}),
        ("checkpoint", {"vm_name": NAME, "action": "save", "label": "x"}),
        ("read_file", {"vm_name": NAME, "path": "x"}),
        ("logs", {"vm_name": NAME}),
        ("usage", {"vm_name": NAME}),
        ("pr", {"cwd": CWD, "vm_name": "work"}),
        ("halt", {"vm_name": NAME}),
        ("destroy", {"vm_name": NAME, "force": True}),
    ]
    line.publishing.branches.add("work")
    line.publishing.commits["work"] = (Commit("Work", ""),)
    async with connected(line) as agent:
        for name, arguments in uses:
            schema = listed(name).output_schema
            assert schema is not None
            jsonschema.validate(await agent.use(name, **arguments), schema)
