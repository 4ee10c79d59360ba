"""Proposing a branch: commit what is left, push it, open a pull request. All of it on the host.

The commits may be a VM's. So is, possibly, what ``.git`` says about its remote: a branch goes
only to where the repository pushed when its first VM was made, or where the user says now.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tachikoma.git.port import (
    Commit,
    Forge,
    Identity,
    Publishing,
    PullRequest,
    Remote,
    RemoteHeads,
    Repository,
    Worktree,
)
from tachikoma.git.remotes import local_path
from tachikoma.model.errors import (
    BranchNameError,
    GitError,
    RemoteChangedError,
    VmNotRunningError,
)
from tachikoma.model.events import Report, StepEnded, StepStarted
from tachikoma.state.port import VmRecord
from tachikoma.vm import registry, sighting
from tachikoma.vm.lifecycle import Phase
from tachikoma.vm.ports import Ports
from tachikoma.vm.requests import Target
from tachikoma.vm.summary import last_summary

_FALLBACK_MAIN = "main"


class Ended(StrEnum):
    """How far a proposal got."""

    NOTHING = "nothing_to_do"
    UPDATED = "updated"
    """The pull request was open already; it has the commits now."""
    OPENED = "opened"
    BY_HAND = "by_hand"
    """The branch is pushed, and no program here could open the pull request."""


@dataclass(frozen=True, slots=True)
class ProposeRequest:
    """Propose the branch of ``target``. ``to`` is the URL to push to, instead of the remote's."""

    target: Target
    to: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a branch would go. ``vouched``: it is what was recorded before any guest could write
    it, or what the user has just said.
    """

    remote: Remote
    vouched: bool


@dataclass(frozen=True, slots=True)
class ProposeOutcome:
    """What became of it. ``url`` is the pull request's; ``next_step`` what a person has to do.

    ``committed`` is the message of the commit that was made, None if there was nothing.
    """

    branch: str
    base: str
    remote: Remote
    ended: Ended
    committed: Commit | None
    pushed: bool
    url: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class _Work:
    """A branch and where it is."""

    repository: Repository
    branch: str
    worktree: Worktree | None
    record: VmRecord | None


class Proposer:
    """Commits, pushes and opens pull requests."""

    def __init__(self, *, ports: Ports, publishing: Publishing, forge: Forge) -> None:
        self._ports = ports
        self._git = publishing
        self._forge = forge

    async def destination(self, request: ProposeRequest) -> Destination:
        """Say where the branch would go, for the user to look at.

        Raises:
            GitError: no repository, no branch, no remote.
            RemoteChangedError: the repository names another remote than when its VM was made.
        """
        return await self._destination(await self._work(request.target), request.to)

    async def propose(self, request: ProposeRequest, report: Report) -> ProposeOutcome:
        """Do it. Safe to repeat: what is done already is not done again.

        Raises:
            GitError: as ``destination``, or nobody's name to commit under.
            PushFailed: the remote did not take it; a commit that was made stays.
            PullRequestFailed: it is pushed, and the forge refused.
        """
        work = await self._work(request.target)
        remote = (await self._destination(work, request.to)).remote
        heads = await self._git.heads(remote, work.branch)
        base = heads.main or _FALLBACK_MAIN
        if work.branch == base:
            raise BranchNameError(
                f"{work.branch} is the branch that pull requests go to",
                hint="put the work on another one: `git switch -c NAME`",
            )
        message = await self._commit(work, report)
        commits = await self._git.ahead(work.repository, work.branch, remote, heads)
        if not commits:
            return ProposeOutcome(work.branch, base, remote, Ended.NOTHING, None, pushed=False)
        pushed = await self._push(work, remote, heads, report)
        url = await self._forge.existing(remote, work.branch)
        if url:
            ended = Ended.UPDATED if pushed else Ended.NOTHING
            return ProposeOutcome(work.branch, base, remote, ended, message, pushed, url)
        asked = self._asked(work.branch, base, commits, request.title)
        url = await self._forge.open(remote, asked)
        by_hand = "" if url else self._forge.by_hand(remote, work.branch, base)
        ended = Ended.OPENED if url else Ended.BY_HAND
        return ProposeOutcome(work.branch, base, remote, ended, message, pushed, url, by_hand)

    async def _work(self, target: Target) -> _Work:
        ledger, git = self._ports.store.read(), self._ports.git
        here = None
        try:
            here = await git.repository(target.cwd)
        except GitError:
            if target.name is None:
                raise
        named = target.name
        record = registry.of_name(ledger, named, here.git_dir if here else None) if named else None
        if record is not None:
            repository, branch = await git.repository(record.repository), record.branch
        else:
            repository = here or await git.repository(target.cwd)
            branch = named or await git.current_branch(target.cwd)
            record = ledger.of_branch(repository.git_dir, branch)
        if not await self._git.head(repository, branch):
            raise BranchNameError(
                f"there is no branch {branch} in {repository.root}",
                hint="`tachikoma list` shows the branches that have a VM",
            )
        return _Work(repository, branch, await git.worktree_of(repository, branch), record)

    async def _destination(self, work: _Work, to: str) -> Destination:
        if to:
            return Destination(Remote("origin", to), vouched=True)
        remote = await self._ports.git.remote(work.repository)
        if remote is None:
            raise GitError(
                f"{work.repository.root} has no remote to push to",
                hint="add one (`git remote add origin URL`), or name it: `tachikoma pr --to URL`",
            )
        recorded = work.record.remote if work.record else ""
        recorded = recorded or registry.remote_of(self._ports.store.read(), work.repository)
        if recorded and recorded != remote.url:
            raise RemoteChangedError(
                f"the remote is now {remote.url}, and was {recorded} when the VM was made",
                hint=f"if it was you who changed it: `tachikoma pr --to {remote.url}`",
            )
        _refuse_within(remote, work)
        return Destination(remote, vouched=bool(recorded))

    async def _commit(self, work: _Work, report: Report) -> Commit | None:
        if work.worktree is None:
            return None
        changed = await self._git.uncommitted(work.repository, work.worktree.path)
        if not changed:
            return None
        identity = await self._identity(work.worktree.path)
        report(StepStarted("commit", "Committing what is uncommitted"))
        begun = self._ports.clock.monotonic()
        message = await self._agents_words(work)
        if message is None:
            stat = await self._git.stat(work.repository, work.worktree.path)
            message = by_stat(changed, stat)
        await self._git.commit_all(
            work.repository, work.worktree, message=message, identity=identity
        )
        report(StepEnded("commit", self._ports.clock.monotonic() - begun))
        return message

    async def _identity(self, worktree: Path) -> Identity:
        identity = await self._ports.git.identity(worktree)
        if identity is None:
            raise GitError(
                "git does not know under whose name to commit",
                hint="git config --global user.name NAME, and user.email ADDRESS",
            )
        return identity

    async def _agents_words(self, work: _Work) -> Commit | None:
        """Ask the VM, if it runs, what the agent said last."""
        ports, record = self._ports, work.record
        if (
            record is None
            or await sighting.roughly(ports.hypervisor, record.name) is not Phase.BOOTING
        ):
            return None
        try:
            endpoint = await ports.hypervisor.address(record.name)
        except VmNotRunningError:
            return None
        if endpoint is None:
            return None
        login = ports.shell.login(record.name, endpoint, ports.settings.ssh_user)
        return await last_summary(ports.shell, login, record.worktree)

    async def _push(self, work: _Work, remote: Remote, heads: RemoteHeads, report: Report) -> bool:
        """Push what the remote has not; False if it has all of it."""
        commit = await self._git.head(work.repository, work.branch)
        if heads.branch_commit == commit:
            return False
        report(StepStarted("push", f"Pushing {work.branch}"))
        begun = self._ports.clock.monotonic()
        await self._git.push(work.repository, work.branch, remote, commit)
        report(StepEnded("push", self._ports.clock.monotonic() - begun))
        return True

    @staticmethod
    def _asked(branch: str, base: str, commits: tuple[Commit, ...], title: str) -> PullRequest:
        """Say what is proposed: one commit speaks for itself, several are listed."""
        newest = commits[0]
        if len(commits) == 1:
            return PullRequest(branch, base, title or newest.subject, newest.body)
        listed = "\n".join(f"- {each.subject}" for each in reversed(commits))
        body = f"{newest.body}\n\n{listed}".strip()
        return PullRequest(branch, base, title or newest.subject, body)


def _refuse_within(remote: Remote, work: _Work) -> None:
    """Raise RemoteChangedError for a remote in a directory that a VM can write to: what receives
    a push there runs the hooks there.
    """
    path = local_path(remote)
    shared = [work.repository.git_dir, work.repository.root]
    shared += [work.worktree.path] if work.worktree else []
    if path is not None and any(path.is_relative_to(each) for each in shared):
        raise RemoteChangedError(
            f"the remote {remote.url} lies where a VM can write",
            hint="push to a repository elsewhere: `tachikoma pr --to URL`",
        )


def by_stat(changed: tuple[str, ...], stat: str) -> Commit:
    """Say what a commit changes, where nobody has said why (pure)."""
    match changed:
        case (only,):
            subject = f"Change {only}"
        case _:
            subject = f"Change {len(changed)} files"
    return Commit(subject if len(subject) <= 72 else "Change 1 file", stat.strip("\n"))
