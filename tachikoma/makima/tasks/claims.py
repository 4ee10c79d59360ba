"""Which task has which name: kept beside the worktrees, where no guest reaches.

A claim is written before anything is made, with what it is made from, so that a daemon that was
killed at any point goes on with the same name, repository and commit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tachikoma.host import files
from tachikoma.makima.record import Workspace
from tachikoma.model.errors_fleet import WorkspaceError

CLAIMS = ".claims"
"""Their directory below ``base_dir``."""
_LENGTHS = (8, 12, 16, 20, 32)


@dataclass(frozen=True, slots=True)
class Claim:
    """``name`` is the task's short id. ``workspace`` is None until it is known what it starts
    from; ``overlay`` a tree of uncommitted files to begin with, "" for none; ``ready`` tells that
    the worktree is whole.
    """

    task: UUID
    name: str
    workspace: Workspace | None = None
    overlay: str = ""
    ready: bool = False


class Claims:
    """The claims below ``base_dir``; to be used by one daemon at a time."""

    def __init__(self, base_dir: Path) -> None:
        self._directory = base_dir / CLAIMS

    def claim(self, task: UUID, *, longer_than: str = "") -> Claim:
        """Give the task's claim: the one it has, or a new one of a name nobody has."""
        for length in (each for each in _LENGTHS if each > len(longer_than)):
            name = task.hex[:length]
            found = self.find(name)
            if found is None:
                found = Claim(task, name)
                self.write(found)
            if found.task == task:
                return found
        raise WorkspaceError(
            f"all names for the task {task} are taken",
            hint=f"see {self._directory}",
        )

    def find(self, name: str) -> Claim | None:
        """Give the claim on ``name``, None if there is none."""
        try:
            return decode_claim((self._directory / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None

    def write(self, claim: Claim) -> Claim:
        """Keep a claim as it is now."""
        with files.translated(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
        files.write_atomically(self._directory / f"{claim.name}.json", encode_claim(claim))
        return claim

    def of_worktree(self, worktree: Path) -> Claim | None:
        """Give the claim on the worktree at that path, None if there is none."""
        return self.find(worktree.name.removeprefix("task-"))


def encode_claim(claim: Claim) -> bytes:
    """Write a claim as JSON (pure)."""
    where = claim.workspace
    return json.dumps(
        {
            "task": str(claim.task),
            "name": claim.name,
            "workspace": where
            and {
                "repository": str(where.repository),
                "worktree": str(where.worktree),
                "branch": where.branch,
                "base": where.base,
            },
            "overlay": claim.overlay,
            "ready": claim.ready,
        },
        indent=2,
    ).encode()


def decode_claim(raw: bytes) -> Claim:
    """Read a claim (pure).

    Raises:
        WorkspaceError: it is none.
    """
    try:
        said = json.loads(raw)
        where = said["workspace"]
        return Claim(
            task=UUID(said["task"]),
            name=said["name"],
            workspace=where
            and Workspace(
                repository=Path(where["repository"]),
                worktree=Path(where["worktree"]),
                branch=where["branch"],
                base=where["base"],
            ),
            overlay=said["overlay"],
            ready=said["ready"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkspaceError(
            "what is kept of a task's worktree cannot be read",
            hint=f"look into {CLAIMS} below worktree.base_dir, and remove the damaged file",
        ) from error
