"""The guard itself: what it refuses, and what it lets through."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockingError

from tachikoma.host import process
from tests.conftest import ROOT, RealMachineError

REAL_HOME = Path(pwd.getpwuid(os.geteuid()).pw_dir)


def connect(host: str) -> None:
    with socket.socket() as opened:
        opened.connect((host, 9))


def connect_unix() -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.connect("/run/no-such-socket")


def send() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.sendto(b"x", ("192.0.2.1", 9))


REFUSED: dict[str, Callable[[], object]] = {
    "a process": lambda: subprocess.run(["true"], check=False),
    "a spawned process": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "a forked process": os.fork,
    "a shell": lambda: os.system("true"),
    "a replaced process": lambda: os.execv("/bin/true", ["true"]),
    "a detached process": lambda: process.detach(["true"], log=Path(os.environ["HOME"]) / "log"),
    "a far socket": lambda: connect("192.0.2.1"),
    "a near socket": lambda: connect("127.0.0.1"),
    "a socket file": connect_unix,
    "a datagram": send,
    "a look-up": lambda: socket.getaddrinfo("host.invalid", 80),
    "a file at home": (REAL_HOME / ".no-such-file").read_text,
    "a new file at home": lambda: (REAL_HOME / ".no-such-file").write_text("x"),
    "a new directory at home": (REAL_HOME / ".no-such-directory").mkdir,
    "the list of the home": lambda: list(REAL_HOME.iterdir()),
    "a way round to the home": (REAL_HOME / "a" / ".." / "x").read_text,
}


@pytest.mark.parametrize("touch", REFUSED.values(), ids=REFUSED.keys())
def test_a_test_without_a_live_mark_cannot_touch(touch: Callable[[], object]) -> None:
    with pytest.raises(RealMachineError, match="a test without a live mark"):
        touch()


async def test_a_test_without_a_live_mark_cannot_run_a_command() -> None:
    with pytest.raises(RealMachineError, match="started a process"):
        await process.run(["true"], deadline_s=5)


async def test_an_async_test_cannot_block_its_loop() -> None:
    with pytest.raises(BlockingError):
        time.sleep(0)  # noqa: ASYNC251 - that is what must be refused


def test_no_handler_of_errors_hides_it() -> None:
    assert not issubclass(RealMachineError, Exception)


def test_the_home_is_an_empty_one_of_the_test(own_home: Path, tmp_path: Path) -> None:
    assert Path.home() == own_home
    assert list(own_home.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
    assert len(os.environ["XDG_RUNTIME_DIR"]) < 40
    assert Path(os.environ["XDG_RUNTIME_DIR"]).is_dir()


def test_files_of_its_own_are_let_through(tmp_path: Path, own_home: Path) -> None:
    for directory in (tmp_path, own_home):
        (directory / "file").write_text("x")
        assert (directory / "file").read_text() == "x"
    assert (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.live
async def test_a_live_test_may_run_a_command() -> None:
    assert (await process.run(["echo", "hello"], deadline_s=10)).text == "hello"


def test_a_loop_may_still_be_run() -> None:
    async def answer() -> int:
        return await asyncio.to_thread(lambda: 42)

    assert asyncio.run(answer()) == 42
