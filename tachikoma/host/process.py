"""The one place that starts processes.

``run`` waits for the end and gives the output; ``stream`` hands lines on as they come, ``listen``
bytes; ``detach`` starts what outlives us. A child gets a chosen environment, an empty standard
input and a deadline; it ends by a ladder: TERM to its group, a pause, KILL, reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.host import environ, files, tasks
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.model.errors import CommandFailed, HostError, MissingToolError
from tachikoma.model.vm import Stream

_TERM_GRACE_S = 2.0
_LOOK_AGAIN_S = 0.01
_HAS_PROC = Path("/proc/self/stat").exists()
_GONE = "ZX"
_LAST_LINES = 12
_LONGEST_LINE = 1 << 20
_CHUNK = 1 << 16
_SECRET = re.compile(
    r"(sk-ant-[\w-]{4})[\w-]+"
    r"|((?:authorization|x-api-key|(?<![a-z_])[a-z_]*(?:api_key|_token|_secret))[\"']?\s*[:=]\s*[\"']?"
    r"(?:bearer\s+|basic\s+)?)[^\s\"']+"
    r"|(gh[opsur]_)\w{16,}"
    r"|(://[^/\s:@]*:)[^/\s@]+(?=@)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished command: its exit status (negative for a signal) and whole output.

    The output may hold a credential, so the repr does not show it.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """Its standard output as text, without the last line end."""
        return self.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")


async def run(
    argv: Sequence[str],
    *,
    deadline_s: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> Completed:
    """Run ``argv`` to its end; ``env`` is added to the chosen environment of every child.

    Raises:
        MissingToolError: the program does not exist.
        CommandFailed: it ended with another status than 0 (only with ``check``), or in no time.
    """
    # No pipe for nothing: uvloop raises if the child has closed its end before we do.
    given = asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL
    process = await start(argv, env=env, cwd=cwd, stdin=given)
    try:
        async with asyncio.timeout(deadline_s):
            stdout, stderr = await process.communicate(stdin or None)
    except TimeoutError as error:
        await tasks.to_the_end(end(process), name=f"end {argv[0]}")
        raise _failed(argv, None, b"", f"took longer than {deadline_s:g} s") from error
    except BaseException:
        await tasks.to_the_end(end(process), name=f"end {argv[0]}")
        raise
    status = _status(process)
    if check and status != 0:
        raise _failed(argv, status, stderr or stdout)
    return Completed(tuple(argv), status, stdout, stderr)


async def stream(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    deadline_s: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run ``argv`` and hand every line of both its outputs to ``on_line`` as it comes.

    A line without end comes in pieces.

    Raises:
        MissingToolError: the program does not exist.
        CommandFailed: as ``run``; details hold the last lines.
    """
    last: list[str] = []

    async def read() -> None:
        assert process.stdout is not None
        async for raw in _lines(process.stdout):
            line = raw.decode("utf-8", "replace").removesuffix("\r")
            last[:] = [*last[1 - _LAST_LINES :], line]
            on_line(line)

    process = await start(
        argv, env=env, cwd=cwd, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.gather(read(), _write(process, stdin), process.wait())
    except TimeoutError as error:
        await tasks.to_the_end(end(process), name=f"end {argv[0]}")
        said = "\n".join(last).encode()
        raise _failed(argv, None, said, f"took longer than {deadline_s:g} s") from error
    except BaseException:
        await tasks.to_the_end(end(process), name=f"end {argv[0]}")
        raise
    if (status := _status(process)) != 0:
        raise _failed(argv, status, "\n".join(last).encode())


async def listen(
    argv: Sequence[str],
    *,
    on_output: Callable[[Stream, bytes], None],
    deadline_s: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> int:
    """Run ``argv``, hand every piece of its two outputs on as it comes, and give its exit status.

    Raises:
        MissingToolError: the program does not exist.
        CommandFailed: it took too long.
    """

    async def read(stream: Stream, reader: asyncio.StreamReader | None) -> None:
        assert reader is not None
        while piece := await reader.read(_CHUNK):
            on_output(stream, piece)

    process = await start(argv, env=env, cwd=None, stdin=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.gather(
                read("stdout", process.stdout),
                read("stderr", process.stderr),
                _write(process, stdin),
                process.wait(),
            )
    except TimeoutError as error:
        await tasks.to_the_end(end(process), name=f"end {argv[0]}")
        raise _failed(argv, None, b"", f"took longer than {deadline_s:g} s") from error
    except BaseException:
        await tasks.to_the_end(end(process), name=f"end {argv[0]}")
        raise
    return _status(process)


def detach(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start ``argv`` in a session of its own, outliving us, and give its process id.

    Both outputs are appended to ``log`` (mode 0600). Descriptors in ``pass_fds`` keep their
    numbers in the child.

    Raises:
        MissingToolError: the program does not exist.
        HostError: it, or its log, cannot be opened.
    """
    with files.translated(log):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=environ.for_child(env),
            cwd=cwd,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise _not_started(error, argv[0], cwd) from error
    finally:
        os.close(descriptor)
    child.returncode = 0  # it is not ours to wait for; init or reap() takes it
    return child.pid


def on_terminal(argv: Sequence[str]) -> int:
    """Lend this terminal to ``argv`` until it ends, and give its exit status (an editor).

    It gets the user's whole environment, and no deadline: a person is at it.

    Raises:
        MissingToolError: the program does not exist.
    """
    try:
        return subprocess.run(list(argv), env=environ.current(), check=False).returncode
    except OSError as error:
        raise _not_started(error, argv[0], None) from error


def start_time(pid: int) -> str | None:
    """Give what tells this process from a later one with the same id; None if there is none.

    A zombie counts as gone.
    """
    fields = _stat(pid)
    if fields is None:
        return _start_time_by_ps(pid)
    return None if fields[0] in _GONE else fields[19]


def command_line(pid: int) -> tuple[str, ...]:
    """Give the argv of a process (Linux), or nothing if it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "surrogateescape") for part in raw.split(b"\0")[:-1])


def end_process(pid: int, *, started: str | None, grace_s: float = _TERM_GRACE_S) -> None:
    """End one process: TERM, a pause, KILL. Does nothing if it is gone or is another one.

    ``started`` is what ``start_time`` gave when the process was known to be the right one.
    Blocks; an event loop calls it in a thread.

    Raises:
        PermissionDeniedError: it belongs to another user.
    """
    for sent, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _TERM_GRACE_S)):
        reap(pid)
        if started is None or start_time(pid) != started:
            return
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise files.from_os_error(error, Path(f"/proc/{pid}")) from error
        end = time.monotonic() + wait_s
        while time.monotonic() < end and start_time(pid) == started:
            time.sleep(_LOOK_AGAIN_S)
            reap(pid)


def reap(pid: int) -> None:
    """Take leave of a detached child that ended while we still live."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def which(program: str, *, also: Sequence[str] = ()) -> str | None:
    """Find a program on PATH or, failing that, at one of the paths in ``also``."""
    found = shutil.which(program, path=environ.for_child().get("PATH"))
    return found or next((path for path in also if os.access(path, os.X_OK)), None)


def missing_tool(program: str) -> MissingToolError:
    """Give the error for a program that is not there."""
    return MissingToolError(
        f"the program {program} is not installed",
        hint="`tachikoma doctor` says which package brings it",
    )


def redacted(text: str) -> str:
    """Give ``text`` without what looks like a credential."""
    return _SECRET.sub(lambda found: f"{found[found.lastindex or 0]}[redacted]", text)


async def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    read_ahead: int = _CHUNK,
) -> asyncio.subprocess.Process:
    """Start a child for a scope that ends it with ``end``; only `host` does so.

    Whoever is cancelled meanwhile leaves no child, and no pipe to it.

    Raises:
        MissingToolError: the program does not exist.
        HostError: it cannot be started.
    """
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=environ.for_child(env),
            cwd=cwd,
            start_new_session=True,
            limit=read_ahead,
        )
    )
    try:
        return await asyncio.shield(starting)
    except OSError as error:
        raise _not_started(error, argv[0], cwd) from error
    except asyncio.CancelledError:
        await tasks.to_the_end(_end_started(starting), name=f"end {argv[0]}")
        raise


async def _end_started(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    with contextlib.suppress(OSError):
        await end(await starting)


def _not_started(error: OSError, program: str, cwd: Path | None) -> HostError:
    if cwd is not None and not cwd.is_dir():
        return files.from_os_error(error, cwd)
    if isinstance(error, FileNotFoundError):
        return missing_tool(program)
    return files.from_os_error(error, Path(program))


async def _write(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    while chunk := await reader.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest


async def end(process: asyncio.subprocess.Process) -> None:
    """Walk down the ladder with the whole group of ``process``, and wait for it to be gone.

    The group outlives its leader where a child of it ignores TERM, so it is the group that is
    looked at.
    """
    try:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, sent)
            if await _group_ends(process.pid):
                break
        async for _ in attempts(SystemClock(), deadline_s=_TERM_GRACE_S):
            if process.returncode is not None:
                break
    finally:
        # What moved to a session of its own may keep our pipes open for ever, and wait() would
        # wait for them; asyncio has no public way to close them.
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TERM_GRACE_S):
            await process.wait()


async def _group_ends(group: int) -> bool:
    async for _ in attempts(SystemClock(), deadline_s=_TERM_GRACE_S, most_s=0.1):
        if not _group_lives(group):
            return True
    return False


def _group_lives(group: int) -> bool:
    """Tell whether anything of a process group still runs.

    An orphan that nobody has reaped yet answers signals all the same, so ``/proc`` is asked too.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it became another user's (sudo); only waiting is left
    if not _HAS_PROC:
        return True
    pids = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    stats = (fields for pid in pids if (fields := _stat(pid)) is not None)
    return any(fields[2] == str(group) and fields[0] not in _GONE for fields in stats)


def _stat(pid: int) -> list[str] | None:
    """Give the fields of a process from its state on (``proc_pid_stat(5)``); None if it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return line.rpartition(")")[2].split()


def _status(process: asyncio.subprocess.Process) -> int:
    assert process.returncode is not None
    return process.returncode


def _failed(
    argv: Sequence[str], status: int | None, output: bytes, how: str | None = None
) -> CommandFailed:
    said = redacted(output.decode("utf-8", "replace")).strip()
    ended = how or (
        f"was ended by signal {-status}"
        if status is not None and status < 0
        else f"ended with exit status {status}"
    )
    last = "\n".join(said.splitlines()[-_LAST_LINES:])
    return CommandFailed(
        f"`{Path(argv[0]).name}` {ended}",
        status=status,
        stderr=said,
        hint="its last words are above" if last else "it said nothing",
        details=f"$ {redacted(shlex.join(argv))}\n{last}".rstrip(),
    )


def _start_time_by_ps(pid: int) -> str | None:
    if _HAS_PROC:
        return None
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_TERM_GRACE_S,
    )
    return answer.stdout.decode().strip() or None
