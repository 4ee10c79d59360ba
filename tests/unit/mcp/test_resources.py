from __future__ import annotations

from pathlib import Path

import mcp_types as types
import pytest

from tachikoma.mcp import resources
from tachikoma.mcp.desk import Desk
from tachikoma.mcp.outputs import Outputs
from tachikoma.mcp.resources import VMS, Library, log_uri
from tests.unit.cli.stand import CommandLine
from tests.unit.mcp.stand import CWD, NAME, connected, runtime


@pytest.fixture
def library(line: CommandLine) -> Library:
    return Library(Desk(runtime=runtime(line), repository=None, outputs=Outputs(line.home)))


@pytest.fixture
async def log(line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a VM that has been spawned."""
    path = tmp_path / "console.log"
    monkeypatch.setattr(line.engine, "log_of", lambda _: str(path))
    async with connected(line) as agent:
        await agent.use("spawn", cwd=CWD)
    return path


async def text_at(library: Library, uri: str) -> str:
    contents = await library.read(uri)
    assert isinstance(contents, types.TextResourceContents)
    return contents.text


async def test_the_log_of_a_vm_is_its_journal_and_the_end_of_its_console(
    library: Library, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await text_at(library, log_uri(NAME))
    assert "Making the VM's disk" in journal
    log.write_bytes(b"boot\xff\x1b[0m\n")
    assert await text_at(library, log_uri(NAME)) == f"{journal}boot\ufffd\x1b[0m\n"
    monkeypatch.setattr(resources, "LONGEST_LOG", 4)
    assert await text_at(library, log_uri(NAME)) == "[0m\n"


async def test_a_resource_shows_whether_it_has_changed(library: Library, log: Path) -> None:
    vms, before = await library.mark(VMS), await library.mark(log_uri(NAME))
    assert before
    log.write_text("more")
    assert await library.mark(log_uri(NAME)) != before
    assert await library.mark(VMS) == vms
    assert await library.mark(log_uri("nobody")) == ""
    assert await library.mark("tachikoma://outputs/1") == ""


async def test_the_list_of_vms_changes_with_them(library: Library, line: CommandLine) -> None:
    before = await library.mark(VMS)
    async with connected(line) as agent:
        await agent.use("spawn", cwd=CWD)
    assert await library.mark(VMS) != before
    assert list(await library.names()) == [NAME]
