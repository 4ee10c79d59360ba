"""An image whose build is killed, and built by two at once: `make soak`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.test_images import BUILD, cache

__all__ = ["cache"]
pytestmark = pytest.mark.live_qemu


@pytest.fixture(scope="module")
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Builds in processes of their own; none is left in the end."""
    builds: list[subprocess.Popen[str]] = []
    yield builds
    for build in builds:
        build.kill()
        build.communicate()


@pytest.mark.timeout(900)
def test_after_a_killed_build_two_at_once_make_one_image(
    tmp_path: Path, cache: Path, started: list[subprocess.Popen[str]], real_environ: dict[str, str]
) -> None:
    data = tmp_path / "it's data"
    data.mkdir()

    def build() -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", BUILD, str(data), str(cache)],
                env=real_environ,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return started[-1]

    killed = build()
    assert killed.stdout is not None
    for line in killed.stdout:
        if "unpacking" in line:
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait(30)
    deadline = time.monotonic() + 10
    while (running := processes_at(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running == []
    assert not (data / "images" / "debian").exists()
    assert [path for path in (data / "images").iterdir() if path.name.startswith(".build-")]

    both = [build(), build()]
    said = [process.communicate(timeout=800)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0].splitlines()[-1] == said[1].splitlines()[-1]
    assert sorted("StepStarted(name='disk'" in text for text in said) == [False, True]
    assert sorted(path.name for path in (data / "images").iterdir()) == [
        ".lock",
        ".store",
        "debian",
    ]
    assert len(list((data / "images" / ".store").iterdir())) == 1


def processes_at(path: Path) -> list[str]:
    """List the living processes whose command line names ``path``."""
    mark, found = os.fsencode(path), []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:  # gone meanwhile
            continue
        if mark in command:
            found.append(command.decode(errors="replace"))
    return found
