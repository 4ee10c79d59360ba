"""Task records <-> rows of the book (pure)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import (
    Figures,
    Isolation,
    Position,
    Skip,
    TaskRecord,
    TaskStatus,
    Verdict,
    Workspace,
)
from tachikoma.makima.wire import decode_command

KEY = ("id", "arrival")
CHANGING = (
    *("status", "created", "started", "ended", "isolation"),
    *("repository", "worktree", "branch", "base", "session", "stdout", "stderr"),
    *("turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"),
    *("cost_usd", "summary", "result", "verdict", "error", "agent_over"),
    *("paused_at", "paused_s", "tool_key", "skips"),
)
"""The columns of ``tasks`` beside its key, in the order of `to_row`."""


class NotARecordError(ValueError):
    """A row holds what no tachikoma wrote; says what."""


def to_row(record: TaskRecord) -> tuple[object, ...]:
    """Give the values of the columns `CHANGING`."""
    place, verdict = record.workspace, record.verdict
    return (
        record.status.value,
        record.created,
        record.started,
        record.ended,
        None if record.isolation is None else record.isolation.value,
        # Bytes: the name of a directory need not be Unicode.
        None if place is None else os.fsencode(place.repository),
        None if place is None else os.fsencode(place.worktree),
        None if place is None else place.branch,
        None if place is None else place.base,
        record.session,
        *astuple(record.position),
        *astuple(record.figures),
        _sound(record.summary),
        None if record.result is None else _sound(record.result),
        None if verdict is None else verdict.status.value,
        None if verdict is None else _sound(verdict.error),
        record.agent_over,
        record.paused_at,
        record.paused_s,
        record.tool_key,
        json.dumps([[str(skip.subtask), skip.reason] for skip in record.skips]),
    )


def from_row(arrival: int, order: str, row: Sequence[Any]) -> TaskRecord:
    """Give the record that `to_row` made ``row`` of, and whose order was written as ``order``.

    Raises:
        NotARecordError: nothing of ours wrote that.
    """
    said = decode_command(order)
    if not isinstance(said, SpawnTask):
        raise NotARecordError(f"the order of task {arrival} cannot be read")
    status, created, started, ended, isolation, *rest = row
    repository, worktree, branch, base, session, *rest = rest
    stdout, stderr, turns, given, made, read, kept, cost, *rest = rest
    summary, result, verdict, error, agent_over, paused_at, paused_s, tool_key, skips = rest
    try:
        return TaskRecord(
            order=said,
            arrival=arrival,
            status=TaskStatus(status),
            created=created,
            started=started,
            ended=ended,
            isolation=None if isolation is None else Isolation(isolation),
            workspace=None
            if repository is None
            else Workspace(_path(repository), _path(worktree), branch, base),
            session=session,
            position=Position(stdout, stderr),
            figures=Figures(turns, given, made, read, kept, cost),
            summary=summary,
            result=result,
            verdict=None if verdict is None else Verdict(TaskStatus(verdict), error),
            agent_over=bool(agent_over),
            paused_at=paused_at,
            paused_s=paused_s,
            tool_key=tool_key,
            skips=tuple(Skip(UUID(subtask), reason) for subtask, reason in json.loads(skips)),
        )
    except (ValueError, TypeError) as fault:
        raise NotARecordError(f"task {said.task_id}: {fault}") from fault


def _path(raw: bytes) -> Path:
    return Path(os.fsdecode(raw))


def _sound(text: str) -> str:
    """Halves of surrogate pairs cannot be stored: each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
