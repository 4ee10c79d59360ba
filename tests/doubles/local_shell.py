"""A shell whose VM is this machine: commands run here, in a directory of the test's."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tachikoma.ssh.memory import MemoryShell
from tachikoma.ssh.port import Login


class LocalShell(MemoryShell):
    """Implements ``Shell.run`` with a process of this machine."""

    async def run(
        self,
        login: Login,
        command: Sequence[str],
        *,
        directory: str,
        stdin: int | None,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
    ) -> int:
        """Run it and hand both outputs over as they come."""
        del login
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=Path(directory),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

        async def hand_on(
            stream: asyncio.StreamReader | None, take: Callable[[bytes], None]
        ) -> None:
            assert stream is not None
            while data := await stream.read(1 << 16):
                take(data)

        await asyncio.gather(hand_on(process.stdout, on_stdout), hand_on(process.stderr, on_stderr))
        return await process.wait()
