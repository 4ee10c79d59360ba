"""Where the demo plays: a scratch repository, and a home of its own unless it goes online.

Everything is below one directory, so that whatever a killed demo left is found and removed by
the next one.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.host.paths import Paths, paths_from, private_dir
from tachikoma.model.errors import HostError
from tachikoma.model.events import Notice, Report
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import DestroyRequest, SurveyRequest, Target

BRANCH = "demo"
_GIT_DEADLINE_S = 30.0
_NOTES = "# Notes\n\nThis file is changed by a coding agent.\n"
_KEPT = ("PATH", "TERM", "TMPDIR", "XDG_RUNTIME_DIR", "HTTPS_PROXY", "https_proxy")
_PLAIN_GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
"""The scratch repository is the same whatever the user's git is told (signing, templates)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's directory and the user's environment."""

    root: Path
    environ: Mapping[str, str]

    @property
    def repository(self) -> Path:
        """The scratch repository."""
        return self.root / "scratch"

    @property
    def home(self) -> Path:
        """The home of an offline demo."""
        return self.root / "home"

    def offline(self, api: Mapping[str, str]) -> Runtime:
        """Join the real parts in a home of its own, where the only credential is in ``api``."""
        kept = {key: self.environ[key] for key in _KEPT if key in self.environ}
        homes = {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(paths_from(self.environ).cache.parent),
            # In the keychain, which is the same for every home, it keeps sign-ins apart.
            "CLAUDE_CONFIG_DIR": str(self.home / "claude"),
        }
        return Runtime(environ=kept | homes | dict(api), cwd=self.repository)

    def online(self) -> Runtime:
        """Join the real parts in the user's own home, with the user's own credential."""
        return Runtime(environ=self.environ, cwd=self.repository)


@asynccontextmanager
async def held(environ: Mapping[str, str], report: Report) -> AsyncIterator[Stage]:
    """Have the demo's directory to oneself, empty at the beginning.

    Raises:
        HostError: another demo of this user is under way.
    """
    cache = private_dir(paths_from(environ).cache)
    stage = Stage(cache / "demo", environ)
    try:
        with files.locked(cache / "demo.lock", deadline_s=0.0):
            if stage.root.exists():
                report(Notice("a demo was broken off: removing what it left"))
                await strike(stage, report)
            private_dir(stage.root)
            yield stage
    except TimeoutError as error:
        raise HostError(
            "another demo of this user is under way", hint="wait for its end, then run it again"
        ) from error


async def furnish(stage: Stage, paths: Paths) -> None:
    """Make the scratch repository, and a home that shares nothing but the images."""
    repository = private_dir(stage.repository)
    (repository / "NOTES.md").write_text(_NOTES, encoding="utf-8")
    for argv in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "tachikoma demo"),
        ("config", "user.email", "demo@tachikoma.invalid"),
        ("add", "NOTES.md"),
        ("commit", "--quiet", "--message=First commit"),
    ):
        await git(repository, *argv)
    data, config = stage.home / "data" / "tachikoma", stage.home / "config" / "tachikoma"
    images = (paths.data / "images").resolve()
    for directory in (stage.home, data, config, images):
        private_dir(directory)
    (data / "images").symlink_to(images)
    text = f"vm_cpus = 2\nvm_memory = 2048\ncredential_proxy_port = {_free_port()}\n"
    files.write_atomically(config / "config.toml", text.encode())


async def strike(stage: Stage, report: Report) -> None:
    """Remove what a demo made: its VMs, its proxy, its files. Safe to repeat."""
    runtimes = [stage.online()]
    if (stage.home / "config").is_dir():
        runtimes.append(stage.offline({}))
    for runtime in runtimes:
        await runtime.load_settings()
        for vm in (await runtime.orchestrator.survey(SurveyRequest(), report)).vms:
            if vm.repository is not None and vm.repository.is_relative_to(stage.root):
                request = DestroyRequest(Target(stage.root, vm.name), force=True)
                await runtime.orchestrator.destroy(request, report)
    if len(runtimes) > 1:
        await runtimes[1].proxy_control.stop()
    shutil.rmtree(stage.root, ignore_errors=True)


async def git(directory: Path, *argv: str) -> str:
    """Run the host's git in a directory of the demo and give what it says."""
    safe = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
    done = await process.run(
        ["git", *safe, *argv], cwd=directory, env=_PLAIN_GIT, deadline_s=_GIT_DEADLINE_S
    )
    return done.text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
