"""``tachikoma cd [NAME]``."""

from __future__ import annotations

from pathlib import Path

import click

from tachikoma.cli.completing import branches
from tachikoma.cli.door import Door
from tachikoma.cli.lookup import record_of, repository_here
from tachikoma.cli.verb import Verb
from tachikoma.model.errors import VmNotFoundError

_EXAMPLES = """\b
Examples:
  cd "$(tachikoma cd feature/login)"
"""


@click.command("cd", cls=Verb, epilog=_EXAMPLES)
@click.argument("name", required=False, shell_complete=branches)
@click.pass_obj
def command(door: Door, *, name: str | None) -> int:
    """Print the path of the worktree of NAME, a branch or a VM (default: the current branch).

    A command cannot change the directory of the shell that calls it; the shell itself can.
    """
    branch, worktree = door.run(lambda _: _find(door, name), settled=False)
    door.screen.give({"branch": branch, "worktree": str(worktree)}, [str(worktree)])
    return 0


async def _find(door: Door, name: str | None) -> tuple[str, Path]:
    """Look among the records, then among the worktrees: a branch may have no VM yet."""
    if (record := await record_of(door, name)) is not None:
        return record.branch, record.worktree
    here = await repository_here(door)
    branch = name or await door.runtime.git.current_branch(door.runtime.cwd)
    worktree = await door.runtime.git.worktree_of(here, branch) if here is not None else None
    if worktree is None:
        raise VmNotFoundError(
            f"{branch!r} is neither a VM nor a branch that is checked out here",
            hint=f"`tachikoma spawn {branch}` makes its worktree and its VM",
        )
    return branch, worktree.path
