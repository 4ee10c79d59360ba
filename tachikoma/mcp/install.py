"""Sets an MCP client up for our server, or takes that back: shown first, then done, all or nothing.

Claude Code changes its own file by its own program where that is installed, for it writes the
file while it runs. Anything else is one member of one JSON file.
"""

from __future__ import annotations

import difflib
import json
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.mcp import clients, json_text
from tachikoma.mcp.clients import Client, Place, Scope
from tachikoma.model.errors import ClientConfigError

_CLAUDE_DEADLINE_S = 60.0
_MODES = {Scope.USER: 0o600, Scope.PROJECT: 0o644}


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done: commands of the client's own program, or the new text of a file."""

    client: Client
    scope: Scope
    file: Path
    before: str = ""
    after: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    directory: Path | None = None

    @property
    def needed(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.commands) or self.before != self.after

    def told(self) -> list[str]:
        """Give what will be done, for a person: the commands, or the difference in the file."""
        if self.commands:
            return [f"$ {' '.join(command)}" for command in self.commands]
        name = str(self.file)
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), name, name, lineterm="", n=2
        )
        return list(lines)


def change(
    client: Client,
    scope: Scope,
    wanted: Mapping[str, object] | None,
    place: Place,
    *,
    directory: Path,
) -> Change:
    """Work out what brings the client to ``wanted`` (None: to know nothing of our server).

    Raises:
        ClientConfigError: its file is not what we can change safely.
    """
    before = _text(place.file)
    try:
        found = json_text.member_at(before, place.path)
        if wanted is None:
            after = json_text.without_member(before, place.path)
        elif clients.is_same(found, wanted):
            after = before
        else:
            after = json_text.with_member(before, place.path, dict(wanted))
    except (ValueError, RecursionError) as error:
        raise ClientConfigError(
            f"{place.file} is not plain JSON, so it is left as it is: {error}",
            hint=f"change it by hand: {_by_hand(place, wanted)}",
        ) from error
    if client is Client.CLAUDE and before != after and process.which("claude"):
        remove = [] if found is None else [tuple(clients.remove_argv(scope))]
        add = [] if wanted is None else [tuple(clients.add_argv(scope, wanted))]
        return Change(client, scope, place.file, commands=(*remove, *add), directory=directory)
    return Change(client, scope, place.file, before=before, after=after)


async def apply(made: Change, environ: Mapping[str, str]) -> None:
    """Do it.

    Raises:
        ClientConfigError: the file was changed by somebody else meanwhile.
        CommandFailed: the client's own program refused; details say why.
        HostError: the file cannot be written; it is as it was.
    """
    if not made.needed:
        return
    if made.commands:
        own = {key: environ[key] for key in ("CLAUDE_CONFIG_DIR",) if key in environ}
        for command in made.commands:
            await process.run(command, deadline_s=_CLAUDE_DEADLINE_S, env=own, cwd=made.directory)
        return
    if _text(made.file) != made.before:
        raise ClientConfigError(
            f"{made.file} has just been changed by somebody else", hint="run it again"
        )
    file = made.file.resolve()  # a link, as dotfiles often are, stays one
    with files.translated(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else _MODES[made.scope]
    files.write_atomically(file, made.after.encode("utf-8"), mode=mode)


def program(argv: Sequence[str]) -> list[str]:
    """Give how this very tachikoma is started, by a path that holds everywhere."""
    called = Path(argv[0])
    if called.name == clients.NAME and (found := process.which(argv[0])) is not None:
        return [str(Path(found).absolute())]
    return [sys.executable, "-m", "tachikoma"]


def _text(file: Path) -> str:
    with files.translated(file):
        try:
            return file.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise ClientConfigError(
                f"{file} is not UTF-8 text, so it is left as it is", hint="save it as UTF-8"
            ) from error


def _by_hand(place: Place, wanted: Mapping[str, object] | None) -> str:
    where = ".".join(place.path)
    return f"remove {where}" if wanted is None else f"set {where} to {json.dumps(wanted)}"
