from __future__ import annotations

import asyncio
import contextlib

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from tests.unit.cli.stand import CommandLine
from tests.unit.mcp.stand import CWD, MODES, NAME, Mode, connected, says, text_of, until


@pytest.mark.parametrize("mode", MODES)
async def test_a_vm_is_spawned_used_halted_and_destroyed_in_both_eras(
    line: CommandLine, mode: Mode
) -> None:
    line.shell.script = says(b"hello\n")
    async with connected(line, mode=mode) as agent:
        assert (await agent.use("spawn", cwd=CWD))["how"] == "created"
        assert (await agent.use("spawn", cwd=CWD, branch="main"))["how"] == "reconnected"
        assert (await agent.use("exec", vm_name=NAME, command="echo hello"))["stdout"] == "hello\n"
        (vm,) = (await agent.use("list"))["vms"]
        assert (vm["name"], vm["state"]) == (NAME, "running")
        assert (await agent.use("status", vm_name="main"))["phase"] == "ready"
        assert (await agent.use("halt", vm_name="main"))["was_running"] is True
        assert (await agent.use("halt", vm_name="main"))["was_running"] is False
        assert (await agent.use("destroy", vm_name="main", force=True))["name"] == NAME
        assert (await agent.use("list"))["vms"] == []


async def test_what_a_spawn_does_is_told_while_it_does_it(line: CommandLine) -> None:
    async with connected(line) as agent:
        await agent.call("spawn", cwd=CWD)
    assert agent.progress[0] == "Making the VM's disk"
    assert "Booting" in agent.progress
    assert agent.progress[-1].startswith("provision: done in ")


async def test_an_error_has_a_code_a_hint_and_words(line: CommandLine) -> None:
    async with connected(line) as agent:
        code, text = await agent.fail("status", vm_name="nobody")
    assert code == "vm.not_found"
    assert text.splitlines()[0] == "there is no VM for nobody"
    assert text.splitlines()[-2].startswith("hint: ")
    assert text.splitlines()[-1] == "code: vm.not_found"


async def test_an_unknown_tool_is_an_error_of_the_protocol(line: CommandLine) -> None:
    async with connected(line) as agent:
        with pytest.raises(MCPError, match="Unknown tool: frob; there are spawn, exec"):
            await agent.call("frob")


async def test_a_bug_is_told_and_the_server_goes_on(
    line: CommandLine, caplog: pytest.LogCaptureFixture
) -> None:
    line.fail_with = ZeroDivisionError("with sk-ant-api03-secretsecret in it")
    async with connected(line) as agent:
        result = await agent.call("list")
        assert result.is_error is True
        assert "this is a bug in tachikoma: ZeroDivisionError" in text_of(result)
        assert "secretsecret" not in text_of(result)
        line.fail_with = None
        assert (await agent.use("list"))["vms"] == []
    assert "a bug in the tool list" in caplog.text


async def test_cancelling_a_call_ends_its_command_and_leaves_the_vm_as_it_was(
    line: CommandLine,
) -> None:
    line.shell.hangs = True
    async with connected(line) as agent:
        await agent.call("spawn", cwd=CWD)
        hanging = asyncio.ensure_future(agent.call("exec", vm_name=NAME, command="sleep 9"))
        await until(lambda: bool(line.shell.ran))
        hanging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hanging
        await until(lambda: bool(line.shell.ended))
        assert line.shell.ended == ["CancelledError"]
        line.shell.hangs = False
        assert (await agent.use("exec", vm_name=NAME, command="true"))["status"] == 0


async def test_a_client_that_leaves_in_mid_call_ends_the_command(line: CommandLine) -> None:
    line.shell.hangs = True
    async with connected(line) as agent:
        await agent.call("spawn", cwd=CWD)
        hanging = asyncio.ensure_future(agent.call("exec", vm_name=NAME, command="sleep 9"))
        await until(lambda: bool(line.shell.ran))
    with contextlib.suppress(MCPError, asyncio.CancelledError):
        await hanging
    assert line.shell.ended == ["CancelledError"]


@pytest.mark.parametrize("mode", MODES)
async def test_destroy_asks_the_user_where_the_client_can(line: CommandLine, mode: Mode) -> None:
    asked: list[str] = []
    yes = types.ElicitResult(action="accept", content={"confirm": True})
    async with connected(line, mode=mode, answer=yes, asked=asked) as agent:
        await agent.call("spawn", cwd=CWD)
        assert (await agent.use("destroy", vm_name="main"))["branch"] == "main"
    assert asked == [f"Destroy the VM {NAME} (branch main) with its disk?"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (types.ElicitResult(action="decline"), "the user said no"),
        (types.ElicitResult(action="cancel"), "dismissed without an answer"),
        (types.ElicitResult(action="accept", content={"confirm": False}), "the user said no"),
    ],
    ids=["declined", "dismissed", "not ticked"],
)
async def test_without_a_yes_nothing_is_destroyed(
    line: CommandLine, mode: Mode, answer: types.ElicitResult, why: str
) -> None:
    async with connected(line, mode=mode, answer=answer) as agent:
        await agent.call("spawn", cwd=CWD)
        code, text = await agent.fail("destroy", vm_name="main")
        assert code == "mcp.not_confirmed"
        assert f"{why}; nothing was done" in text
        assert ("force" in text) == (answer.action == "cancel")
        assert len((await agent.use("list"))["vms"]) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_where_the_client_cannot_ask_destroy_needs_force(
    line: CommandLine, mode: Mode
) -> None:
    async with connected(line, mode=mode) as agent:
        await agent.call("spawn", cwd=CWD)
        code, text = await agent.fail("destroy", vm_name="main")
        assert (code, "force: true" in text) == ("mcp.not_confirmed", True)
        assert len((await agent.use("list"))["vms"]) == 1
        await agent.use("destroy", vm_name="main", force=True)


async def test_force_asks_nobody(line: CommandLine) -> None:
    asked: list[str] = []
    no = types.ElicitResult(action="decline")
    async with connected(line, answer=no, asked=asked) as agent:
        await agent.call("spawn", cwd=CWD)
        await agent.use("destroy", vm_name="main", force=True)
    assert asked == []


async def test_the_vms_their_logs_and_long_outputs_are_resources(line: CommandLine) -> None:
    line.shell.script = says(b"x" * 100_000)
    async with connected(line) as agent:
        await agent.call("spawn", cwd=CWD)
        said = await agent.use("exec", vm_name=NAME, command="yes")
        listed = [each.uri for each in (await agent.client.list_resources()).resources]
        assert listed == [
            "tachikoma://vms",
            f"tachikoma://vms/{NAME}/log",
            said["stdout_resource"],
        ]
        (vms,) = (await agent.client.read_resource("tachikoma://vms")).contents
        assert isinstance(vms, types.TextResourceContents)
        assert f'"name":"{NAME}"' in vms.text
        (whole,) = (await agent.client.read_resource(said["stdout_resource"])).contents
        assert isinstance(whole, types.TextResourceContents)
        assert whole.text == "x" * 100_000
        templates = (await agent.client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == ["tachikoma://vms/{vm_name}/log"]


async def test_a_resource_that_is_not_there_is_an_error_of_the_protocol(line: CommandLine) -> None:
    async with connected(line) as agent:
        for uri in ("tachikoma://outputs/7", "tachikoma://vms/nobody/log", "file:///etc/passwd"):
            with pytest.raises(MCPError) as caught:
                await agent.client.read_resource(uri)
            assert caught.value.error.code == -32002
            assert caught.value.error.data["code"] == "vm.not_found"


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_subscriber_of_the_handshake_era_hears_of_changes(line: CommandLine) -> None:
    heard: list[object] = []
    async with connected(line, hears=heard.append) as agent:
        await agent.client.subscribe_resource("tachikoma://vms")
        await agent.call("spawn", cwd=CWD)
        await until(lambda: types.ResourceUpdatedNotification in map(type, heard))
        assert types.ResourceListChangedNotification in map(type, heard)
        await agent.client.unsubscribe_resource("tachikoma://vms")


async def test_a_listener_of_the_newer_era_hears_of_changes(line: CommandLine) -> None:
    async with (
        connected(line, mode="auto") as agent,
        agent.client.listen(
            resource_subscriptions=["tachikoma://vms"], resources_list_changed=True
        ) as events,
    ):
        await agent.call("spawn", cwd=CWD)
        kinds = {type(await anext(events)).__name__ for _ in range(2)}
        assert kinds == {"ResourcesListChanged", "ResourceUpdated"}


async def test_a_hundred_calls_in_a_row_and_ten_at_a_time_all_answer(line: CommandLine) -> None:
    line.shell.script = says(b"done\n")
    async with connected(line) as agent:
        await agent.call("spawn", cwd=CWD)
        for _ in range(100):
            assert len((await agent.use("list"))["vms"]) == 1
        several = await asyncio.gather(
            *(agent.use("exec", vm_name=NAME, command=f"echo {n}") for n in range(10))
        )
    assert [each["stdout"] for each in several] == ["done\n"] * 10
