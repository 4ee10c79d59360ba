"""The double of Tart without processes: for what needs no guest, or a scripted one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.host.process import Completed
from tachikoma.hypervisor.port import OnOutput
from tachikoma.hypervisor.tart.program import Program
from tachikoma.model.errors import CommandFailed, MissingToolError
from tests.doubles.tart_double.main import invoke
from tests.doubles.tart_double.store import Store

Answer = tuple[int, bytes, bytes]
Script = Callable[[list[str], bytes], Answer]


@dataclass(slots=True)
class DoubleTool:
    """Calls the double in this process. ``script`` is what `tart exec` does."""

    store: Store
    script: Script | None = None
    environs: list[Mapping[str, str]] = field(default_factory=list)
    missing: bool = False
    slow: set[str] = field(default_factory=set)

    async def run(
        self, command: Sequence[str], *, deadline_s: float, env: Mapping[str, str]
    ) -> Completed:
        status, out, err = self._answer(command, b"", env)
        return Completed(tuple(command), status, out, err)

    async def listen(
        self,
        command: Sequence[str],
        *,
        on_output: OnOutput,
        deadline_s: float,
        stdin: bytes,
        env: Mapping[str, str],
    ) -> int:
        status, out, err = self._answer(command, stdin, env)
        if out:
            on_output("stdout", out)
        if err:
            on_output("stderr", err)
        return status

    def detach(self, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> int:
        raise AssertionError("a real process is started by the live tests only")

    def _answer(self, command: Sequence[str], stdin: bytes, env: Mapping[str, str]) -> Answer:
        if self.missing:
            raise MissingToolError("the program tart is not installed", hint="install it")
        if command[1] in self.slow:
            raise CommandFailed("`tart` took longer than 1 s", status=None, stderr="")
        self.environs.append(env)
        if command[1] == "exec" and self.script is not None:
            self.store.note(list(command))
            return self.script(list(command), stdin)
        out, err = io.StringIO(), io.StringIO()
        where = {"TART_HOME": str(self.store.home), "PATH": "/nowhere"}
        status = invoke(list(command[1:]), where | dict(env), out, err)
        return status, out.getvalue().encode(), err.getvalue().encode()


def program_of(tool: DoubleTool, **environ: str) -> Program:
    return Program(environ={"HOME": str(tool.store.home.parent)} | environ, tool=tool)


def mark_of(command: list[str]) -> str:
    """Give the secret number in a wrapped command."""
    (found,) = (each for each in command if re.fullmatch("[0-9a-f]{16}", each))
    return found


def ended(command: list[str], status: int, out: bytes = b"", err: bytes = b"") -> Answer:
    """Say what a guest says of a wrapped command that ended."""
    mark = mark_of(command).encode()
    return 0, b"\n%s+41\n%s\n%s=%d\n" % (mark, out, mark, status), err
