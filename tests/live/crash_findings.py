"""What must be true after a round of crashes, strictly."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.book import BookReader
from tachikoma.makima.record import TaskRecord
from tests.live.crash_plans import CONFLICTED, Job, Victim
from tests.live.crash_rounds import Round

_ENDS = {"failed", "interrupted"}
_LEGAL = {
    "pending": {"initializing", "paused", *_ENDS},
    "initializing": {"running", "paused", *_ENDS},
    "running": {"paused", "done", *_ENDS},
    "paused": {"pending", "initializing", "running", "done", *_ENDS},
    "done": set[str](),
    "failed": set[str](),
    "interrupted": set[str](),
}
_QUIET_S = 0.7
_GONE_S = 15.0


def picture(repository: Path) -> dict[str, str]:
    """Give every file of a repository, those of git's too."""
    return {
        str(path.relative_to(repository)): _print_of(path)
        for path in sorted(repository.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def _print_of(path: Path) -> str:
    mode = path.lstat().st_mode
    data = bytes(path.readlink()) if path.is_symlink() else path.read_bytes()
    return f"{mode:o} {hashlib.sha256(data).hexdigest()}"


async def check(one: Round, before: dict[Job, dict[str, str]]) -> list[str]:
    """Check everything, and give how each task ended."""
    one_by_one = {job: _completion(one, job) for job in one.scenario.jobs}
    assert await one.stop() == 0
    heard = len(_of_tasks(one))
    await _a_second_start_finds_nothing(one, heard)
    for job, good in one_by_one.items():
        _statuses(one, job, good=good)
        _output(one, job, good=good)
        _repository(one, job, before[job], good=good)
        assert good or one.harmed(job), f"{job.short} met nothing, and failed: {_why(one, job)}"
    await _the_book(one)
    await _nothing_is_left(one)
    return [_word(one, job) for job in one.scenario.jobs]


def _of_tasks(one: Round) -> list[dict[str, object]]:
    return [frame for frame in one.server.frames if "taskId" in frame]


def _completion(one: Round, job: Job) -> bool:
    (complete,) = one.of(job, "taskComplete")
    last = [f for f in one.of(job) if f["type"] != "taskComplete"][-1]
    assert last["type"] in {"taskStatusChange", "revokeToolKey"}, last
    assert one.of(job)[-1] is complete, f"{job.short}: something came after its completion"
    return bool(complete["success"])


def _why(one: Round, job: Job) -> object:
    return one.of(job, "taskComplete")[0]["error"]


def _word(one: Round, job: Job) -> str:
    how = one.of(job, "taskStatusChange")[-1]["newStatus"]
    results = one.of(job, "completionActionResult")
    action = "" if not results else " ok" if results[-1]["success"] else " refused"
    return f"{how} ({job.action}{action})"


async def _a_second_start_finds_nothing(one: Round, heard: int) -> None:
    one.start()
    await one.let_in()
    await SystemClock().sleep(_QUIET_S)
    new = _of_tasks(one)[heard:]
    assert new == [], f"a second start had something to say: {new[:3]}"
    assert await one.stop() == 0


def _statuses(one: Round, job: Job, *, good: bool) -> None:
    changes = one.of(job, "taskStatusChange")
    steps = [(f["oldStatus"], f["newStatus"]) for f in changes]
    steps = [(old, new) for old, new in steps if old != new]  # the answer to a repeated order
    assert all(new in _LEGAL[old] for old, new in steps), steps
    assert [old for old, _ in steps] == ["pending", *[new for _, new in steps][:-1]], steps
    if not any(blow.victim is Victim.PAUSE for blow in one.hits):
        assert "paused" not in dict(steps), steps
    assert (steps[-1][1] == "done") is good


def _output(one: Round, job: Job, *, good: bool) -> None:
    got, expected = one.output(job), one.expected_output(job)
    if good:
        assert got == expected, f"{job.short}: {_first_difference(got, expected)}"
    else:
        got = "".join(_pieces(one, job))
        if "control_response" in got:  # it was interrupted, and says so where it was
            got = got[: got.index('{"type": "control_response"')]
        assert expected.startswith(got.removesuffix("\n")), _first_difference(got, expected)


def _pieces(one: Round, job: Job) -> list[str]:
    """What a killed agent printed; what its shell says of a kill is no output of its plan."""
    return [
        frame["output"] + ("" if frame["isPartial"] else "\n")
        for frame in one.of(job, "taskOutput")
        if not frame["output"].startswith("bash:")
    ]


def _first_difference(got: str, expected: str) -> str:
    pairs = enumerate(zip(got.splitlines(), expected.splitlines(), strict=False))
    for number, (mine, right) in pairs:
        if mine != right:
            return f"line {number} is {mine[:200]!r}, not {right[:200]!r}"
    return f"{len(got.splitlines())} lines, not {len(expected.splitlines())}"


def _repository(one: Round, job: Job, before: dict[str, str], *, good: bool) -> None:
    user, branch, git = one.target(job), f"makima/task-{job.short}", one.host.git
    results = one.of(job, "completionActionResult")
    assert len(results) == int(good and job.action != "none"), results
    if not results or not results[0]["success"]:
        assert not results or job.conflicts, f"{job.short}: {results}"
        assert picture(user) == before, f"{job.short}: {_changed(picture(user), before)}"
    else:
        assert not job.conflicts
        tip = git(one.origin, "--git-dir", str(_clone(one)), "rev-parse", branch)
        assert git(user, "status", "--porcelain") == "?? unknown.txt"
        assert "error" not in git(user, "fsck", "--no-dangling")
        if job.action == "merge":
            assert git(user, "rev-parse", "main^2") == tip
            assert git(user, "show", f"main:{CONFLICTED}") == "common"
        else:
            assert git(user, "rev-parse", branch) == tip
            assert git(user, "rev-parse", "main") == git(one.origin, "rev-parse", "main")
    if good:
        subjects = git(_clone(one), "log", "--format=%s", branch).splitlines()
        assert subjects == [f"Task {job.short}", "By the agent", "First"], subjects


def _clone(one: Round) -> Path:
    (found,) = (each for each in one.clones.iterdir() if each.name.startswith("app"))
    return found


def _changed(now: dict[str, str], before: dict[str, str]) -> list[str]:
    return sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))


async def _the_book(one: Round) -> None:
    async with BookReader.at(one.database) as book:
        records = {record.id: record for record in await book.tasks()}
        assert await book.unsent() == (0, 0)
    assert records.keys() == {job.task for job in one.scenario.jobs}
    for job in one.scenario.jobs:
        _as_heard(one, job, records[job.task])


def _as_heard(one: Round, job: Job, record: TaskRecord) -> None:
    (complete,) = one.of(job, "taskComplete")
    statuses = [frame["newStatus"] for frame in one.of(job, "taskStatusChange")]
    assert record.status == statuses[-1]
    assert record.error == (complete["error"] or "")
    assert record.ended is not None
    assert record.tool_key == ""


async def _nothing_is_left(one: Round) -> None:
    async for _ in attempts(SystemClock(), deadline_s=_GONE_S, first_s=0.01, most_s=0.2):
        if not _left(one):
            break
    assert _left(one) == []
    known = {f"task-{job.short}" for job in one.scenario.jobs}
    trees = {path.name for path in one.worktrees.iterdir()} - {".claims"}
    assert trees <= known, trees
    for repository in one.clones.iterdir():
        if not repository.name.startswith("."):
            listed = one.host.git(repository, "worktree", "list", "--porcelain")
            assert "prunable" not in listed, listed
    host = one.clones / ".host"
    assert not host.exists() or list(host.glob("quarantine-*")) == []


def _left(one: Round) -> list[str]:
    agents = one.database.parent / "agents"
    found = [f"agent {path.name}" for path in agents.iterdir()] if agents.exists() else []
    found += [f"process {pid}: {_command(pid)}" for pid in one.processes()]
    return found + ([f"VM {name}" for name in _vms(one)] if one.scenario.vm else [])


def _vms(one: Round) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tachikoma", "list", "--json"],
        env=dict(one.host.environ),
        capture_output=True,
        check=True,
        timeout=60,
    )
    return [vm["name"] for vm in json.loads(done.stdout)["data"]["vms"]]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[-200:]
    except OSError:
        return "gone"
