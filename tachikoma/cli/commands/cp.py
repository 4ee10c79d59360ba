"""``tachikoma cp SOURCE TARGET``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.completing import places
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.model.errors import UsageError
from tachikoma.runtime import Runtime
from tachikoma.ssh.copying import copy_in, copy_out
from tachikoma.ssh.landing import Copied
from tachikoma.vm.requests import ReachRequest, Target

_EXAMPLES = """\b
Examples:
  tachikoma cp notes.txt :/tmp/                  into the current branch's VM
  tachikoma cp feature/login:/var/log ./vm-log   out of another one
  tachikoma cp ./a:b :                           a file with a colon in its name
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One side: a path of this host, or of the VM ``name`` ("" is the current branch's)."""

    path: str
    name: str | None = None


@click.command("cp", cls=Verb, epilog=_EXAMPLES)
@click.argument("source", shell_complete=places)
@click.argument("target", shell_complete=places)
@click.pass_obj
def command(door: Door, *, source: str, target: str) -> int:
    """Copy a file or a directory into a running VM, or out of it.

    One side is NAME:PATH, where NAME is a branch or a VM (nothing: the current branch) and PATH
    starts from the worktree there. A target that is a directory gets a copy inside. Permissions
    and times stay exactly as they are, and symbolic links are copied as links.
    """
    here, there = place(source), place(target)
    if (here.name is None) == (there.name is None):
        raise UsageError(
            "one side is in a VM, the other on this host",
            hint="`tachikoma cp FILE NAME:PATH` or `tachikoma cp NAME:PATH FILE`",
        )
    copied = door.run(lambda runtime: _copy(door, runtime, here, there))
    for each in copied.skipped:
        door.screen.note(f"left out, neither file nor directory nor link: {each}")
    files, size = words.count(copied.files, "file"), words.size(copied.size)
    data: dict[str, object] = {
        "files": copied.files,
        "size_bytes": copied.size,
        "skipped": copied.skipped,
    }
    door.screen.give(data, [f"{files}, {size}"])
    return 0


async def _copy(door: Door, runtime: Runtime, here: Place, there: Place) -> Copied:
    name = there.name if there.name is not None else here.name
    request = ReachRequest(Target(cwd=runtime.cwd, name=name or None))
    reached = await runtime.orchestrator.reach(request, door.screen.report)
    shell, login, directory = runtime.shell, reached.login, str(reached.worktree)
    if there.name is not None:
        source = runtime.cwd / Path(here.path)
        return await copy_in(shell, login, source, there.path or ".", directory=directory)
    target = runtime.cwd / Path(there.path)
    return await copy_out(shell, login, here.path or ".", target, directory=directory)


def place(text: str) -> Place:
    """Understand one side. What begins with ``/``, ``.`` or ``~`` is a path of this host, and so
    is what has no colon.
    """
    name, colon, path = text.partition(":")
    if not colon or name.startswith(("/", ".", "~")):
        return Place(text)
    return Place(path, name)
