from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.mcp.desk import Desk
from tachikoma.mcp.outputs import Outputs
from tachikoma.model.errors import BadArgumentError, VmNotFoundError
from tests.unit.cli.stand import CommandLine
from tests.unit.mcp.stand import CWD, NAME, connected, runtime

OTHER = "/src/other"
OTHERS = "tachikoma-other-main"


@pytest.fixture
def two(line: CommandLine) -> CommandLine:
    line.git.add_repository(Path(OTHER))
    return line


async def test_without_a_repository_every_vm_can_be_named(two: CommandLine) -> None:
    async with connected(two) as agent:
        await agent.use("spawn", cwd=CWD)
        await agent.use("spawn", cwd=OTHER)
        assert [vm["name"] for vm in (await agent.use("list"))["vms"]] == [NAME, OTHERS]
        assert [vm["name"] for vm in (await agent.use("list", cwd=OTHER))["vms"]] == [OTHERS]
        assert (await agent.use("status", vm_name="main"))["name"] == NAME
        assert (await agent.use("status", vm_name="main", cwd=OTHER))["name"] == OTHERS


async def test_a_server_for_one_repository_cannot_be_talked_into_another_ones_vms(
    two: CommandLine,
) -> None:
    two.git.add_repository(Path("/src/third"))
    async with connected(two) as everywhere:
        await everywhere.use("spawn", cwd=OTHER)
        await everywhere.use("spawn", cwd=OTHER, branch="only-there")
    async with connected(two, repo=CWD) as agent:
        for cwd in (OTHER, "/src/third"):
            code, text = await agent.fail("spawn", cwd=cwd)
            assert (code, "works for that repository only" in text) == ("mcp.bad_argument", True)
            assert (await agent.fail("list", cwd=cwd))[0] == "mcp.bad_argument"
        for tool, more in (
            ("exec", {"command": "id"}),
            ("status", {}),
            ("halt", {}),
            ("destroy", {"force": True}),
            ("checkpoint", {"action": "restore", "label": "x", "force": True}),
            ("logs", {}),
            ("usage", {}),
            ("read_file", {"path": "/etc/passwd"}),
            ("write_file", {"path": "x", "content": ""}),
        ):
            for vm_name in (OTHERS, "only-there", "tachikoma-other-only-there", "main"):
                code, text = await agent.fail(tool, vm_name=vm_name, **more)
                assert code == "vm.not_found"
                assert "/src/other" not in text
            assert (await agent.fail(tool, vm_name="main", cwd=OTHER, **more))[0] == (
                "mcp.bad_argument"
            )
        assert (await agent.use("list"))["vms"] == []
        resources = (await agent.client.list_resources()).resources
        assert [each.uri for each in resources] == ["tachikoma://vms"]
    assert len(two.store.read().vms) == 2


async def test_a_server_for_one_repository_works_with_that_ones_vms(two: CommandLine) -> None:
    async with connected(two, repo=CWD) as agent:
        await agent.use("spawn", cwd=CWD)
        assert (await agent.use("status", vm_name="main"))["name"] == NAME
        assert (await agent.use("status", vm_name=NAME))["name"] == NAME
        assert len((await agent.use("list"))["vms"]) == 1
        assert len((await agent.client.list_resources()).resources) == 2
        await agent.use("destroy", vm_name="main", force=True)


@pytest.mark.parametrize("cwd", ["", "box", "./box", "/src\0/box"])
async def test_a_cwd_is_an_absolute_path(line: CommandLine, cwd: str) -> None:
    desk = Desk(runtime=runtime(line), repository=None, outputs=Outputs(line.home))
    with pytest.raises(BadArgumentError, match="absolute path"):
        await desk.runtime(cwd)


async def test_a_vm_has_a_name(line: CommandLine) -> None:
    desk = Desk(runtime=runtime(line), repository=None, outputs=Outputs(line.home))
    with pytest.raises(BadArgumentError, match="empty"):
        await desk.vm("", CWD)


async def test_a_confined_desk_is_at_home_in_its_repository(line: CommandLine) -> None:
    parts = runtime(line)
    repository = await parts.git.repository(Path(CWD))
    line.cwd = Path("/elsewhere")
    desk = Desk(runtime=runtime(line), repository=repository, outputs=Outputs(line.home))
    assert (desk.confined, desk.home) == (True, Path(CWD))
    with pytest.raises(VmNotFoundError, match="no VM for x in /src/box"):
        await desk.vm("x", None)
