from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tachikoma.host import process, tasks
from tachikoma.host.attended import attend, end_left_over
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.model.errors import HostError, MissingToolError
from tachikoma.model.vm import Stream

DEAF = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


class Heard:
    """What a child said, and its process id."""

    def __init__(self) -> None:
        self.lines: list[tuple[Stream, str]] = []
        self.pid = 0
        self._said = asyncio.Event()

    def line(self, stream: Stream, line: str) -> None:
        self.lines.append((stream, line))
        self._said.set()

    def start(self, pid: int) -> None:
        self.pid = pid

    async def something(self) -> None:
        async with asyncio.timeout(10):
            await self._said.wait()


async def run(*argv: str, heard: Heard, grace_s: float = 5.0, **more: object) -> int:
    return await attend(
        argv, on_start=heard.start, on_line=heard.line, grace_s=grace_s, **more  # type: ignore[arg-type]  # env, cwd
    )  # fmt: skip


async def gone(pid: int) -> bool:
    async for _ in attempts(SystemClock(), deadline_s=5, most_s=0.05):
        if process.start_time(pid) is None:
            return True
    return False


@pytest.mark.live
async def test_lines_of_both_outputs_are_handed_on_and_the_status_is_given(tmp_path: Path) -> None:
    heard = Heard()
    script = "echo one; echo two >&2; printf '%s' \"$KIND in $PWD\"; cat; exit 7"
    env = {"KIND": "worker"}
    assert await run("sh", "-c", script, heard=heard, env=env, cwd=tmp_path) == 7
    out = [line for stream, line in heard.lines if stream == "stdout"]
    assert out == ["one", f"worker in {tmp_path}"]
    assert ("stderr", "two") in heard.lines
    assert await run("sh", "-c", "kill -KILL $$", heard=heard) == -signal.SIGKILL


@pytest.mark.live
async def test_an_endless_line_comes_in_pieces() -> None:
    heard = Heard()
    assert await run("sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x", heard=heard) == 0
    assert len(heard.lines) > 1
    assert "".join(line for _, line in heard.lines) == "x" * 200_000


@pytest.mark.live
async def test_a_cancelled_child_is_asked_to_end_and_may_say_so() -> None:
    heard = Heard()
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    task = tasks.spawn(run("sh", "-c", script, heard=heard), name="polite")
    await heard.something()
    await tasks.end(task)
    assert task.cancelled()
    assert heard.lines[-1] == ("stdout", "bye")
    assert await gone(heard.pid)


@pytest.mark.live
async def test_a_child_that_does_not_end_is_killed_with_its_group_after_the_grace() -> None:
    heard = Heard()
    script = f"sleep 60 & echo $!; {DEAF}"
    task = tasks.spawn(run("sh", "-c", script, heard=heard, grace_s=0.2), name="deaf")
    await heard.something()
    await tasks.end(task)
    assert await gone(heard.pid)
    assert await gone(int(heard.lines[0][1]))


@pytest.mark.live
async def test_what_a_child_leaves_in_its_group_is_killed_when_it_ends() -> None:
    heard = Heard()
    assert await run("sh", "-c", "sleep 60 & echo $!", heard=heard) == 0
    assert await gone(int(heard.lines[0][1]))


@pytest.mark.live
async def test_who_left_the_group_and_keeps_the_outputs_open_holds_nobody_up() -> None:
    heard = Heard()
    began = SystemClock().monotonic()
    assert await run("sh", "-c", "setsid sleep 8 & exit 3", heard=heard) == 3
    assert SystemClock().monotonic() - began < 5


@pytest.mark.live
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of this system has no such signal")
async def test_a_child_is_asked_to_end_when_its_attendant_dies_without_a_word() -> None:
    program = (
        "import asyncio, sys; from tachikoma.host.attended import attend; "
        "asyncio.run(attend(['sleep', '60'], on_start=lambda pid: print(pid, flush=True), "
        "on_line=print, grace_s=1))"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as attendant:
        assert attendant.stdout is not None
        child = int(attendant.stdout.readline())
        async for _ in attempts(SystemClock(), deadline_s=5):  # until setpriv has become sleep
            if process.command_line(child)[:1] == ("sleep",):
                break
        attendant.kill()
    assert await gone(child)


@pytest.mark.live
async def test_what_cannot_be_started_is_an_error_of_ours(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(MissingToolError):
        await run("no-such-program", heard=heard)
    with pytest.raises(HostError, match="gone"):
        await run("true", heard=heard, cwd=tmp_path / "gone")
    assert heard.pid == 0


@pytest.mark.live
async def test_a_child_left_over_is_ended_with_its_group_and_no_other_process() -> None:
    argv = ["sh", "-c", "sleep 60 & echo $!; wait"]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout is not None
        inner = int(left.stdout.readline())
        end_left_over(left.pid, started="another start", grace_s=0.1)
        assert left.poll() is None
        end_left_over(left.pid, started=process.start_time(left.pid) or "", grace_s=2.0)
        assert await gone(inner)
        left.returncode = -signal.SIGTERM  # it has been reaped
