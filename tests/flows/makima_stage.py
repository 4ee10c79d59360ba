"""A makima daemon in this process, its server and a stand-in for Claude Code: no VM."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tachikoma.fleet import FleetRuntime
from tachikoma.host.tasks import end, spawn
from tachikoma.makima.commands import Command, SpawnTask
from tachikoma.makima.settings import (
    DaemonSettings,
    LocalDbSettings,
    LoggingSettings,
    ProcessSettings,
    ReposSettings,
    ServerSettings,
    WorktreeSettings,
)
from tests.conftest import ROOT
from tests.doubles.makima_server import Frame, MakimaServer

ONE, TWO, THREE = (UUID(f"{n}50e8400-e29b-41d4-a716-446655440000") for n in (1, 2, 3))


@dataclass
class Stage:
    """A daemon's host and its server."""

    home: Path
    server: MakimaServer
    settings: DaemonSettings
    origin: Path

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[None]:
        environ = {"HOME": str(self.home), "PATH": f"{self.home}/bin:/usr/bin:/bin"}
        runtime = FleetRuntime(environ=environ, cwd=self.home)
        await runtime.load_settings()
        daemon = await runtime.makima_daemon(self.settings)
        running = spawn(daemon.run(), name="daemon")
        try:
            yield
        finally:
            await end(running)
            if not running.cancelled():
                running.result()

    async def order(self, task: UUID, plan: str, **fields: Any) -> None:
        given: dict[str, Any] = {"depth": 0, "is_orchestrator": False, "repo_url": str(self.origin)}
        daemon = await self.server.daemon()
        await daemon.send(SpawnTask(task_id=task, plan=plan, **{**given, **fields}))

    async def tell(self, command: Command) -> None:
        await (await self.server.daemon()).send(command)

    async def answer(self, kind: str, task: UUID) -> Frame:
        """Wait for an answer of that kind, and take it away."""

        def found() -> list[Frame]:
            return [f for f in self.of(task) if f["type"] == kind]

        await self.server.until(found)
        (one,) = found()
        self.server.frames.remove(one)
        return one

    async def completed(self, task: UUID) -> Frame:
        def found() -> list[Frame]:
            return [f for f in self.of(task) if f["type"] == "taskComplete"]

        await self.server.until(found)
        (one,) = found()
        return one

    def of(self, task: UUID) -> list[Frame]:
        return [frame for frame in self.server.frames if frame.get("taskId") == str(task)]

    def statuses(self, task: UUID) -> list[str]:
        return [f["newStatus"] for f in self.of(task) if f["type"] == "taskStatusChange"]

    def output(self, task: UUID) -> str:
        pieces = (f for f in self.of(task) if f["type"] == "taskOutput")
        return "".join(f["output"] + ("" if f["isPartial"] else "\n") for f in pieces)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=at or self.origin, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def clone(self) -> Path:
        (found,) = (each for each in (self.home / "repos").iterdir() if each.name.startswith("app"))
        return found


@asynccontextmanager
async def stage_at(own_home: Path) -> AsyncIterator[Stage]:
    """Set the stage in an empty home."""
    origin = own_home / "app"
    origin.mkdir()
    program = own_home / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {ROOT}/tests/doubles/claude_code.py\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (own_home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    async with MakimaServer() as server:
        settings = DaemonSettings(
            server=ServerSettings(url=server.url, api_key="k", reconnect_interval_secs=1),
            worktree=WorktreeSettings(base_dir=own_home / "w", repos_dir=own_home / "repos"),
            process=ProcessSettings(claude_command=str(program), isolation="worktree"),
            repos=ReposSettings(home_dir=own_home / "home"),
            local_db=LocalDbSettings(path=own_home / "daemon.db"),
            logging=LoggingSettings(),
        )
        stage = Stage(own_home, server, settings, origin)
        stage.git("init", "-q", "-b", "main")
        (origin / "README").write_text("Hello\n")
        stage.git("add", ".")
        stage.git("commit", "-q", "-m", "First")
        yield stage
