"""A linked worktree that a guest may have written to, with its index and what is under way in it.

The guest can write everything: ``.git`` in the worktree, and in the worktree's own directory
within the repository ``HEAD``, ``index`` and ``MERGE_HEAD``. Git would write its index through a
symbolic link there, over a file of the host. So git works on a copy of the index, in a private
git directory, and what is to be seen by the guest is put back without following links.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.git import invocation, refs, worktrees
from tachikoma.git.port import Commit, Identity, Repository
from tachikoma.git.private import PrivateGitDir, private_git_dir
from tachikoma.host import files, inside, process
from tachikoma.model.errors import GitError, WorktreeError

_STAGE_S = 600.0
_LARGEST_INDEX = 1 << 30
_LARGEST_STATE = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
Admin = tuple[()] | tuple[str, str]
"""A worktree's own directory within the common one, as its parts; () is the main worktree's."""
_OBJECTS = ("info/alternates", "info/http-alternates")


@dataclass(frozen=True, slots=True)
class Head:
    """Where HEAD is: ``branch`` "" if detached, ``commit`` "" if that branch has none."""

    branch: str
    commit: str


class Linked:
    """One worktree, held open by ``opened``."""

    def __init__(
        self, *, repository: Path, worktree: Path, admin: Admin, private: PrivateGitDir
    ) -> None:
        self.repository = repository
        self.path = worktree
        self._admin = admin
        self._private = private
        self._index = private.path / "index"
        self._objects: dict[str, str] = {}

    def keep_new_objects_in(self, objects: Path) -> None:
        """Have git write objects there, where those of the repository must be seen too."""
        self._objects = {"GIT_OBJECT_DIRECTORY": str(objects)}

    def name(self, head: str, branches: Mapping[str, str]) -> None:
        """Give commits names for as long as this is open: HEAD, and branches."""
        lines = [f"{commit} refs/heads/{branch}\n" for branch, commit in sorted(branches.items())]
        (self._private.path / "HEAD").write_text(f"{head}\n", encoding="ascii")
        (self._private.path / "packed-refs").write_text("".join(lines), encoding="utf-8")

    async def git(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        accepted: Sequence[int] = (0,),
        identity: Identity | None = None,
    ) -> process.Completed:
        """Run git on the worktree and the copy of its index; HEAD and refs are none of its own."""
        return await invocation.git(
            [*self._private.options, *arguments],
            cwd=self.path,
            git_dir=self._private.path,
            env={
                **self._private.environment,
                "GIT_INDEX_FILE": str(self._index),
                "GIT_LITERAL_PATHSPECS": "1",
                **self._objects,
                **named(identity),
            },
            stdin=stdin,
            accepted=accepted,
            deadline_s=_STAGE_S,
        )

    def read(self, name: str) -> str:
        """Give a file of the worktree's directory in the repository, "" if there is none."""
        raw = inside.read(self.repository, (*self._admin, name), most=_LARGEST_STATE)
        return (raw or b"").decode("utf-8", "replace")

    def write(self, name: str, text: str) -> None:
        """Write such a file."""
        inside.write(self.repository, (*self._admin, name), text.encode("utf-8", "replace"))

    def create(self, name: str, text: str) -> None:
        """Write such a file if there is none yet.

        Raises:
            HostError: there is one.
        """
        inside.create(self.repository, (*self._admin, name), text.encode())

    def remove(self, *names: str) -> None:
        """Remove such files. Does nothing if absent."""
        for name in names:
            inside.remove(self.repository, (*self._admin, name))

    def has(self, name: str) -> bool:
        """Tell whether there is such a file or directory."""
        with contextlib.suppress(OSError):
            return inside.kind(self.repository, (*self._admin, name)) != 0
        return False

    def put_back_index(self) -> None:
        """Let the worktree have the index as git left it here."""
        with files.translated(self._index):
            inside.write(
                self.repository,
                (*self._admin, "index"),
                self._index.read_bytes(),
                modified_ns=self._index.stat().st_mtime_ns,
            )

    def remove_file(self, path: str) -> None:
        """Remove a file of the worktree. Does nothing if it is not there."""
        inside.remove(self.path, path.split("/"))

    async def head(self) -> Head:
        """Say where HEAD is."""
        said = self.read("HEAD").strip()
        if said.startswith("ref: refs/heads/"):
            ref = said.removeprefix("ref: ")
            branch = ref.removeprefix("refs/heads/")
            return Head(branch, await refs.commit_of(self.repository, ref))
        commit = said if _COMMIT.fullmatch(said) else ""
        return Head("", await refs.commit_of(self.repository, commit) if commit else "")

    def point_head_at(self, branch: str) -> None:
        """Let HEAD be at a branch, whose files must be those of the worktree."""
        self.write("HEAD", f"ref: refs/heads/{branch}\n")

    def merging(self) -> tuple[str, ...]:
        """Give the commits that a merge under way brings in."""
        return tuple(line for line in self.read("MERGE_HEAD").split() if _COMMIT.fullmatch(line))

    async def unmerged(self) -> tuple[str, ...]:
        """Give the files in conflict."""
        done = await self.git(["ls-files", "-z", "--unmerged"])
        return tuple(sorted({item.partition("\t")[2] for item in _items(done)}))

    async def tracked_changes(self, commit: str) -> tuple[str, ...]:
        """Give the tracked files that are not as in ``commit``, in the index or the worktree."""
        staged = await self.git(["diff-index", "--cached", "--name-only", "-z", commit])
        others = await self.git(["ls-files", "-z", "--modified", "--deleted"])
        return tuple(sorted({*_items(staged), *_items(others)}))

    async def stage_everything(self) -> str:
        """Stage all that is not ignored, in the copy of the index, and give the tree.

        A repository within that is no submodule is somebody's clone and stays out; conflicts
        become what the files say, with their markers.
        """
        listed = await self.git(
            ["ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard"]
        )
        paths = {path for path in _items(listed) if not path.endswith("/")}
        paths |= set(await self.unmerged())
        if paths:
            await self.git(
                ["update-index", "--add", "--remove", "--replace", "-z", "--stdin"],
                stdin=_nul(sorted(paths)),
            )
        return (await self.git(["write-tree"])).text

    async def clones_within(self) -> tuple[str, ...]:
        """Give the repositories below the worktree that belong to nobody's commit."""
        listed = await self.git(["ls-files", "-z", "--others"])
        return tuple(path for path in _items(listed) if path.endswith("/"))

    async def tree_of(self, commit: str) -> str:
        """Give the tree of a commit."""
        return (await self.git(["rev-parse", f"{commit}^{{tree}}"])).text

    async def commit(
        self, tree: str, parents: Sequence[str], message: Commit, identity: Identity
    ) -> str:
        """Make a commit that no ref points to yet, and give its id."""
        arguments = commit_arguments(tree, parents, message)
        done = await self.git(arguments, identity=identity)
        return done.text

    async def fill(self, tree: str) -> None:
        """Write the files of ``tree``, over whatever is there, and have the index say so."""
        await self.git(["read-tree", "--reset", "-u", "--no-recurse-submodules", tree])

    async def show_uncommitted(self, commit: str) -> None:
        """Have the index be that of ``commit`` again, so that other files count as changed."""
        await self.git(["read-tree", commit])
        await self.git(["update-index", "-q", "--refresh"], accepted=(0, 1))
        self.put_back_index()


@contextlib.asynccontextmanager
async def opened(repository: Path, worktree: Path) -> AsyncIterator[Linked]:
    """Hold ``worktree`` of the bare ``repository`` open.

    Raises:
        WorktreeError: it is no worktree of it (any more).
        GitError: its repository gives out other repositories' objects for its own.
    """
    admin = admin_of(repository, worktree)
    if admin is None:
        raise WorktreeError(
            f"{worktree} is no worktree of {repository} any more",
            hint="`git worktree repair` mends one that was moved",
        )
    check_objects(repository)
    async with opened_at(repository, worktree, admin) as held:
        yield held


@contextlib.asynccontextmanager
async def opened_at(repository: Path, worktree: Path, admin: Admin) -> AsyncIterator[Linked]:
    """Hold a worktree open whose own directory is at ``admin`` below the common ``repository``."""
    place = repository.joinpath(*admin)
    async with private_git_dir(repository, place, worktree) as private:
        # A copy is as old as what it is of: git looks closer at files that may have changed in the
        # second in which the index was written, and only at those.
        when = inside.modified_ns(repository, (*admin, "index"))
        index = inside.read(repository, (*admin, "index"), most=_LARGEST_INDEX)
        if index is not None:
            (private.path / "index").write_bytes(index)
            os.utime(private.path / "index", ns=(when, when))
        yield Linked(repository=repository, worktree=worktree, admin=admin, private=private)


def admin_of(repository: Path, worktree: Path) -> Admin | None:
    """Give the directory of ``worktree`` within ``repository``; None if there is none.

    What ``.git`` in the worktree says counts only if it leads there; an agent may have removed it,
    or made a repository of its own in its place. Then it is the directory of the same name, where
    git keeps a worktree's unless another one of that name is listed.
    """
    if not worktree.is_dir():
        return None
    said = worktrees.git_dir_of(worktree)
    names = [worktree.name]
    if said is not None and worktrees.is_genuine(Repository("", repository, None), worktree):
        names.insert(0, said.name)
    for name in names:
        with contextlib.suppress(OSError), inside.directory(repository, ("worktrees", name)):
            return ("worktrees", name)
    return None


def check_objects(repository: Path) -> None:
    """Raise GitError if ``repository`` would have git read the objects of another one.

    An agent that knows a commit's id could read another repository of the host that way.
    """
    objects = repository / "objects"
    named = [name for name in _OBJECTS if (objects / name).exists()]
    places = [objects, *(objects.iterdir() if objects.is_dir() else ())]
    named += [place.name for place in places if place.is_symlink()]
    if named:
        raise GitError(
            f"{repository} refers to objects of another repository ({', '.join(sorted(named))})",
            hint=f"nothing of tachikoma's does that: look at {objects}, and remove what does it",
        )


def commit_arguments(tree: str, parents: Sequence[str], message: Commit) -> list[str]:
    """Give the arguments that make a commit; what no message can hold is replaced (pure)."""
    texts = [
        text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
        for text in (message.subject, message.body)
    ]
    on = [part for parent in parents for part in ("-p", parent)]
    return ["commit-tree", tree, *on, *(part for text in texts if text for part in ("-m", text))]


def _items(done: process.Completed) -> list[str]:
    return [item for item in done.stdout.decode("utf-8", "surrogateescape").split("\0") if item]


def _nul(paths: Sequence[str]) -> bytes:
    return "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")


def named(identity: Identity | None) -> dict[str, str]:
    """Give the environment in which git commits as somebody (pure)."""
    if identity is None:
        return {}
    return {
        "GIT_AUTHOR_NAME": identity.name,
        "GIT_AUTHOR_EMAIL": identity.email,
        "GIT_COMMITTER_NAME": identity.name,
        "GIT_COMMITTER_EMAIL": identity.email,
    }
