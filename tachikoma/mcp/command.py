"""A command in a VM under a deadline, its outputs held in bounds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import PurePosixPath

from tachikoma.mcp.call import Call
from tachikoma.mcp.outputs import Capture
from tachikoma.mcp.shapes import Ran
from tachikoma.model.errors import BadArgumentError, TachikomaError
from tachikoma.model.events import StepProgress
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import ReachOutcome

_LONGEST_COMMAND = 100_000
_TELL_EVERY_S = 2.0
_LONGEST_LINE = 120
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXEC = 'exec "$@"'


def argv_of(command: str | Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Give the argv that runs ``command`` with the variables of ``env`` (pure).

    Raises:
        BadArgumentError: nothing to run, too long, or no name of a variable.
    """
    words = [command] if isinstance(command, str) else list(command)
    if not words or not words[0].strip():
        raise BadArgumentError("the command is empty", hint="give a line for bash or an argv")
    for name in env:
        if not _VARIABLE.fullmatch(name):
            raise BadArgumentError(
                f"{name[:80]!r} cannot be the name of a variable", hint="use letters, digits, _"
            )
    variables = [f"{name}={value}" for name, value in env.items()]
    size = sum(len(word.encode("utf-8", "surrogateescape")) for word in [*words, *variables])
    if size > _LONGEST_COMMAND:
        raise BadArgumentError(
            f"the command and its variables are {size} bytes long, {_LONGEST_COMMAND} at most",
            hint="write a script with write_file and run that",
        )
    shell = ["bash", "-c", command] if isinstance(command, str) else ["bash", "-c", _EXEC, "bash"]
    argv = shell if isinstance(command, str) else [*shell, *words]
    return ["env", *variables, *argv] if variables else argv


async def run(
    call: Call,
    runtime: Runtime,
    vm: ReachOutcome,
    argv: Sequence[str],
    *,
    workdir: str | None,
    deadline_s: float,
) -> Ran:
    """Run ``argv`` to its end or its deadline, and give what it said either way."""
    outputs = call.desk.outputs
    stdout, stderr = outputs.capture(), outputs.capture()
    began = runtime.clock.monotonic()
    status: int | None = None
    try:
        with _told(call, stdout, stderr):
            async with asyncio.timeout(deadline_s):
                status = await runtime.shell.run(
                    vm.login,
                    argv,
                    directory=str(PurePosixPath(vm.worktree, workdir or "")),
                    stdin=None,
                    on_stdout=stdout.take,
                    on_stderr=stderr.take,
                )
    except TimeoutError:
        pass
    except BaseException:
        stdout.close()
        stderr.close()
        raise
    title = " ".join(argv)[:_LONGEST_LINE]
    said = outputs.show(stdout, f"Standard output of: {title}")
    complained = outputs.show(stderr, f"Standard error of: {title}")
    return Ran(
        vm_name=vm.name,
        status=status,
        timed_out=status is None,
        seconds=round(runtime.clock.monotonic() - began, 3),
        stdout=said.text,
        stderr=complained.text,
        stdout_bytes=said.size,
        stderr_bytes=complained.size,
        stdout_cut=said.cut,
        stderr_cut=complained.cut,
        stdout_resource=said.resource,
        stderr_resource=complained.resource,
    )


@asynccontextmanager
async def within(deadline_s: float, error: type[TachikomaError], what: str) -> AsyncIterator[None]:
    """Raise ``error`` if the block takes longer than ``deadline_s``."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError as late:
        raise error(
            f"{what} within {deadline_s:g} s", hint="status shows whether the VM is well"
        ) from late


@contextmanager
def _told(call: Call, stdout: Capture, stderr: Capture) -> Iterator[None]:
    """Tell now and then how the command does, also when it is silent: clients wait for that."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    again: asyncio.TimerHandle | None = None

    def tell() -> None:
        nonlocal again
        size, line = stdout.size + stderr.size, stdout.last_line() or stderr.last_line()
        text = f"running for {loop.time() - began:.0f} s, {size} bytes of output"
        call.report(StepProgress(f"{text}: {line[:_LONGEST_LINE]}" if line else text))
        again = loop.call_later(_TELL_EVERY_S, tell)

    again = loop.call_later(_TELL_EVERY_S, tell)
    try:
        yield
    finally:
        again.cancel()
