from __future__ import annotations

import json
from pathlib import Path

from tachikoma.mcp.logs import is_of, last_lines, sources
from tachikoma.model.names import VmName
from tests.unit.cli.stand import CommandLine
from tests.unit.mcp.stand import CWD, NAME, connected, runtime

VM = VmName(NAME)


def test_a_line_of_the_proxy_is_about_the_vm_that_asked() -> None:
    assert is_of(VM, json.dumps({"vm": NAME}))
    assert not is_of(VM, json.dumps({"vm": "other", "path": NAME}))
    assert not is_of(VM, f"no json about {NAME}")
    assert not is_of(VM, json.dumps([NAME]))


async def test_the_last_lines_of_each_log_are_given(line: CommandLine, tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text("one\ntwo\nthree")
    parts = runtime(line)
    await parts.load_settings()
    found = {each.name: each for each in sources(parts, VM, str(console))}
    assert list(found) == ["setup", "console", "proxy"]
    assert last_lines(found["console"], 2) == ["two", "three"]
    assert last_lines(found["proxy"], 9) == []


async def test_an_agent_reads_what_was_done_to_a_vm(line: CommandLine) -> None:
    async with connected(line) as agent:
        await agent.use("spawn", cwd=CWD)
        told = await agent.use("logs", vm_name="main", lines=3)
        assert [each["source"] for each in told["logs"]] == ["setup", "console", "proxy"]
        assert len(told["logs"][0]["lines"]) == 3
        (only,) = (await agent.use("logs", vm_name="main", source="setup"))["logs"]
        assert any("Making the VM's disk" in each for each in only["lines"])
