from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.hypervisor.tart.guest_exec import execute
from tachikoma.hypervisor.tart.refusals import NOISE
from tachikoma.model.errors import AgentError, CommandFailed, VmNotRunningError
from tachikoma.model.names import VmName
from tachikoma.model.vm import GuestCommand, GuestExit, Stream
from tests.doubles.tart_double.contract import error_of
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import DoubleTool, ended, mark_of, program_of

VM = VmName("tachikoma-app-main")
LS = GuestCommand(("ls", "-l"))


@pytest.fixture
def tool(own_home: Path) -> DoubleTool:
    return DoubleTool(Store({"HOME": str(own_home)}))


@pytest.mark.parametrize("status", [0, 1, 2, 64, 137, 255])
async def test_the_status_is_the_guests_whatever_tart_says(tool: DoubleTool, status: int) -> None:
    tool.script = lambda command, _: ended(command, status, b"out", b"err\n")
    assert await execute(program_of(tool), VM, LS, None) == GuestExit(status, b"out", b"err\n")


async def test_output_is_handed_on_without_our_marks(tool: DoubleTool) -> None:
    tool.script = lambda command, _: ended(command, 0, b"out", b"err")
    seen: list[tuple[Stream, bytes]] = []
    await execute(program_of(tool), VM, LS, lambda stream, piece: seen.append((stream, piece)))
    assert seen == [("stdout", b"out"), ("stderr", b"err")]


async def test_input_is_attached_only_if_there_is_some(tool: DoubleTool) -> None:
    given: list[bytes] = []

    def script(command: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        given.append(stdin)
        return ended(command, 0)

    tool.script = script
    await execute(program_of(tool), VM, LS, None)
    await execute(program_of(tool), VM, GuestCommand(("cat",), stdin=b"in"), None)
    assert [line[2] for line in tool.store.emitted()] == ["--", "-i"]
    assert given == [b"", b"in"]


async def test_every_command_has_a_number_of_its_own(tool: DoubleTool) -> None:
    tool.script = lambda command, _: ended(command, 0)
    for _ in range(2):
        await execute(program_of(tool), VM, LS, None)
    first, second = map(mark_of, tool.store.emitted())
    assert first != second


@pytest.mark.parametrize("name", ["vm_does_not_exist", "vm_not_running"])
async def test_without_a_running_vm_that_is_said(tool: DoubleTool, name: str) -> None:
    tool.store.set(faults={"exec": name})
    with pytest.raises(VmNotRunningError, match=VM):
        await execute(program_of(tool), VM, LS, None)


@pytest.mark.parametrize(
    "name",
    ["agent_unreachable", "guest_cannot_start_command", "stream_broken", "vm_missing_files"],
)
async def test_tarts_own_failures_are_never_the_guests(tool: DoubleTool, name: str) -> None:
    tool.store.set(faults={"exec": name})
    with pytest.raises(AgentError, match=VM) as failed:
        await execute(program_of(tool), VM, LS, None)
    assert failed.value.hint
    assert error_of("exec", name)["example"] in failed.value.details


async def test_a_user_who_may_not_use_sudo_is_told(tool: DoubleTool) -> None:
    tool.script = lambda *_: (1, b"", b"sudo: a password is required\n")
    with pytest.raises(AgentError, match="may not use sudo"):
        await execute(program_of(tool), VM, LS, None)


async def test_a_line_that_breaks_off_is_no_success(tool: DoubleTool) -> None:
    tool.script = lambda command, _: (0, ended(command, 0, b"half")[1][:-6], b"")
    with pytest.raises(AgentError, match="Tart ended before"):
        await execute(program_of(tool), VM, LS, None)


async def test_noise_of_tarts_is_not_the_guests(tool: DoubleTool) -> None:
    noise = NOISE.encode() + b"x\n"
    tool.script = lambda command, _: ended(command, 0, err=noise + b"err\n")
    assert (await execute(program_of(tool), VM, LS, None)).stderr == b"err\n"


async def test_too_much_output_ends_the_command_in_the_guest(tool: DoubleTool) -> None:
    def until_half(command: list[str], _: bytes) -> tuple[int, bytes, bytes]:
        if "ls" not in command:
            return 0, b"", b""
        return 0, ended(command, 0, b"x" * 200)[1][:150], b""

    tool.script = until_half
    with pytest.raises(AgentError, match="more than can be held"):
        await execute(program_of(tool), VM, LS, None, most_output=100)
    assert tool.store.emitted()[-1][-1] == "41", "the command's process is ended"


async def test_a_command_that_takes_too_long_and_never_began_needs_no_ending(
    tool: DoubleTool,
) -> None:
    def hang(*_: object) -> tuple[int, bytes, bytes]:
        raise CommandFailed("`tart` took longer than 1 s", status=None, stderr="")

    tool.script = hang
    with pytest.raises(AgentError, match="took longer than 60 s") as failed:
        await execute(program_of(tool), VM, LS, None)
    assert "had not begun" in failed.value.hint
    assert len(tool.store.emitted()) == 1
