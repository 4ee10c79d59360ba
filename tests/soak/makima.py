"""More of the daemon with real VMs than the suite has time for: `make soak`."""

from __future__ import annotations

import pytest

from tests.live.test_makima import Fleet, fleet

__all__ = ["fleet"]
pytestmark = pytest.mark.live_qemu


async def test_a_task_runs_in_a_vm_and_ends_on_its_branch(fleet: Fleet) -> None:
    commit = "git add -A && git commit -q -m 'By the agent'"
    async with fleet.daemon() as process:
        await fleet.order(
            1,
            f"run: echo made > made.txt && {commit} && echo left > left.txt && hostname",
            task_name="Make a file",
            completion_action="branch",
            target_repo_path=str(fleet.origin),
        )
        done = await fleet.completed(1)
        assert (done["success"], done["error"]) == (True, None)
        assert fleet.vms() == []
        process.terminate()
        assert process.wait(30) == 0
    assert fleet.statuses(1) == ["initializing", "running", "done"]
    kinds = [event["type"] for event in fleet.events(1)]
    assert kinds.index("system") < kinds.index("assistant") < kinds.index("result")
    subjects = fleet.git("log", "--format=%s", "makima/task-00000001").splitlines()
    assert subjects == ["Make a file", "By the agent", "A file", "First"]
    assert fleet.user.secret not in fleet.log.read_text()
    listed = fleet.user.run("makima", "tasks", "--all", "--json").json["data"]["tasks"]
    assert [(each["status"], each["isolation"]) for each in listed] == [("done", "vm")]


async def test_a_task_that_takes_too_long_is_ended(fleet: Fleet) -> None:
    async with fleet.daemon(MAKIMA_DAEMON_PROCESS_DEFAULTTIMEOUTSECS="15"):
        await fleet.order(1, "run: sleep 600")
        late = await fleet.completed(1)
        assert late["error"] == "it took longer than 15 s (`process.default_timeout_secs`)"
        assert fleet.vms() == []
    assert fleet.statuses(1) == ["initializing", "running", "failed"]
