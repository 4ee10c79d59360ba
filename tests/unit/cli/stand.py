"""A command line over synthetic VMs: what is typed goes in, what is seen comes out."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tachikoma.cli import app
from tachikoma.cli.door import Door
from tachikoma.cli.render import Screen
from tachikoma.cli.terminal import Terminal
from tachikoma.credentials.port import Credential, Finding, Kind, Source
from tachikoma.git.memory import MemoryGit
from tachikoma.git.memory_publishing import MemoryForge, MemoryPublishing
from tachikoma.git.port import Git, Identity
from tachikoma.host import process
from tachikoma.host.clock import Clock, FakeClock
from tachikoma.hypervisor.port import Checkpoints, Hypervisor, Images
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.makima.record import TaskRecord
from tachikoma.makima.settings import DaemonSettings
from tachikoma.model.checks import Check
from tachikoma.model.errors import TachikomaError
from tachikoma.model.events import Report
from tachikoma.model.names import VmName
from tachikoma.model.settings import Settings
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.control import ProxyStatus
from tachikoma.proxy.groups import Groups
from tachikoma.runtime import Runtime
from tachikoma.ssh.memory_forwards import MemoryForwards
from tachikoma.ssh.port import Forwards, Login, Shell
from tachikoma.state.memory import MemoryStore
from tachikoma.state.port import StateStore
from tachikoma.vm.orchestrator import VmOrchestrator
from tachikoma.vm.ports import Gateway
from tachikoma.vm.proposing import Proposer
from tachikoma.vm.provision.rehearsal import RehearsedGuest

PROXY = Endpoint("127.0.0.1", 19280)
SECRET = "sk-ant-api03-of-the-stand"


@dataclass(frozen=True, slots=True)
class Told:
    """A source that has said already what it says."""

    finding: Finding

    @property
    def name(self) -> str:
        return self.finding.source

    def stamp(self) -> None:
        pass

    async def look(self) -> Finding:
        return self.finding


@dataclass(slots=True)
class ScriptedShell:
    """A shell whose commands do what ``script`` says; with none they end with status 0."""

    script: Callable[[Sequence[str], Callable[[bytes], None], Callable[[bytes], None]], int] = (
        lambda _argv, _out, _err: 0
    )
    ran: list[tuple[tuple[str, ...], str, int | None]] = field(default_factory=list)
    hangs: bool = False
    ended: list[str] = field(default_factory=list)

    def ensure_key(self) -> str:
        return "ssh-ed25519 AAAA stand"

    def pin(self, vm: VmName, host_keys: Sequence[str]) -> Path:
        return Path("/known") / vm

    def forget(self, vm: VmName) -> None:
        pass

    def login(self, vm: VmName, endpoint: Endpoint, user: str) -> Login:
        return Login(vm, endpoint, user, Path("/key"), Path("/known") / vm)

    async def answers(self, endpoint: Endpoint, *, deadline_s: float) -> bool:
        return True

    def attach_argv(
        self, login: Login, *, command: Sequence[str] = (), directory: str = "", tty: bool = True
    ) -> list[str]:
        return ["ssh", "-t", f"{login.user}@{login.vm}", directory, *command]

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
        self.ran.append((tuple(command), directory, stdin))
        try:
            status = self.script(command, on_stdout, on_stderr)
            if self.hangs:
                await asyncio.Event().wait()
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        return status


class StandingGateway:
    """A proxy that is always there."""

    @property
    def endpoint(self) -> Endpoint:
        return PROXY

    async def ensure(self, report: Report) -> None:
        pass


class SyntheticRuntime(Runtime):
    """The composition root with everything in memory, shared by the commands of one test."""

    def __init__(
        self, line: CommandLine, *, environ: Mapping[str, str], engine: str | None
    ) -> None:
        super().__init__(environ=environ, cwd=line.cwd, hypervisor=engine)
        self._line = line

    def at(self, directory: Path) -> SyntheticRuntime:
        twin = SyntheticRuntime(self._line, environ=self.environ, engine=self._chosen)
        twin.cwd = directory
        return twin

    @cached_property
    def clock(self) -> Clock:
        return self._line.clock

    @cached_property
    def git(self) -> Git:
        return self._line.git

    @cached_property
    def shell(self) -> Shell:
        return self._line.shell

    @cached_property
    def forwards(self) -> Forwards:
        return self._line.forwards

    @cached_property
    def proposer(self) -> Proposer:
        return Proposer(ports=self.ports, publishing=self._line.publishing, forge=self._line.forge)

    @cached_property
    def orchestrator(self) -> VmOrchestrator:
        if self._line.fail_with is not None:
            raise self._line.fail_with
        return super().orchestrator

    @cached_property
    def store(self) -> StateStore:
        return self._line.store

    @cached_property
    def hypervisor(self) -> Hypervisor:
        return self._line.engine

    @cached_property
    def images(self) -> Images:
        return self._line.engine

    @cached_property
    def checkpoints(self) -> Checkpoints:
        return self._line.engine

    @cached_property
    def egress_groups(self) -> Groups:
        return ScriptedGroups(self._line)

    @cached_property
    def gateway(self) -> Gateway:
        return StandingGateway()

    async def said(self, argv: Sequence[str]) -> str:
        return self._line.says(argv[0])

    async def load_settings(self, *, anew: bool = False) -> Settings:
        if self._line.fail_settings is not None:
            raise self._line.fail_settings
        return await super().load_settings(anew=anew)

    async def makima_daemon(self, settings: DaemonSettings) -> ScriptedDaemon:
        self._line.daemons.append(settings)
        return ScriptedDaemon(self._line.daemon)

    async def makima_tasks(self, database: Path) -> list[TaskRecord]:
        del database
        return self._line.tasks()

    async def engine_checks(self) -> list[Check]:
        return self._line.engine_parts

    @cached_property
    def credential_sources(self) -> Sequence[Source]:
        return [Told(finding) for finding in self._line.credential_findings]

    def unknown_to_the_proxy(self) -> Sequence[str]:
        return self._line.unknown_to_the_proxy

    async def proxy_status(self) -> ProxyStatus:
        if not self._line.proxy_runs:
            return ProxyStatus(running=False, endpoint=PROXY)
        return ProxyStatus(
            running=True,
            endpoint=PROXY,
            pid=77,
            version="0.1.0",
            upstream="https://api.example",
            since=self.clock.now(),
        )


@dataclass(frozen=True, slots=True)
class ScriptedDaemon:
    """A makima daemon that does what it is told."""

    do: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        await self.do()


async def nothing() -> None:
    """End at once."""


class ScriptedGroups(Groups):
    """Says what the line's ``groups`` say."""

    def __init__(self, line: CommandLine) -> None:
        super().__init__(environment={}, home=line.home)
        self._line = line

    async def hosts(self, group: str) -> tuple[str, ...]:
        return self._line.groups.get(group, ())


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command line did: exit status, both outputs, and what it became."""

    status: int
    out: str
    err: str
    became: tuple[str, ...] | None

    @property
    def envelope(self) -> dict[str, Any]:
        """The one envelope on standard output."""
        (line,) = self.out.splitlines()
        decoded: dict[str, Any] = json.loads(line)
        return decoded

    @property
    def data(self) -> Any:
        """The data of a command that succeeded."""
        assert self.envelope["ok"] is True, self.out
        return self.envelope["data"]

    @property
    def error(self) -> Any:
        """The error of a command that failed."""
        assert self.envelope["ok"] is False, self.out
        return self.envelope["error"]


class CommandLine:
    """A repository ``/src/box`` on the branch ``main``, and an engine with one image."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cwd = Path("/src/box")
        self.clock = FakeClock()
        self.git = MemoryGit(identity=Identity("Ada", "ada@example.org"))
        self.repository = self.git.add_repository(self.cwd)
        self.git.remote_urls[self.repository.git_dir] = "git@github.com:acme/box.git"
        self.publishing = MemoryPublishing()
        self.forge = MemoryForge()
        self.forwards = MemoryForwards()
        self.shell = ScriptedShell()
        self.store = MemoryStore(clock=self.clock)
        self.engine = Synthetic(file=None, clock=self.clock, guest=RehearsedGuest())
        self.columns = 80
        self.answer = ""
        self.fail_with: BaseException | None = None
        self.called: list[tuple[str, ...]] = []
        self.on_call: Callable[[Sequence[str]], int] = lambda _argv: 0
        self.stdin: int | None = None
        self.encoding = "utf-8"
        self.proxy_runs = True
        self.fail_settings: TachikomaError | None = None
        self.engine_parts: list[Check] = []
        self.missing: set[str] = set()
        self.unknown_to_the_proxy: list[str] = []
        self.groups: dict[str, tuple[str, ...]] = {}
        self.daemon: Callable[[], Awaitable[None]] = nothing
        self.daemons: list[DaemonSettings] = []
        self.tasks: Callable[[], list[TaskRecord]] = list
        self.credential_findings = [
            Finding("ANTHROPIC_API_KEY", Credential(Kind.API_KEY, SECRET, "ANTHROPIC_API_KEY"))
        ]

    def __call__(self, *argv: str, tty: bool = False, env: Mapping[str, str] | None = None) -> Ran:
        """Type ``tachikoma ARGV``; with ``tty`` all three streams are a terminal."""
        became: list[tuple[str, ...]] = []

        def become(argv: Sequence[str]) -> int:
            became.append(tuple(argv))
            return 0

        with Output(self.encoding) as out, Output(self.encoding) as err:
            terminal = replace(
                terminal_on(out, err),
                stdin=self.stdin,
                stdin_tty=tty,
                out_tty=tty,
                err_tty=tty,
                environ={"HOME": str(self.home), "TERM": "dumb", **(env or {})},
                columns=lambda: self.columns,
                monotonic=self.clock.monotonic,
                read_line=lambda: self.answer,
                become=become,
                call=self.call,
            )
            status = app.main(argv, terminal=terminal, make_runtime=self.runtime)
            return Ran(status, out.text(), err.text(), became[0] if became else None)

    def door(self, out: Output, err: Output, *, as_json: bool = False) -> Door:
        """Give what a command is handed, without a command."""
        terminal = replace(terminal_on(out, err), environ={"HOME": str(self.home)})
        return Door(
            runtime=self.runtime(terminal, None),
            screen=Screen(terminal, command="trial", as_json=as_json),
            terminal=terminal,
        )

    def runtime(self, terminal: Terminal, engine: str | None) -> Runtime:
        return SyntheticRuntime(self, environ=terminal.environ, engine=engine)

    def call(self, argv: Sequence[str]) -> int:
        self.called.append(tuple(argv))
        return self.on_call(argv)

    def says(self, program: str) -> str:
        if program in self.missing:
            raise process.missing_tool(program)
        return f"{program} version 9.1"


def terminal_on(out: Output, err: Output) -> Terminal:
    """Give a pipe on both outputs, an empty environment and a closed input."""
    return Terminal(
        stdin=None,
        out=out.stream,
        err=err.stream,
        stdin_tty=False,
        out_tty=False,
        err_tty=False,
        environ={},
        columns=lambda: 80,
        monotonic=FakeClock().monotonic,
        read_line=str,
        become=len,
    )


class Output:
    """One output as a file, so that it has a descriptor like the real one."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        self.stream = io.TextIOWrapper(
            io.FileIO(writing, "w"),
            encoding=encoding,
            errors="surrogateescape" if encoding == "utf-8" else "backslashreplace",
            write_through=True,
        )

    def text(self) -> str:
        self.stream.flush()
        told = b""
        try:
            while piece := os.read(self._reading, 1 << 16):
                told += piece
        except BlockingIOError:
            pass
        return told.decode("utf-8", "surrogateescape")

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        os.close(self._reading)
