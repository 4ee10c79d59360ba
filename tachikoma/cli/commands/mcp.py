"""``tachikoma mcp``: serve an agent over standard input and output; set clients up for it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door, Terminated
from tachikoma.cli.terminal import Terminal
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.host.process import redacted
from tachikoma.model.errors import UsageError

if TYPE_CHECKING:  # each is loaded where it is used
    from tachikoma.mcp.install import Change

_EXAMPLES = """\b
Examples:
  tachikoma mcp install                            for Claude Code, in all your projects
  tachikoma mcp install --client cursor --scope project
  tachikoma mcp --repo ~/src/app                   what such a client starts
"""


@click.group("mcp", cls=VerbGroup, epilog=_EXAMPLES, invoke_without_command=True)
@click.option(
    "--repo",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Serve the VMs of this repository only.",
)
@click.pass_context
def command(context: click.Context, *, repo: Path | None) -> int:
    """Serve an agent: the Model Context Protocol on standard input and output.

    An MCP client (Claude Code, Cursor, VS Code...) starts this itself. The agent can then spawn
    VMs, run commands in them, read and write files there, and throw them away.
    """
    if context.invoked_subcommand is not None:
        return 0
    door = context.find_object(Door)
    assert door is not None
    source = door.terminal.stdin
    if source is None:
        raise UsageError("there is no standard input to read from", hint="an MCP client gives one")
    if door.terminal.stdin_tty:
        door.screen.note("waiting for an MCP client on this terminal; Ctrl-D ends it")
        door.screen.note("`tachikoma mcp install` sets a client up to start this by itself")
    with _wire(door.terminal) as sink, contextlib.suppress(KeyboardInterrupt, Terminated):
        door.run(lambda _: _serve(door, repo, source, sink), settled=False)
    return 0


async def _serve(door: Door, repo: Path | None, source: int, sink: int) -> None:
    from tachikoma.mcp.server import Service  # brings the SDK

    runtime = door.runtime
    repository = None if repo is None else await runtime.git.repository(runtime.cwd / repo)
    await Service(runtime=runtime, repository=repository).serve(source, sink)


@contextlib.contextmanager
def _wire(terminal: Terminal) -> Iterator[int]:
    """Keep standard output for the protocol alone: what anything else writes there, and what is
    logged, goes to standard error, where clients collect it.
    """
    out, err = terminal.out.fileno(), terminal.err.fileno()
    terminal.out.flush()
    wire = os.dup(out)
    os.dup2(err, out)
    handler = logging.StreamHandler(terminal.err)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Redacting("%(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield wire
    finally:
        logging.getLogger().removeHandler(handler)
        terminal.out.flush()  # or it would come out on the wire after all
        os.dup2(wire, out)
        os.close(wire)


_CLIENTS = ("claude", "cursor", "vscode")
_SCOPES = ("user", "project")


def _about_a_client(function: Callable[..., int]) -> Callable[..., int]:
    for option in (
        click.option("--dry-run", is_flag=True, help="Only show what would be changed."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option(
            "--scope",
            type=click.Choice(_SCOPES),
            default="user",
            show_default=True,
            help="All your projects, or the file of the project in this directory.",
        ),
        click.option(
            "--client",
            type=click.Choice(_CLIENTS),
            default="claude",
            show_default=True,
            help="Claude Code, Cursor or VS Code.",
        ),
    ):
        function = option(function)
    return function


_INSTALL_EXAMPLES = """\b
Examples:
  tachikoma mcp install
  tachikoma mcp install --client cursor --dry-run
  tachikoma mcp install --client vscode --scope project
"""
_UNINSTALL_EXAMPLES = """\b
Examples:
  tachikoma mcp uninstall
  tachikoma mcp uninstall --client cursor --yes
"""


@command.command("install", cls=Verb, epilog=_INSTALL_EXAMPLES)
@_about_a_client
@click.pass_obj
def install(door: Door, *, client: str, scope: str, yes: bool, dry_run: bool) -> int:
    """Set a client up to use this server. What will be changed is shown first.

    Claude Code is told by its own program, where that is installed. In a project's file the
    server is kept to that project's repository (--repo).
    """
    return _set_up(door, client, scope, yes=yes, dry_run=dry_run, wanted=True)


@command.command("uninstall", cls=Verb, epilog=_UNINSTALL_EXAMPLES)
@_about_a_client
@click.pass_obj
def uninstall(door: Door, *, client: str, scope: str, yes: bool, dry_run: bool) -> int:
    """Take back what `install` did, and nothing else."""
    return _set_up(door, client, scope, yes=yes, dry_run=dry_run, wanted=False)


def _set_up(door: Door, client: str, scope: str, *, yes: bool, dry_run: bool, wanted: bool) -> int:
    from tachikoma.mcp.install import apply

    made = door.run(lambda _: _change(door, client, scope, wanted=wanted), settled=False)
    data: encode.Data = {
        "client": client,
        "scope": scope,
        "file": str(made.file),
        "commands": [list(command) for command in made.commands],
        "changed": made.needed and not dry_run,
    }
    if not made.needed:
        said = "already knows" if wanted else "does not know"
        door.screen.give(data, [f"{made.client.label} {said} this server; nothing to do"])
        return 0
    shown = [words.clean(line) for line in made.told()]
    if dry_run:
        door.screen.give(data, shown)
        return 0
    if not yes:
        for line in shown:
            door.screen.note(line)
        if not door.confirm(f"Change {made.client.label}'s configuration so?"):
            door.screen.note("nothing was changed")
            return 1
    door.run(lambda runtime: apply(made, runtime.environ), settled=False)
    said = "can use" if wanted else "does not use"
    done = [f"{made.client.label} {said} this server from its next start on"]
    door.screen.give(data, [*shown, *done] if yes else done)
    return 0


async def _change(door: Door, client: str, scope: str, *, wanted: bool) -> Change:
    from tachikoma.mcp.clients import Client, Scope, entry, place
    from tachikoma.mcp.install import change, program

    runtime, which, where = door.runtime, Client(client), Scope(scope)
    project = None
    if where is Scope.PROJECT:
        project = (await runtime.git.repository(runtime.cwd)).root
    found = place(
        which,
        where,
        environ=runtime.environ,
        home=runtime.paths.home,
        project=project,
        macos=sys.platform == "darwin",
    )
    made = entry(which, where, program(sys.argv)) if wanted else None
    return change(which, where, made, found, directory=project or runtime.cwd)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
