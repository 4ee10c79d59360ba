"""A merge in a worktree, as git itself leaves one that is not committed yet, without git's hooks,
drivers and configuration of the repository.

The result is computed on objects alone before anything changes. What is to be done is then
written down (`STARTING`), so that a process that comes after one that was killed finishes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tachikoma.git import refs
from tachikoma.git.linked import Linked
from tachikoma.git.port import Commit, Identity
from tachikoma.host import process
from tachikoma.model.errors import GitError

STARTING = "TACHIKOMA_MERGE"
"""The file that tells what a merge that has begun will look like; gone once it does."""
_STATE = ("MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "AUTO_MERGE")
_GONE = "0" * 40
_SOURCE = re.compile(r"Merge branch '([^'\n]+)'")
_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SIDES = {"ours": 2, "theirs": 3}

RunGit = Callable[..., Awaitable[process.Completed]]
"""Takes git's arguments, and the exit statuses that are `accepted`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One side of a file in conflict, as the index has it: 1 is the base, 2 ours, 3 theirs."""

    mode: str
    blob: str
    stage: int
    path: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The files as a merge leaves them, with markers where it could not, and their conflicts.

    One that is not ``clean`` has conflicts, though perhaps of directories only, which have no
    stages.
    """

    tree: str
    stages: tuple[Stage, ...]
    clean: bool = True

    @property
    def conflicts(self) -> tuple[str, ...]:
        """The files in conflict, sorted."""
        return tuple(sorted({stage.path for stage in self.stages}))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a merge stands: ``source`` is "" if none is in progress."""

    source: str
    conflicts: tuple[str, ...] = ()


async def merge_trees(run: RunGit, ours: str, theirs: str) -> Merged:
    """Merge two commits, on objects alone.

    Raises:
        GitError: they have no history in common, or git is older than 2.38.
    """
    arguments = ["merge-tree", "--write-tree", "-z", "--no-messages", ours, theirs]
    done = await run(arguments, accepted=(0, 1, 129))
    if done.status == 129:
        raise GitError(
            "this git is too old to merge here: 2.38 or later is needed",
            hint="`git --version` tells which one it is",
        )
    return decode_merged(done.stdout, clean=done.status == 0)


def decode_merged(raw: bytes, *, clean: bool) -> Merged:
    """Read ``git merge-tree --write-tree -z --no-messages`` (pure)."""
    tree, *listed = raw.decode("utf-8", "surrogateescape").split("\0")
    return Merged(tree.strip(), tuple(_stage(item) for item in listed if item), clean)


def decode_unmerged(raw: bytes) -> tuple[Stage, ...]:
    """Read ``git ls-files -z --unmerged`` (pure)."""
    listed = raw.decode("utf-8", "surrogateescape").split("\0")
    return tuple(_stage(item) for item in listed if item)


def _stage(item: str) -> Stage:
    about, _, path = item.partition("\t")
    mode, blob, stage = about.split(" ")
    return Stage(mode, blob, int(stage), path)


async def start(worktree: Linked, *, source: str, commit: str, into: str) -> Merged:
    """Merge ``commit`` of the branch ``source`` into the branch ``into``, and do not commit it.

    Raises:
        GitError: files that git does not know stand in the way, or there is no common history;
            nothing has changed.
    """
    head = (await worktree.head()).commit
    # The names show in the conflict markers.
    worktree.name(head, {source: commit})

    merged = await merge_trees(worktree.git, "HEAD", source)
    await worktree.git(["read-tree", "-m", "-u", "-n", head, merged.tree])
    worktree.write(STARTING, encode_plan(Plan(commit, source, into, merged)))
    await _carry_out(worktree, Plan(commit, source, into, merged))
    return merged


@dataclass(frozen=True, slots=True)
class Plan:
    """What a merge that has begun will look like."""

    commit: str
    source: str
    into: str
    merged: Merged


def encode_plan(plan: Plan) -> str:
    """Write a plan as JSON (pure)."""
    return json.dumps(
        {
            "commit": plan.commit,
            "source": plan.source,
            "into": plan.into,
            "tree": plan.merged.tree,
            "stages": [[x.mode, x.blob, x.stage, x.path] for x in plan.merged.stages],
        }
    )


def decode_plan(text: str) -> Plan | None:
    """Read a plan; None for what is none, as a guest can write it (pure)."""
    try:
        said = json.loads(text)
        stages = tuple(Stage(str(m), str(b), int(s), str(p)) for m, b, s, p in said["stages"])
        merged = Merged(said["tree"], stages, clean=not stages)
        plan = Plan(said["commit"], said["source"], said["into"], merged)
        ids = [plan.commit, plan.merged.tree, *(stage.blob for stage in stages)]
        return plan if all(_ID.fullmatch(each) for each in ids) else None
    except (ValueError, KeyError, TypeError):
        return None


async def _carry_out(worktree: Linked, plan: Plan) -> None:
    """Let the worktree look like it; repeatable from any point."""
    await worktree.fill(plan.merged.tree)
    if plan.merged.stages:
        await worktree.git(
            ["update-index", "-z", "--index-info"], stdin=index_info(plan.merged.stages)
        )
    worktree.put_back_index()
    worktree.write("MERGE_HEAD", f"{plan.commit}\n")
    worktree.write("MERGE_MODE", "no-ff")
    worktree.write("MERGE_MSG", message_for(plan))
    worktree.remove(STARTING)


def index_info(stages: Sequence[Stage]) -> bytes:
    """Give what ``git update-index -z --index-info`` reads to put files in conflict (pure)."""
    gone = [f"0 {_GONE}\t{path}\0" for path in dict.fromkeys(stage.path for stage in stages)]
    there = [f"{x.mode} {x.blob} {x.stage}\t{x.path}\0" for x in stages]
    return "".join([*gone, *there]).encode("utf-8", "surrogateescape")


def message_for(plan: Plan) -> str:
    """Give the message that git would propose (pure)."""
    conflicts = "".join(f"#\t{path}\n" for path in plan.merged.conflicts)
    more = f"\n# Conflicts:\n{conflicts}" if conflicts else ""
    return f"Merge branch '{plan.source}' into {plan.into}\n{more}"


async def standing(worktree: Linked) -> Standing:
    """Say how the merge stands, after finishing what a killed process has begun."""
    if text := worktree.read(STARTING):
        plan = decode_plan(text)
        if plan is not None:
            await _carry_out(worktree, plan)
        worktree.remove(STARTING)
    incoming = worktree.merging()
    if not incoming:
        return Standing("")
    head = (await worktree.head()).commit
    if head and await refs.contains(worktree.repository, head, incoming[0]):
        worktree.remove(*_STATE)  # committed, and its maker was killed then
        return Standing("")
    found = _SOURCE.match(worktree.read("MERGE_MSG"))
    return Standing(found[1] if found else incoming[0], await worktree.unmerged())


async def resolve(worktree: Linked, path: str, side: str) -> None:
    """Settle the conflict in ``path`` by taking the file of one side, which may be none.

    Raises:
        GitError: it is not in conflict.
    """
    stages = decode_unmerged((await worktree.git(["ls-files", "-z", "--unmerged"])).stdout)
    found = [stage for stage in stages if stage.path == path]
    if not found:
        raise GitError(f"{path} is not in conflict", hint="mergeStatus lists the files that are")
    chosen = [stage for stage in found if stage.stage == _SIDES[side]]
    lines = [f"0 {_GONE}\t{path}\0", *(f"{x.mode} {x.blob}\t{path}\0" for x in chosen)]
    await worktree.git(
        ["update-index", "-z", "--index-info"],
        stdin="".join(lines).encode("utf-8", "surrogateescape"),
    )
    # The file first and the index last: a repetition finds the conflict still there.
    if chosen:
        await worktree.git(
            ["checkout-index", "-f", "-u", "-z", "--stdin"],
            stdin=f"{path}\0".encode("utf-8", "surrogateescape"),
        )
    else:
        worktree.remove_file(path)
    worktree.put_back_index()


async def commit(worktree: Linked, *, branch: str, message: Commit, identity: Identity) -> str:
    """Commit the merge in progress, whose conflicts are settled, and give the commit's id.

    Raises:
        GitError: the branch has moved meanwhile.
    """
    head = (await worktree.head()).commit
    tree = (await worktree.git(["write-tree"])).text
    made = await worktree.commit(tree, [head, *worktree.merging()], message, identity)
    await refs.move(worktree.repository, f"refs/heads/{branch}", made, head)
    worktree.remove(*_STATE)
    return made


async def abort(worktree: Linked) -> None:
    """Bring the worktree back to its HEAD. Files that git does not know stay."""
    await worktree.fill((await worktree.head()).commit)
    worktree.put_back_index()
    worktree.remove(*_STATE)


async def untouched(worktree: Linked) -> bool:
    """Tell whether the merge in progress is as it began: nothing was settled or edited by hand."""
    head = (await worktree.head()).commit
    standing_now = await standing(worktree)
    worktree.name(head, {standing_now.source: worktree.merging()[0]})

    merged = await merge_trees(worktree.git, "HEAD", standing_now.source)
    return merged.tree == await worktree.stage_everything()
