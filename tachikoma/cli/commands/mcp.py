"""``tachikoma mcp``: serve an agent over standard input and output; set clients up for it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import click

from tachikoma.cli.door import Door, Terminated
from tachikoma.cli.terminal import Terminal
from tachikoma.cli.verb import VerbGroup
from tachikoma.host.process import redacted
from tachikoma.model.errors import UsageError

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
        os.dup2(wire, out)
        os.close(wire)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
