"""Tasks as a book would give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import Figures, Isolation, TaskRecord, TaskStatus, Workspace

FIRST = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
SECOND = UUID("6ba7ffff-9dad-11d1-80b4-00c04fd430c8")
NOW = 1_700_000_000.0


def waiting(task: UUID = FIRST, name: str = "Add a login page") -> TaskRecord:
    order = SpawnTask(
        task_id=task,
        plan=name,
        task_name=name,
        repo_url="https://h.example/box.git",
        depth=0,
        is_orchestrator=False,
    )
    return TaskRecord(order=order, arrival=1, status=TaskStatus.PENDING, created=NOW - 3600)


def running(task: UUID = FIRST, name: str = "Add a login page") -> TaskRecord:
    begun = str(task)[:8]
    return replace(
        waiting(task, name),
        status=TaskStatus.RUNNING,
        started=NOW - 125,
        isolation=Isolation.VM,
        workspace=Workspace(
            repository=Path("/clones/box"),
            worktree=Path(f"/trees/task-{begun}"),
            branch=f"makima/task-{begun}",
            base="9fceb02",
        ),
        figures=Figures(turns=3, input_tokens=11_000, output_tokens=1_500, cost_usd=0.4231),
        summary="Writing\nthe tests",
    )


def done(task: UUID = FIRST, *, ago_s: float = 60.0, name: str = "Add a login page") -> TaskRecord:
    return replace(running(task, name), status=TaskStatus.DONE, ended=NOW - ago_s)
