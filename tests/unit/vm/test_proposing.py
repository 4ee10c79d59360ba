from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.git.memory_publishing import MemoryForge, MemoryPublishing
from tachikoma.git.port import Commit, PullRequest, Remote
from tachikoma.model.errors import (
    BranchNameError,
    GitError,
    PushFailed,
    RemoteChangedError,
)
from tachikoma.model.events import silent
from tachikoma.ssh.memory import Answer
from tachikoma.vm.proposing import Ended, ProposeOutcome, Proposer, ProposeRequest, by_stat
from tachikoma.vm.requests import SpawnRequest, Target
from tests.unit.vm.conftest import REPOSITORY, Bench

HUB = "git@github.com:acme/app.git"
WORKTREE = Path("/src/app-x")


class Desk:
    """A branch ``x`` with a VM, a remote and a forge."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.git.remote_urls[bench.repository.git_dir] = HUB
        self.git = MemoryPublishing(branches={"x"})
        self.forge = MemoryForge()
        ports = bench.ports()
        self.proposer = Proposer(ports=ports, publishing=self.git, forge=self.forge)

    async def spawn(self) -> None:
        await self.bench.orchestrator().spawn(SpawnRequest(REPOSITORY, "x"), silent)

    async def propose(self, name: str | None = "x", **more: str) -> ProposeOutcome:
        request = ProposeRequest(Target(REPOSITORY, name), **more)
        return await self.proposer.propose(request, silent)


@pytest.fixture
async def desk(bench: Bench) -> Desk:
    made = Desk(bench)
    await made.spawn()
    return made


async def test_what_is_uncommitted_is_committed_pushed_and_proposed(desk: Desk) -> None:
    desk.git.changed[WORKTREE] = ("a", "b")
    outcome = await desk.propose()
    message = Commit("Change 2 files", "a | 1 +\n b | 1 +")
    assert outcome == ProposeOutcome(
        branch="x",
        base="main",
        remote=Remote("origin", HUB),
        ended=Ended.OPENED,
        committed=Commit("Change 2 files", " a | 1 +\n b | 1 +"),
        pushed=True,
        url=f"{HUB}/pull/x",
    )
    assert desk.forge.opened["x"].title == message.subject


async def test_the_agents_last_words_become_the_message(desk: Desk) -> None:
    said = {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": "**Fixed it.**"}]},
    }
    desk.bench.shell.respond = lambda _asked: Answer(stdout=json.dumps(said).encode())
    desk.git.changed[WORKTREE] = ("a",)
    assert (await desk.propose()).committed == Commit("Fixed it.", "**Fixed it.**")
    (asked,) = desk.bench.shell.runs
    assert asked.argv[-2] == "-src-app-x"


async def test_commits_made_in_the_vm_are_proposed_without_another(desk: Desk) -> None:
    desk.git.commits["x"] = (Commit("Two", "why"), Commit("One", ""))
    outcome = await desk.propose()
    assert (outcome.committed, outcome.ended) == (None, Ended.OPENED)
    assert desk.forge.opened["x"] == PullRequest("x", "main", "Two", "why\n\n- One\n- Two")


async def test_nothing_to_do_is_said(desk: Desk) -> None:
    outcome = await desk.propose()
    assert (outcome.ended, outcome.pushed, outcome.url) == (Ended.NOTHING, False, "")


async def test_a_pull_request_that_is_open_gets_what_is_new(desk: Desk) -> None:
    desk.git.commits["x"] = (Commit("One", ""),)
    await desk.propose()
    assert (await desk.propose()).ended is Ended.NOTHING
    desk.git.commits["x"] = (Commit("Two", ""), Commit("One", ""))
    outcome = await desk.propose(title="other")
    assert (outcome.ended, outcome.pushed, outcome.url) == (Ended.UPDATED, True, f"{HUB}/pull/x")
    assert desk.forge.opened["x"].title == "One"


async def test_without_a_forge_it_is_pushed_and_the_way_told(desk: Desk) -> None:
    desk.forge.absent = True
    desk.git.commits["x"] = (Commit("One", ""),)
    outcome = await desk.propose()
    assert (outcome.ended, outcome.url) == (Ended.BY_HAND, "")
    assert outcome.next_step == f"open {HUB}: x to main"


async def test_the_main_branch_is_not_proposed_to_itself(desk: Desk) -> None:
    with pytest.raises(BranchNameError, match="main is the branch that pull requests go to"):
        await desk.propose("main")


async def test_a_branch_that_is_not_there_is_told(desk: Desk) -> None:
    with pytest.raises(BranchNameError, match="there is no branch y"):
        await desk.propose("y")


async def test_a_remote_that_a_vm_has_changed_gets_nothing(desk: Desk) -> None:
    desk.git.commits["x"] = (Commit("One", ""),)
    desk.bench.git.remote_urls[desk.bench.repository.git_dir] = "git@evil.example:a/b"
    with pytest.raises(RemoteChangedError) as caught:
        await desk.propose()
    assert caught.value.hint.endswith("`tachikoma pr --to git@evil.example:a/b`")
    assert desk.git.pushed == {}
    outcome = await desk.propose(to="git@github.com:me/fork")
    assert outcome.remote.url == "git@github.com:me/fork"


async def test_a_second_branch_gets_the_remote_of_the_first_not_the_present_one(
    desk: Desk,
) -> None:
    desk.bench.git.remote_urls[desk.bench.repository.git_dir] = "git@evil.example:a/b"
    desk.bench.git.add_branch(desk.bench.repository, "y")
    await desk.bench.orchestrator().spawn(SpawnRequest(REPOSITORY, "y"), silent)
    assert {record.remote for record in desk.bench.store.read().vms.values()} == {HUB}


async def test_a_remote_that_nobody_vouches_for_is_told_as_such(bench: Bench) -> None:
    desk = Desk(bench)
    bench.git.add_branch(bench.repository, "x")
    request = ProposeRequest(Target(REPOSITORY, "x"))
    assert not (await desk.proposer.destination(request)).vouched
    named = replace(request, to="https://h/o/r")
    assert (await desk.proposer.destination(named)).vouched


async def test_a_remote_where_a_vm_can_write_is_refused(bench: Bench) -> None:
    desk = Desk(bench)
    bench.git.remote_urls[bench.repository.git_dir] = "/src/app/.git/inner"
    with pytest.raises(RemoteChangedError, match="lies where a VM can write"):
        await desk.propose()


async def test_no_remote_is_told(bench: Bench) -> None:
    desk = Desk(bench)
    bench.git.remote_urls.clear()
    with pytest.raises(GitError, match="has no remote"):
        await desk.propose()


async def test_a_push_that_fails_keeps_the_commit(desk: Desk) -> None:
    desk.git.changed[WORKTREE] = ("a",)
    desk.git.refuses = True
    with pytest.raises(PushFailed):
        await desk.propose()
    assert desk.git.commits["x"][0].subject == "Change a"


def test_a_change_is_named_by_its_file_or_their_number() -> None:
    assert by_stat(("a b",), "x\n").subject == "Change a b"
    assert by_stat(("a", "b"), "").subject == "Change 2 files"
    assert by_stat(("a" * 99,), "").subject == "Change 1 file"
