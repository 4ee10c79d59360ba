"""``tachikoma makima daemon``, also called ``makima-daemon``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from tachikoma.cli.door import Door
from tachikoma.cli.makima.ending import quiet_end
from tachikoma.cli.makima.fleet import fleet
from tachikoma.cli.makima.loading import config_option, load
from tachikoma.cli.verb import Verb
from tachikoma.fleet import vms_work
from tachikoma.host import process
from tachikoma.makima.configuration import LoadedDaemon, check_complete
from tachikoma.makima.keys import BY_NAME
from tachikoma.makima.log_output import logging_to
from tachikoma.makima.settings import DaemonSettings
from tachikoma.makima.variables import Given
from tachikoma.model.errors import ConfigError, TachikomaError
from tachikoma.model.errors_fleet import AgentMissingError, MakimaConfigError
from tachikoma.model.version import VERSION
from tachikoma.runtime import Runtime

_log = logging.getLogger("tachikoma.makima.daemon")
_OPTIONS = {
    "server_url": ("server.url", "--server-url"),
    "api_key": ("server.api_key", "--api-key"),
    "max_tasks": ("process.max_concurrent_tasks", "--max-tasks"),
    "log_level": ("logging.level", "--log-level"),
    "repos_dir": ("worktree.repos_dir", "--repos-dir"),
    "worktrees_dir": ("worktree.base_dir", "--worktrees-dir"),
}
_EXAMPLES = """\b
Examples:
  MAKIMA_API_KEY=your-api-key makima-daemon --server-url wss://makima.example.com
  makima-daemon --config ~/fleet.toml --log-level debug
"""


class DaemonVerb(Verb):
    """A command that is a program of its own, too."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Give both its names."""
        formatter.write_usage(ctx.command_path, "[OPTIONS]")
        formatter.write_usage("makima-daemon", "[OPTIONS]", prefix="   or: ")


@click.command("daemon", cls=DaemonVerb, epilog=_EXAMPLES)
@config_option
@click.option("-s", "--server-url", metavar="URL", help="WebSocket URL of the makima server.")
@click.option(
    "-k",
    "--api-key",
    metavar="KEY",
    help="API key for authentication. Others here can see it (ps); better set MAKIMA_API_KEY.",
)
@click.option("-m", "--max-tasks", metavar="N", help="How many tasks run at a time.")
@click.option(
    "-l",
    "--log-level",
    metavar="LEVEL",
    help="How much is logged: trace, debug, info, warn, error.",
)
@click.option("--repos-dir", metavar="DIR", help="Directory for cloned repositories.")
@click.option("--worktrees-dir", metavar="DIR", help="Directory for worktrees.")
@click.version_option(
    VERSION, "-V", "--version", prog_name="makima-daemon", message="%(prog)s %(version)s"
)
@click.pass_obj
def command(door: Door, /, *, config: Path | None, **options: str | None) -> int:
    """Connect to the makima server and run its tasks by Claude Code, until SIGTERM or Ctrl-C.
    Agents at work then go on, and the next daemon takes them up again.

    Exit status 78 means that trying again is of no use: the configuration is wrong, the server
    refuses the key, or Claude Code is missing.
    """
    loaded = load(door, config, list(_given(options)))
    check_complete(loaded)
    with _log_of(door, loaded):
        try:
            with quiet_end():
                door.run(lambda runtime: _serve(door, runtime, loaded), settled=False)
        except TachikomaError as error:
            if loaded.settings.logging.format == "json":
                told = {"code": error.code, "hint": error.hint, "exit_status": error.exit_status}
                _log.error("%s", error.message, extra=told)
            raise
        _log.info("the daemon has stopped")
    if door.screen.as_json:
        door.screen.give({"stopped": True})
    return 0


def _given(options: Mapping[str, str | None]) -> Iterator[Given]:
    for option, text in options.items():
        if text is not None:
            key, source = _OPTIONS[option]
            yield Given(key, BY_NAME[key].read(text), source)


@contextlib.contextmanager
def _log_of(door: Door, loaded: LoadedDaemon) -> Iterator[None]:
    settings, terminal = loaded.settings, door.terminal
    secrets = [settings.server.api_key, *settings.process.env_vars.values()]
    with logging_to(
        terminal.err,
        settings.logging,
        colour=terminal.err_tty and terminal.colour,
        secrets=secrets,
    ):
        yield


async def _serve(door: Door, runtime: Runtime, loaded: LoadedDaemon) -> None:
    settings = loaded.settings
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    try:
        await runtime.load_settings()
    except ConfigError as error:
        raise MakimaConfigError(error.message, hint=error.hint) from error
    for warning in runtime.warnings:
        _log.warning("%s", warning)
    await _check_agent(runtime, settings)
    _log.info(
        "makima-daemon %s starts",
        VERSION,
        extra={
            "server": settings.server.url,
            "isolation": settings.process.isolation,
            "max_tasks": settings.process.max_concurrent_tasks,
            "worktrees": settings.worktree.base_dir,
            "repos": settings.worktree.repos_dir,
            "home": settings.repos.home_dir,
            "database": settings.local_db.path,
        },
    )
    daemon = await fleet(door).makima_daemon(settings)
    await daemon.run()


async def _check_agent(runtime: Runtime, settings: DaemonSettings) -> None:
    """Refuse to start where no agent could: on this host without Claude Code on it."""
    program, isolation = settings.process.claude_command, settings.process.isolation
    if isolation == "vm" or process.which(program) is not None:
        return
    if isolation == "auto" and await vms_work(runtime):
        return
    why = "" if isolation == "worktree" else ", and this host runs no VMs (`tachikoma doctor`)"
    raise AgentMissingError(
        f"the program {program} is not installed{why}",
        hint="install Claude Code, or say where it is: process.claude_command",
    )
