"""What the measurements of the proxy stand on: a proxy with VMs, and processes beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figure import free_port
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.environ import for_child
from tachikoma.host.paths import paths_from, private_dir
from tachikoma.host.process import detach, end_process, start_time
from tachikoma.model.events import silent
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.control import ProxyControl
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.route import token_hash
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import VmRecord

_DEADLINE_S = 30.0
_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy: its address, a token for each of its VMs, how to start it again."""

    endpoint: Endpoint
    tokens: tuple[str, ...]
    plan: Plan
    control: ProxyControl

    @property
    def url(self) -> str:
        return f"http://{self.endpoint}"

    @property
    def pid(self) -> int:
        return int(self.plan.pid_file.read_text(encoding="ascii").split()[0])


@contextlib.asynccontextmanager
async def proxy_to(api: str, home: Path, *, vms: int = 1) -> AsyncIterator[Proxy]:
    """Run a proxy for ``api`` whose files are in ``home``."""
    environ = for_child({"HOME": str(home), "ANTHROPIC_BASE_URL": api, "ANTHROPIC_API_KEY": "real"})
    environ = {name: value for name, value in environ.items() if not name.startswith("XDG_")}
    paths, clock = paths_from(environ), SystemClock()
    private_dir(paths.config)
    tokens = tuple(secrets.token_urlsafe(32) for _ in range(vms))
    with JsonFileStore(file=paths.state_file, locks=paths.locks, clock=clock).edit() as ledger:
        for number, token in enumerate(tokens):
            ledger.put(_record(home, number, token))
    endpoint = Endpoint("127.0.0.1", free_port())
    plan = Plan(endpoint=endpoint, paths=paths, environment=environ, ttl_s=300)
    control = ProxyControl(plan=plan, clock=clock)
    await control.ensure(silent)
    try:
        yield Proxy(endpoint, tokens, plan, control)
    finally:
        await control.stop()


@contextlib.asynccontextmanager
async def beside(
    argv: Sequence[str], *, log: Path, port: int | None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """Run a program until the block ends; begins when it listens on ``port``, if it does."""
    pid = detach(list(argv), log=log, env=environ)
    started = start_time(pid)
    try:
        async for _ in attempts(SystemClock(), deadline_s=_DEADLINE_S):
            if port is None:
                break
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
        yield pid
    finally:
        end_process(pid, started=started)


def cpu_s(pid: int) -> float:
    """Give the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def resident_bytes(pid: int) -> int:
    """Give the memory that a process has in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def most_resident_bytes(pid: int) -> int:
    """Give the most memory that a process has had in RAM since it began.

    Not getrusage's: that counts what the parent had when it started it.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def _record(home: Path, number: int, token: str) -> VmRecord:
    return VmRecord(
        name=VmName(f"tachikoma-bench-{number}"),
        repository=home,
        repository_name="bench",
        branch=f"bench-{number}",
        worktree=home,
        engine="none",
        image="none",
        created=0.0,
        last_used=0.0,
        token_hashes=(token_hash(token),),
    )
