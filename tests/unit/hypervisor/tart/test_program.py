from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.program import Processes, Program
from tachikoma.model.errors import (
    CommandFailed,
    HypervisorError,
    HypervisorMissingError,
    ImageNotFoundError,
    VmNotFoundError,
)
from tachikoma.model.names import VmName
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import DoubleTool, program_of

VM = VmName("tachikoma-app-main")
UBUNTU = "ghcr.io/cirruslabs/ubuntu:latest"


@pytest.fixture
def tool(own_home: Path) -> DoubleTool:
    return DoubleTool(Store({"HOME": str(own_home)}))


@pytest.mark.parametrize("version", ["2.31.0", "2.100.0", "3.0.0", "SNAPSHOT"])
async def test_a_tart_that_is_new_enough_is_asked_once(tool: DoubleTool, version: str) -> None:
    tool.store.set(version=version)
    program = program_of(tool)
    await program.prove()
    await program.prove()
    assert tool.store.emitted() == [["tart", "--version"]]


async def test_an_old_tart_is_refused_with_what_updates_it(tool: DoubleTool) -> None:
    tool.store.set(version="2.30.9")
    with pytest.raises(HypervisorError, match=r"2\.30\.9 is too old.*2\.31\.0") as refused:
        await program_of(tool).prove()
    assert "brew upgrade tart" in refused.value.hint


async def test_without_tart_it_is_told_how_to_install_it(tool: DoubleTool) -> None:
    tool.missing = True
    program = program_of(tool)
    for call in (
        program.prove(),
        program.listen(argv.list_argv(), lambda *_: None, deadline_s=1),
    ):
        with pytest.raises(HypervisorMissingError) as refused:
            await call
        assert "brew install" in refused.value.hint


async def test_tart_keeps_its_images_and_moves_no_cursor_and_sees_no_foreign_secret(
    tool: DoubleTool,
) -> None:
    login = {"TART_REGISTRY_USERNAME": "me", "TART_REGISTRY_PASSWORD": "p"}
    program = program_of(tool, ANTHROPIC_API_KEY="k", TART_HOME="/t", **login)
    await program.text(argv.list_argv())
    with pytest.raises(ImageNotFoundError):
        await program.text(argv.pull_argv(UBUNTU))
    told = {"TART_HOME": "/t", "TART_NO_AUTO_PRUNE": "1", "CI": "1"}
    assert tool.environs == [told, told | login]


def test_tarts_home_is_where_it_says(tool: DoubleTool, own_home: Path) -> None:
    assert program_of(tool).home == own_home / ".tart"
    assert program_of(tool, TART_HOME="/t").home == Path("/t")
    assert program_of(tool, TART_HOME="relative").home == own_home / ".tart"


async def test_a_failure_is_told_in_our_words(tool: DoubleTool) -> None:
    tool.store.set(noise=True)
    with pytest.raises(VmNotFoundError, match=VM):
        await program_of(tool).text(argv.get_argv(VM))


async def test_lines_are_followed_as_they_come_and_a_failure_keeps_the_last(
    tool: DoubleTool,
) -> None:
    tool.store.write(tool.store.registry / "ghcr.io/cirruslabs/ubuntu/latest")
    lines: list[str] = []
    program = program_of(tool)
    await program.follow(argv.pull_argv(UBUNTU), lines.append, deadline_s=1)
    assert lines[0] == f"pulling {UBUNTU}..."
    assert "41%" in lines
    with pytest.raises(ImageNotFoundError) as refused:
        await program.follow(argv.pull_argv("h/nope"), lines.append, deadline_s=1)
    assert refused.value.details.splitlines()[0] == "pulling h/nope..."


async def test_what_takes_too_long_is_told_with_what_may_hold_it(tool: DoubleTool) -> None:
    tool.slow = {"list", "pull"}
    program = program_of(tool)
    for call in (
        program.text(argv.list_argv()),
        program.follow(argv.pull_argv("h/i"), print, deadline_s=1),
    ):
        with pytest.raises(HypervisorError, match="did not end in time") as refused:
            await call
        assert "locks" in refused.value.hint
    with pytest.raises(CommandFailed):
        await program.listen(argv.list_argv(), lambda *_: None, deadline_s=1)


@pytest.mark.live
async def test_real_processes_are_run_heard_and_detached(tmp_path: Path) -> None:
    tool = Processes()
    ran = await tool.run(["sh", "-c", "echo $A; exit 3"], deadline_s=9, env={"A": "x"})
    assert (ran.status, ran.stdout) == (3, b"x\n")
    heard: list[tuple[str, bytes]] = []
    status = await tool.listen(
        ["cat"],
        on_output=lambda stream, piece: heard.append((stream, piece)),
        deadline_s=9,
        stdin=b"in",
        env={},
    )
    assert (status, heard) == (0, [("stdout", b"in")])
    assert tool.detach(["true"], log=tmp_path / "log", env={}) > 0
    missing = Program(environ={"HOME": "/h", "PATH": "/nowhere"}, tool=tool)
    assert missing.home == Path("/h/.tart")
