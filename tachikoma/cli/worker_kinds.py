"""Which workers `tachikoma daemon start` runs, and why (pure but for a look at files)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.model.errors import UsageError
from tachikoma.supervisor.workers import Options, Worker

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "makima": ("makima", "daemon"),
    "proxy": ("proxy", "start", "--wait"),
    "relay": ("makima", "relay"),
}
_URL = ("MAKIMA_DAEMON_SERVER_URL", "MAKIMA_DAEMON_SERVER__URL")
_KEY = ("MAKIMA_API_KEY", "MAKIMA_DAEMON_SERVER_APIKEY", "MAKIMA_DAEMON_SERVER__API_KEY")
_ASKED = "asked for by --worker"


@dataclass(frozen=True, slots=True)
class Site:
    """What the choice depends on: how this program is called, which of its commands there are,
    the environment, the home directory.
    """

    program: tuple[str, ...]
    exists: Callable[[Sequence[str]], bool]
    environ: Mapping[str, str]
    home: Path


@dataclass(frozen=True, slots=True)
class Chosen:
    """The workers that are run, and lines that say which are not, and why."""

    workers: tuple[Worker, ...]
    notes: tuple[str, ...]


def choose(site: Site, options: Options, asked: Sequence[str]) -> Chosen:
    """Choose the workers: those that were asked for, or else those that are configured.

    Raises:
        UsageError: there is no worker of that kind.
    """
    kinds = [kind for kind, words in COMMANDS.items() if site.exists(words)]
    for kind in asked:
        if kind not in kinds:
            raise UsageError(
                f"there is no worker {kind!r}", hint=f"there is {', '.join(kinds)}: --worker KIND"
            )
    workers, notes = [], []
    for kind in kinds:
        wanted, why = (kind in asked, _ASKED) if asked else _configured(kind, site, options)
        if wanted:
            workers.append(_worker(kind, site, options, why))
        elif not asked:
            notes.append(f"worker '{kind}' is not run: {why}")
    return Chosen(tuple(workers), tuple(notes))


def _configured(kind: str, site: Site, options: Options) -> tuple[bool, str]:
    match kind:
        case "proxy":
            return True, "VMs reach the API through it"
        case "makima":
            return _makima(site, options)
        case _:
            return False, f"start it with --worker {kind}"


def _makima(site: Site, options: Options) -> tuple[bool, str]:
    """Tell whether the makima daemon is configured: where one of its files or variables is."""
    for name in (*_URL, *_KEY):
        if site.environ.get(name):
            return True, f"{name} is set"
    for file in _files(site, options):
        if file.is_file():
            return True, f"{file} is there"
    return False, "neither MAKIMA_DAEMON_SERVER_URL nor a makima-daemon.toml"


def _files(site: Site, options: Options) -> list[Path]:
    files = [
        options.directory / "makima-daemon.toml",
        site.home / ".config" / "makima-daemon" / "config.toml",
    ]
    return [*files, Path("/etc/makima-daemon/config.toml")] if sys.platform == "linux" else files


def _worker(kind: str, site: Site, options: Options, why: str) -> Worker:
    argv = (*site.program, *COMMANDS[kind])
    if kind != "makima":
        return Worker(kind, argv, why, {})
    if options.capacity is not None:
        argv = (*argv, "--max-tasks", str(options.capacity))
    return Worker(kind, argv, why, _makima_environ(options))


def _makima_environ(options: Options) -> dict[str, str]:
    """Say the options in the makima daemon's own words, where somebody gave them.

    Its tasks have a worktree of their own in either spawn mode.
    """
    environ = {}
    if options.sandbox:
        environ["MAKIMA_DAEMON_PROCESS_ISOLATION"] = "vm"
    if options.permission_mode:
        asks = options.permission_mode != "bypassPermissions"
        environ["MAKIMA_DAEMON_PROCESS_ENABLEPERMISSIONS"] = "true" if asks else "false"
        if asks:
            mode = f"--permission-mode {options.permission_mode}"
            environ["MAKIMA_DAEMON_PROCESS_CLAUDEARGS"] = mode
    return environ
