"""Keeping what an agent left in a worktree, whatever it did to its branches and HEAD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tachikoma.git import merging, refs
from tachikoma.git.linked import Linked, opened
from tachikoma.git.port import Commit, Identity
from tachikoma.model.errors import GitError

KEPT = "refs/makima/kept/"
"""Where saved work is in a bare clone: below this the branch, below that the saved commit."""
_UNDER_WAY = ("rebase-merge", "rebase-apply")
_DONE_WITH = ("MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "CHERRY_PICK_HEAD", "REVERT_HEAD")


@dataclass(frozen=True, slots=True)
class State:
    """What is to be seen in a worktree: the ``commit`` that it is at, and the ``tree`` of its
    files, those not committed among them.
    """

    commit: str
    tree: str
    uncommitted: bool


async def state_of(repository: Path, worktree: Path, branch: str) -> State:
    """Say what a task's worktree holds, without touching it; if it is gone, what was kept of it.

    Raises:
        GitError: neither the worktree nor the branch is there.
    """
    tip = await refs.commit_of(repository, f"refs/heads/{branch}")
    if worktree.is_dir():
        async with opened(repository, worktree) as held:
            commit = (await held.head()).commit or tip
            if commit:
                tree = await held.stage_everything()
                return State(commit, tree, tree != await held.tree_of(commit))
    if not tip:
        raise GitError(
            f"there is neither a worktree at {worktree} nor a branch {branch} in {repository}",
            hint="what the agent committed may be on another branch: `git branch --list` there",
        )
    for kept in (await refs.branches(repository, [f"{KEPT}{branch}/"])).values():
        if await refs.commit_of(repository, f"{kept}^1") == tip:
            return State(tip, kept, uncommitted=True)
    return State(tip, tip, uncommitted=False)


async def save(worktree: Linked, branch: str, message: Commit, identity: Identity) -> str:
    """Save what is not committed as a commit on a ref of its own and give the ref, "" for nothing.

    The worktree is not touched.
    """
    head = (await worktree.head()).commit
    tip = await refs.commit_of(worktree.repository, f"refs/heads/{branch}")
    tree = await worktree.stage_everything()
    on = head or tip
    merged = tip and on and await refs.contains(worktree.repository, tip, on)
    if on and tree == await worktree.tree_of(on) and merged:
        return ""
    made = await worktree.commit(tree, [on] if on else [], message, identity)
    ref = f"{KEPT}{branch}/{made[:12]}"
    await refs.move(worktree.repository, ref, made, "")
    return ref


async def commit_rest(worktree: Linked, branch: str, message: Commit, identity: Identity) -> str:
    """Commit everything that is not ignored, have it on ``branch``, and give that branch's commit.

    Where the agent went to another branch or a detached HEAD, ``branch`` follows if it lost
    nothing so. A merge whose conflicts are settled is concluded. Idempotent.

    Raises:
        GitError: a merge has conflicts left, or a rebase is under way: nothing is changed. Or the
            agent's work is beside the branch: it is kept on another one, which is named.
    """
    await _refuse_under_way(worktree)
    head = await worktree.head()
    tip = await refs.commit_of(worktree.repository, f"refs/heads/{branch}")
    on = head.commit or tip
    tree = await worktree.stage_everything()
    parents = [*([on] if on else []), *worktree.merging()]
    made = on
    if len(parents) != 1 or tree != await worktree.tree_of(on):
        made = await worktree.commit(tree, parents, message, identity)
    if tip and not await refs.contains(worktree.repository, made, tip):
        if await refs.contains(worktree.repository, tip, made):
            return tip
        await _set_aside(worktree, branch, made)
    if made != tip:
        await refs.move(worktree.repository, f"refs/heads/{branch}", made, tip)
    worktree.put_back_index()
    worktree.remove(*_DONE_WITH)
    if head.branch != branch:
        worktree.point_head_at(branch)
    return made


async def _refuse_under_way(worktree: Linked) -> None:
    conflicts = (await merging.standing(worktree)).conflicts or await worktree.unmerged()
    if conflicts:
        raise GitError(
            f"a merge in {worktree.path} has conflicts left: {', '.join(conflicts)}",
            hint="settle them, or abort the merge; nothing was committed, and nothing is lost",
        )
    for name in _UNDER_WAY:
        if worktree.has(name):
            raise GitError(
                f"a rebase is under way in {worktree.path}",
                hint="finish it, or abort it (`git rebase --abort`); nothing is lost",
            )


async def _set_aside(worktree: Linked, branch: str, commit: str) -> None:
    name = f"{branch}-{commit[:8]}"
    if not await refs.commit_of(worktree.repository, f"refs/heads/{name}"):
        await refs.move(worktree.repository, f"refs/heads/{name}", commit, "")
    raise GitError(
        f"the agent's last work is beside {branch}, which it left: it is on {name}",
        hint=f"merge it: git merge {name}",
    )
