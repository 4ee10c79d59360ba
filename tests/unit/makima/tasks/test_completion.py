from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.git.memory_publishing import MemoryForge
from tachikoma.git.port import Identity
from tachikoma.makima.record import Workspace
from tachikoma.makima.tasks.completion import clash
from tachikoma.makima.tasks.port import ActionOutcome
from tests.doubles.real_git import commit, git, new_repository
from tests.doubles.task_bench import Bench, fingerprint, work
from tests.unit.git.test_checkout import hostile_config

pytestmark = pytest.mark.live


def test_a_branch_clashes_with_one_within_its_name_or_around_it() -> None:
    assert clash("a/b", ["main", "a"]) == "a"
    assert clash("a", ["a/b/c"]) == "a/b/c"
    assert clash("a/b", ["a/c", "a/bc"]) == ""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path.resolve())


@pytest.fixture
def user(bench: Bench) -> Path:
    """The user's own clone of the hub, with main checked out."""
    git(bench.base, "clone", "-q", str(bench.hub), "user")
    path = bench.base / "user"
    git(path, "config", "user.name", "Ada")
    git(path, "config", "user.email", "ada@example.org")
    return path


async def act(
    bench: Bench,
    action: str,
    made: Workspace,
    target: Path | None,
    branch: str | None = None,
    *,
    name: str = "Do it",
) -> ActionOutcome:
    actions = bench.actions(MemoryForge())
    return await actions.act(action, made, name=name, target_repo=target, target_branch=branch)


async def refused(
    bench: Bench, action: str, made: Workspace, target: Path, branch: str | None = None
) -> str:
    """Give the message of an action that fails, having seen that it changed nothing."""
    before = fingerprint(target)
    outcome = await act(bench, action, made, target, branch)
    assert fingerprint(target) == before
    assert not outcome.success
    assert [each.name for each in (bench.repos / ".host").glob("quarantine-*")] == []
    return outcome.message


async def test_no_action_leaves_the_work_on_its_branch(bench: Bench) -> None:
    made = await bench.prepare()
    (made.worktree / "new").write_text("x")
    outcome = await act(bench, "none", made, None, name="A\0 name\n\nwith more")
    assert outcome == ActionOutcome(success=True, message=f"the work is on {made.branch}")
    assert git(made.repository, "show", f"{made.branch}:new") == "x"
    assert git(made.repository, "log", "-1", "--format=%s|%b", made.branch) == "A  name|with more"
    assert "no completion action" in (await act(bench, "dance", made, None)).message


async def test_the_branch_goes_to_the_users_repository(bench: Bench, user: Path) -> None:
    made = await bench.prepare()
    tip = work(made, "new", "x")
    outcome = await act(bench, "branch", made, user)
    assert outcome.success, outcome
    assert git(user, "rev-parse", made.branch) == tip
    assert git(user, "status", "--porcelain") == ""
    assert "already" in (await act(bench, "branch", made, user)).message
    newer = work(made, "newer", "x")
    assert (await act(bench, "branch", made, user)).success
    assert git(user, "rev-parse", made.branch) == newer


async def test_a_bare_repository_in_the_home_directory_takes_a_branch(
    bench: Bench, own_home: Path
) -> None:
    git(own_home, "clone", "-q", "--bare", str(bench.hub), "hub.git")
    made = await bench.prepare()
    tip = work(made, "new", "x")
    assert (await act(bench, "branch", made, Path("~/hub.git"))).success
    assert git(own_home / "hub.git", "rev-parse", made.branch) == tip


async def test_a_branch_of_the_users_is_not_overwritten(bench: Bench, user: Path) -> None:
    made = await bench.prepare()
    work(made, "new", "x")
    git(user, "switch", "-q", "-c", made.branch)
    assert "is checked out at" in await refused(bench, "branch", made, user)
    commit(user, "his", "x")
    git(user, "switch", "-q", "main")
    assert "commits that the task's branch has not" in await refused(bench, "branch", made, user)
    git(user, "branch", "-q", "-D", made.branch)
    git(user, "branch", "makima")
    assert "a branch makima" in await refused(bench, "branch", made, user)


async def test_a_branch_that_is_checked_out_is_merged_into_with_its_files(
    bench: Bench, user: Path
) -> None:
    made = await bench.prepare()
    tip = work(made, "new", "x")
    (user / "untracked").write_text("mine")
    old = commit(user, "his", "x")
    outcome = await act(bench, "merge", made, user)
    assert outcome.success, outcome
    assert git(user, "log", "-1", "--format=%P|%s") == f"{old} {tip}|Merge {made.branch}: Do it"
    assert (user / "new").read_text() == "x"
    assert git(user, "status", "--porcelain") == "?? untracked"
    again = await act(bench, "merge", made, user)
    assert again.success
    assert "already" in again.message
    assert git(user, "fsck") == ""


async def test_a_merge_that_was_killed_before_the_index_was_put_back_is_finished(
    bench: Bench, user: Path
) -> None:
    made = await bench.prepare()
    work(made, "new", "x")
    index = user / ".git" / "index"
    old = index.read_bytes()
    assert (await act(bench, "merge", made, user)).success
    index.write_bytes(old)
    (user / ".git" / "index.lock").write_text("tachikoma is bringing in a commit\n")
    assert (await act(bench, "merge", made, user)).success
    assert git(user, "status", "--porcelain") == ""
    commit(user, "his", "x")


async def test_a_branch_that_is_not_checked_out_moves_alone(bench: Bench, user: Path) -> None:
    git(user, "branch", "release")
    made = await bench.prepare()
    work(made, "new", "x")
    (user / "code").write_text("changes of his own")
    outcome = await act(bench, "merge", made, user, "release")
    assert outcome.success, outcome
    assert git(user, "show", "release:new") == "x"
    assert git(user, "status", "--porcelain") == "M code"
    assert not (user / "new").exists()


async def test_a_branch_in_a_linked_worktree_is_updated_there(bench: Bench, user: Path) -> None:
    git(user, "worktree", "add", "-q", "-b", "release", "../linked")
    made = await bench.prepare()
    work(made, "new", "x")
    assert (await act(bench, "merge", made, user, "release")).success
    assert (bench.base / "linked" / "new").read_text() == "x"
    assert git(bench.base / "linked", "status", "--porcelain") == ""
    assert git(user, "status", "--porcelain") == ""


async def test_a_conflict_is_reported_and_changes_nothing(bench: Bench, user: Path) -> None:
    made = await bench.prepare()
    tip = work(made, "code", "agent\n")
    commit(user, "code", "user\n")
    message = await refused(bench, "merge", made, user)
    assert "conflicts with main" in message
    assert "code" in message
    assert git(made.repository, "rev-parse", made.branch) == tip


@pytest.mark.parametrize("way", ["modified", "staged", "untracked", "merge", "lock"])
async def test_what_the_user_is_at_is_left_alone(bench: Bench, user: Path, way: str) -> None:
    made = await bench.prepare()
    work(made, "code", "agent\n")
    work(made, "new", "x")
    match way:
        case "modified":
            (user / "README").write_text("his")
        case "staged":
            (user / "README").write_text("his")
            git(user, "add", "README")
        case "untracked":
            (user / "new").write_text("his")
        case "merge":
            (user / ".git" / "MERGE_HEAD").write_text("0" * 40)
        case _:
            (user / ".git" / "index.lock").write_text("")
    told = {
        "modified": "local changes: README",
        "staged": "local changes: README",
        "untracked": "in the way: new",
        "merge": "under way",
        "lock": "at work",
    }
    assert told[way] in await refused(bench, "merge", made, user)


async def test_what_is_no_target_is_told(bench: Bench, user: Path) -> None:
    made = await bench.prepare()
    work(made, "new", "x")
    assert "no branch nope" in await refused(bench, "merge", made, user, "nope")
    for target, told in {
        None: "no repository is named",
        bench.base / "nowhere": "no directory",
        bench.base: "no git repository",
        Path("relative"): "no whole path",
        Path("/a\0b"): "no whole path",
        made.repository: "daemon's own",
    }.items():
        outcome = await act(bench, "merge", made, target)
        assert not outcome.success
        assert told in outcome.message
    git(user, "switch", "-q", "--detach")
    assert "not on a branch" in await refused(bench, "merge", made, user)
    stranger = new_repository(bench.base / "stranger", commits=False)
    commit(stranger, "strange", "x")
    assert "histor" in await refused(bench, "merge", made, stranger)


async def test_objects_that_are_not_sound_do_not_get_in(bench: Bench, user: Path) -> None:
    made = await bench.prepare()
    work(made, "code", "agent\n")
    blob = git(made.worktree, "hash-object", "-w", "code")
    entry = b"100644 .git\0" + bytes.fromhex(blob)
    tree = f"tree {len(entry)}\0".encode() + entry
    name = hashlib.sha1(tree).hexdigest()
    place = made.repository / "objects" / name[:2]
    place.mkdir(exist_ok=True)
    (place / name[2:]).write_bytes(zlib.compress(tree))
    evil = git(made.worktree, "commit-tree", name, "-p", made.base, "-m", "evil")
    git(made.repository, "update-ref", f"refs/heads/{made.branch}", evil)
    outcome = await act(bench, "branch", replace(made, worktree=bench.base / "gone"), user)
    assert "git's checks" in outcome.message
    assert "hasDotgit" in outcome.message
    assert git(user, "branch", "--list", made.branch) == ""


async def test_a_commit_of_the_users_meanwhile_wins(bench: Bench, user: Path) -> None:
    made = await bench.prepare()
    work(made, "new", "x")
    completion = bench.completion(MemoryForge())
    identity = bench.workspaces.identity

    async def slow() -> Identity:
        commit(user, "his", "x")
        return await identity()

    completion._identity = slow
    outcome = await completion.act(
        "merge", made, name="Do it", target_repo=user, target_branch=None
    )
    assert not outcome.success
    assert git(user, "log", "-1", "--format=%s") == "Change his"
    assert git(user, "status", "--porcelain") == ""
    assert (await act(bench, "merge", made, user)).success
    assert (user / "new").exists()


async def test_a_merge_whose_maker_was_killed_is_finished_by_the_next(
    bench: Bench, user: Path
) -> None:
    made = await bench.prepare()
    work(made, "new", "x")
    work(made, "code", "agent\n")
    (user / "code").write_text("agent\n")
    (user / "new").write_text("x")
    (user / ".git" / "index.lock").write_text("tachikoma is bringing in a commit\n")
    outcome = await act(bench, "merge", made, user)
    assert outcome.success, outcome
    assert git(user, "status", "--porcelain") == ""
    assert not (user / ".git" / "index.lock").exists()


async def test_no_hook_runs_and_nothing_that_is_named_in_a_configuration(
    bench: Bench, user: Path
) -> None:
    made = await bench.prepare()
    canary = bench.base / "canary"
    hostile_config(made.repository, canary, program=bench.base / "run")
    hostile_config(user / ".git", canary, program=bench.base / "run")
    for name in ("pre-receive", "update", "post-receive", "push-to-checkout", "post-update"):
        hook = user / ".git" / "hooks" / name
        hook.write_text((bench.base / "run").read_text())
        hook.chmod(0o755)
    git(user, "branch", "release")
    canary.unlink(missing_ok=True)
    (made.worktree / ".gitattributes").write_text("* filter=evil merge=evil\n")
    assert (await act(bench, "branch", made, user)).success
    assert (await act(bench, "merge", made, user, "release")).success
    assert "filters of its own" in (await act(bench, "merge", made, user)).message
    for key in ("smudge", "clean", "process", "required"):
        git(user, "config", "--unset-all", f"filter.evil.{key}")
    git(user, "config", "--unset-all", "include.path")
    (user / ".git" / "config.worktree").unlink()
    canary.unlink(missing_ok=True)
    assert (await act(bench, "merge", made, user)).success
    assert not canary.exists(), canary.read_text()


async def test_a_pull_request_is_opened_once(bench: Bench, user: Path) -> None:
    git(bench.base, "clone", "-q", "--bare", str(bench.hub), "hub.git")
    git(user, "remote", "set-url", "origin", str(bench.base / "hub.git"))
    made = await bench.prepare()
    tip = work(made, "new", "x")
    before = fingerprint(user)
    forge = MemoryForge()
    completion = bench.completion(forge)
    outcomes = [
        await completion.act("pr", made, name="Do it", target_repo=user, target_branch=None)
        for _ in range(2)
    ]
    assert [outcome.success for outcome in outcomes] == [True, True]
    assert outcomes[0].pr_url == outcomes[1].pr_url == f"{bench.base}/hub.git/pull/{made.branch}"
    assert git(bench.base / "hub.git", "rev-parse", made.branch) == tip
    assert fingerprint(user) == before


async def test_without_a_forge_it_is_told_how_to_open_one_by_hand(bench: Bench, user: Path) -> None:
    git(bench.base, "clone", "-q", "--bare", str(bench.hub), "hub.git")
    git(user, "remote", "set-url", "origin", str(bench.base / "hub.git"))
    made = await bench.prepare()
    work(made, "new", "x")
    forge = MemoryForge(absent=True)
    outcome = await bench.completion(forge).act(
        "pr", made, name="Do it", target_repo=user, target_branch="main"
    )
    assert not outcome.success
    assert "is pushed" in outcome.message
    git(user, "remote", "remove", "origin")
    assert "has no remote" in (await act(bench, "pr", made, user)).message
