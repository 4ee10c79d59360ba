from __future__ import annotations

from pathlib import Path

from tachikoma.supervisor.workers import Options, environment


def test_every_option_is_in_the_environment_of_a_worker() -> None:
    options = Options(
        directory=Path("/src"),
        spawn_mode="worktree",
        capacity=7,
        permission_mode="plan",
        sandbox=True,
        name="night",
    )
    assert environment(options) == {
        "DAEMON_WORKER_DIR": "/src",
        "DAEMON_WORKER_NAME": "night",
        "DAEMON_WORKER_SPAWN_MODE": "worktree",
        "DAEMON_WORKER_CAPACITY": "7",
        "DAEMON_WORKER_PERMISSION": "plan",
        "DAEMON_WORKER_SANDBOX": "1",
        "DAEMON_WORKER_CREATE_SESSION": "1",
        "CLAUDE_CODE_SESSION_KIND": "daemon-worker",
    }


def test_what_nobody_said_has_a_default_or_is_absent() -> None:
    assert environment(Options(directory=Path("/src"))) == {
        "DAEMON_WORKER_DIR": "/src",
        "DAEMON_WORKER_SPAWN_MODE": "same-dir",
        "DAEMON_WORKER_CAPACITY": "4",
        "DAEMON_WORKER_SANDBOX": "0",
        "DAEMON_WORKER_CREATE_SESSION": "1",
        "CLAUDE_CODE_SESSION_KIND": "daemon-worker",
    }
