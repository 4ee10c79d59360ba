"""Nothing left out: server, relay, two daemons, VMs and the real Claude Code; `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.conftest import User
from tests.live.makima_chain import DAEMONS, chain

pytestmark = [pytest.mark.live_qemu, pytest.mark.timeout(600)]
_TASK_S = 240.0
_AT_ONCE = {
    "MAKIMA_DAEMON_PROCESS_ISOLATION": "vm",
    "MAKIMA_DAEMON_PROCESS_MAXCONCURRENTTASKS": "1",
}


def test_tasks_are_done_in_vms_of_both_daemons(live_user: User, tmp_path: Path) -> None:
    with chain(tmp_path, live_user.repository(), live_user.environ, _AT_ONCE) as here:
        made = [here.order("run: hostname > where.txt && cat where.txt") for _ in DAEMONS]
        for task in made:
            shown = here.follow(task, deadline_s=_TASK_S)
            assert "done" in shown.splitlines()
            assert f"makima-task-{task[:8]}" in shown
        assert sorted(here.branches()) == sorted(f"makima/task-{task[:8]}" for task in made)
        assert [len(here.done_by(name)) for name in DAEMONS] == [1, 1]
        assert live_user.run("list", "--json").json["data"]["vms"] == []
