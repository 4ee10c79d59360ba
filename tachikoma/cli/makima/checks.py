"""What `makima doctor` looks at."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tachikoma.cli import checks, words
from tachikoma.cli.checks import Check, Verdict
from tachikoma.cli.makima.fleet import Fleet
from tachikoma.host import process
from tachikoma.makima.configuration import LoadedDaemon
from tachikoma.makima.probe import daemon_of
from tachikoma.makima.settings import DaemonSettings
from tachikoma.model.errors import ConfigError, TachikomaError
from tachikoma.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Scene:
    """What the looks look at; ``probe`` connects to a server, and raises if it is not there."""

    runtime: Runtime
    fleet: Fleet
    loaded: LoadedDaemon
    probe: Callable[[str], Awaitable[None]]

    @property
    def settings(self) -> DaemonSettings:
        """The daemon's settings."""
        return self.loaded.settings


Look = Callable[[Scene], Awaitable[list[Check]]]


async def look_all(scene: Scene) -> list[Check]:
    """Look at everything, whatever fails on the way."""
    found: list[Check] = []
    for name, look in _LOOKS:
        try:
            seen = await look(scene)
        except TachikomaError as error:
            seen = [Check(name, Verdict.FAIL, error.message, error.hint)]
        found += [replace(each, why=each.why or _WHY.get(each.name, "")) for each in seen]
    return found


async def _configuration(scene: Scene) -> list[Check]:
    loaded = scene.loaded
    if loaded.warnings:
        return [Check("configuration", Verdict.WARN, "; ".join(loaded.warnings))]
    home = scene.runtime.paths.home
    named = [words.home(file, home) if file.is_absolute() else str(file) for file in loaded.files]
    count = sum(source != "default" for source in loaded.sources.values())
    found = f"{words.count(count, 'key')} set" + (f", by {', '.join(named)}" if named else "")
    return [Check("configuration", Verdict.OK, found)]


async def _key(scene: Scene) -> list[Check]:
    if not scene.settings.server.api_key:
        hint = "set MAKIMA_API_KEY, or server.api_key in a file of mode 0600"
        return [Check("api key", Verdict.FAIL, "there is none", hint)]
    source = scene.loaded.sources["server.api_key"]
    return [Check("api key", Verdict.OK, f"from {_short(source, scene)}")]


def _short(source: str, scene: Scene) -> str:
    if not source.startswith("/"):
        return source
    return words.home(Path(source), scene.runtime.paths.home)


async def _server(scene: Scene) -> list[Check]:
    url = scene.settings.server.url
    if not url:
        hint = "set server.url, MAKIMA_DAEMON_SERVER_URL or --server-url"
        return [Check("server", Verdict.FAIL, "nobody says where it is", hint)]
    clock = scene.runtime.clock
    began = clock.monotonic()
    await scene.probe(url)
    return [Check("server", Verdict.OK, f"{url} answers in {clock.monotonic() - began:.2f} s")]


async def _database(scene: Scene) -> list[Check]:
    path = scene.settings.local_db.path
    shown = words.home(path, scene.runtime.paths.home)
    if not path.exists():
        place = checks.existing(path.parent)
        if os.access(place, os.W_OK | os.X_OK):
            return [Check("database", Verdict.OK, f"{shown}: the daemon makes it")]
        hint = "change its owner or mode, or set local_db.path"
        return [Check("database", Verdict.FAIL, f"{place} cannot be written", hint)]
    tasks = await scene.fleet.makima_tasks(path)
    pid = daemon_of(path)
    held = f", held by the daemon (process {pid})" if pid else ", no daemon runs"
    return [Check("database", Verdict.OK, f"{shown}: {words.count(len(tasks), 'task')}{held}")]


async def _directories(scene: Scene) -> list[Check]:
    settings = scene.settings
    return [
        _directory(name, path, scene.runtime.paths.home)
        for name, path in (
            ("worktrees", settings.worktree.base_dir),
            ("clones", settings.worktree.repos_dir),
            ("home", settings.repos.home_dir),
        )
    ]


def _directory(name: str, path: Path, home: Path) -> Check:
    shown, place = words.home(path, home), checks.existing(path)
    if path.exists() and not path.is_dir():
        return Check(name, Verdict.FAIL, f"{shown} is no directory", "move it away")
    if not os.access(place, os.W_OK | os.X_OK):
        hint = "change its owner or mode, or set another directory"
        return Check(name, Verdict.FAIL, f"{words.home(place, home)} cannot be written", hint)
    return Check(name, Verdict.OK, shown if path.exists() else f"{shown}: the daemon makes it")


async def _disk(scene: Scene) -> list[Check]:
    use = "each task has a worktree, and in a VM a disk of its own"
    return [checks.disk(scene.runtime, scene.settings.worktree.base_dir, use)]


async def _git(scene: Scene) -> list[Check]:
    return [await checks.git(scene.runtime)]


async def _isolation(scene: Scene) -> list[Check]:
    """Look at where agents will work, and at what that place takes."""
    wanted, runtime = scene.settings.process.isolation, scene.runtime
    if wanted == "worktree":
        found = 'worktree: agents work on this host with your rights; "vm" keeps them apart'
        return [Check("isolation", Verdict.OK, found), await _claude(scene)]
    try:
        await runtime.load_settings()
    except ConfigError as error:
        runtime.use_defaults()
        return [Check("isolation", Verdict.FAIL, error.message, error.hint)]
    parts = await checks.engine_parts(runtime)
    broken = [part for part in parts if part.verdict is Verdict.FAIL]
    if wanted == "vm" or not broken:
        engine = runtime.hypervisor.features.engine
        summary = Check(
            "isolation", Verdict.OK, f"{wanted}: each agent in a VM of its own ({engine})"
        )
        return [summary, *parts]
    found = f"auto: no VMs here ({broken[0].found}), so agents work on this host with your rights"
    return [Check("isolation", Verdict.WARN, found, broken[0].hint), await _claude(scene)]


async def _claude(scene: Scene) -> Check:
    program = scene.settings.process.claude_command
    if process.which(program) is None:
        hint = "install Claude Code, or set process.claude_command"
        return Check("claude", Verdict.FAIL, f"the program {program} is not installed", hint)
    return Check("claude", Verdict.OK, await scene.runtime.said([program, "--version"]))


_WHY = {
    "configuration": "says how the daemon works",
    "api key": "is what the server knows this daemon by",
    "server": "gives the daemon its tasks",
    "database": "keeps tasks and what they print over every crash",
    "worktrees": "is where tasks have their worktrees",
    "clones": "is where repositories are cached",
    "home": "is where auto_clone puts repositories",
    "disk": "holds what tasks write",
    "git": "makes clones and worktrees",
    "isolation": "says where agents work",
    "claude": "is the agent",
}
_LOOKS: tuple[tuple[str, Look], ...] = (
    ("configuration", _configuration),
    ("api key", _key),
    ("server", _server),
    ("database", _database),
    ("worktrees", _directories),
    ("disk", _disk),
    ("git", _git),
    ("isolation", _isolation),
)
