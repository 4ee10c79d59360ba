"""``tachikoma daemon install|uninstall``: the supervisor as a service of the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.host import process
from tachikoma.host.files import translated, write_atomically
from tachikoma.model.errors import HostError
from tachikoma.runtime import Runtime
from tachikoma.supervisor import services
from tachikoma.supervisor.services import Service

_DEADLINE_S = 90.0
"""Longer than a supervisor takes to end."""
_CREDENTIALS = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    *("ANTHROPIC_BASE_URL", "MAKIMA_API_KEY", "MAKIMA_DAEMON_SERVER_URL"),
)
_INSTALL_EXAMPLES = """\b
Examples:
  tachikoma daemon install
  tachikoma daemon install --dir ~/code --worker makima --no-enable
"""
_UNINSTALL_EXAMPLES = """\b
Examples:
  tachikoma daemon uninstall
"""


@dataclass(frozen=True, slots=True)
class Manager:
    """The service manager of this host: its file for us, and how it is told.

    ``renew`` has it take up a file that was changed: before ``enable`` where that would refuse what
    is loaded, after it elsewhere.
    """

    file: Path
    text: Callable[[Service], bytes]
    program: str
    enable: Sequence[Sequence[str]]
    disable: Sequence[Sequence[str]]
    renew: Sequence[Sequence[str]]
    reload: Sequence[Sequence[str]]


def manager_of(runtime: Runtime, platform: str) -> Manager:
    """Give systemd's user manager, or launchd on macOS."""
    home = runtime.paths.home
    if platform == "darwin":
        file, uid = services.agent_file(home), os.geteuid()
        return Manager(
            file, services.agent, "launchctl",
            services.load_argv(file, uid), services.unload_argv(uid), services.unload_argv(uid), (),
        )  # fmt: skip
    config = runtime.paths.config.parent
    return Manager(
        services.unit_file(home, config),
        lambda service: services.unit(service).encode("utf-8", "surrogateescape"),
        "systemctl",
        services.enable_argv(),
        services.disable_argv(),
        services.restart_argv(),
        services.enable_argv()[:1],
    )


def add_to(
    group: click.Group,
    options: Callable[[Callable[..., Any]], Callable[..., Any]],
    argv: Callable[[Door, dict[str, Any]], tuple[str, ...]],
) -> None:
    """Add the commands to ``group``; ``options`` are those of `start`, ``argv`` makes its line."""

    @group.command("install", cls=Verb, epilog=_INSTALL_EXAMPLES)
    @options
    @click.option("--no-enable", is_flag=True, help="Only write the file.")
    @click.pass_obj
    def install(door: Door, /, *, no_enable: bool, **told: Any) -> int:  # noqa: ANN401 - click's
        """Have the supervisor run from login on.

        This writes a systemd user unit, on macOS a launchd agent, and starts it. Doing it again
        writes it anew. It takes over PATH and the XDG variables of this shell, and no credential:
        what stands in ~/.config/tachikoma/daemon.env (NAME=value lines) is added to its environment
        at each start.
        """
        return _install(door, _service(door.runtime, argv(door, told)), enable=not no_enable)

    @group.command("uninstall", cls=Verb, epilog=_UNINSTALL_EXAMPLES)
    @click.pass_obj
    def uninstall(door: Door) -> int:
        """End the service and remove its file. Background sessions go on."""
        return _uninstall(door)


def _service(runtime: Runtime, argv: tuple[str, ...]) -> Service:
    directory = next(word for word in argv if word.startswith("--dir=")).partition("=")[2]
    return Service(
        argv=argv,
        directory=Path(directory),
        environ=services.kept(runtime.environ),
        secrets=runtime.paths.config / "daemon.env",
        log=runtime.paths.logs / "daemon-start.log",
    )


def _install(door: Door, service: Service, *, enable: bool) -> int:
    manager = manager_of(door.runtime, sys.platform)
    text = manager.text(service)
    with translated(manager.file):
        there = manager.file.is_file()
        changed = not there or manager.file.read_bytes() != text
        manager.file.parent.mkdir(parents=True, exist_ok=True)
    if changed:
        write_atomically(manager.file, text, mode=0o644)
    enabled, why = _enabled(door, manager, renew=there and changed) if enable else (False, "")
    shown = words.home(manager.file, door.runtime.paths.home)
    next_step = services.shown(manager.enable)
    said = [f"{shown} is written" if changed else f"{shown} was there already"]
    if enabled:
        said.append("it runs, and starts with each login")
        said += _linger(manager)
    else:
        said += [f"{manager.program} cannot be used here: {why}"] if why else []
        said.append(f"this starts it: {next_step}")
    door.screen.give(
        {
            "file": str(manager.file),
            "changed": changed,
            "enabled": enabled,
            "next": None if enabled else next_step,
        },
        [words.clean(line) for line in said],
    )
    _tell_of_variables(door, service)
    return 0


def _enabled(door: Door, manager: Manager, *, renew: bool) -> tuple[bool, str]:
    """Have the service run; gives whether it does, and else why not."""
    first = manager.program == "launchctl"
    if renew and first:
        _told(door, manager.renew)
    done = _told(door, manager.enable)
    return _told(door, manager.renew) if renew and not first and done[0] else done


def _uninstall(door: Door) -> int:
    manager = manager_of(door.runtime, sys.platform)
    there = manager.file.is_file()
    if there:
        _told(door, manager.disable)
        with translated(manager.file):
            manager.file.unlink(missing_ok=True)
        _told(door, manager.reload)
    shown = words.home(manager.file, door.runtime.paths.home)
    said = f"{shown} is removed" if there else f"there was no {shown}"
    door.screen.give({"file": str(manager.file), "was_there": there}, [words.clean(said)])
    return 0


def _told(door: Door, commands: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Tell the service manager; gives whether it did all of it, and else why not."""

    async def work(_: Runtime) -> tuple[bool, str]:
        for argv in commands:
            try:
                await process.run(argv, deadline_s=_DEADLINE_S, env=_session(door.runtime))
            except HostError as error:
                last = error.details.splitlines()[-1:] if error.details else []
                return False, last[0] if last else error.message
        return True, ""

    return door.run(work, settled=False)


def _session(runtime: Runtime) -> dict[str, str]:
    """Give the variable by which the user's service manager is found."""
    name = "DBUS_SESSION_BUS_ADDRESS"
    return {name: runtime.environ[name]} if runtime.environ.get(name) else {}


def _linger(manager: Manager) -> list[str]:
    if manager.program != "systemctl":
        return []
    return ["`loginctl enable-linger` lets it go on when you log out"]


def _tell_of_variables(door: Door, service: Service) -> None:
    """Name the variables of this shell that the service would need and does not get."""
    names = [name for name in _CREDENTIALS if door.runtime.environ.get(name)]
    if names:
        place = words.home(service.secrets, door.runtime.paths.home)
        door.screen.note(
            f"the service does not get this shell's {', '.join(names)}; it reads {place}, mode "
            "0600, with NAME=value lines"
        )
