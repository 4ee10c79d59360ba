from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from uuid import UUID

from tachikoma.makima.commands import SpawnTask
from tachikoma.makima.record import Figures, TaskRecord, TaskStatus
from tachikoma.makima.tasks.memory import answer, result
from tachikoma.makima.tasks.port import Line
from tachikoma.makima.tasks.reading import Reading, Seen

ORDER = SpawnTask(task_id=UUID(int=1), plan="Build it", depth=0, is_orchestrator=False)
RECORD = TaskRecord(order=ORDER, arrival=1, status=TaskStatus.RUNNING, created=0.0)


def test_a_turn_tells_the_conversation_the_progress_and_the_result() -> None:
    reading = Reading(RECORD)
    for text in answer("All tests pass"):
        reading.read(Line(text))
    assert reading.seen == Seen("s-1", Figures(turns=1), "All tests pass", "")


def test_a_turn_that_failed_says_why_and_a_later_good_one_forgets_it() -> None:
    reading = Reading(RECORD)
    reading.read(Line(result(is_error=True, result="API Error: 500")))
    assert reading.seen.result == "API Error: 500"
    reading.read(Line(result()))
    assert reading.seen.result == ""


def test_a_line_in_pieces_is_understood_as_a_whole() -> None:
    whole = result(result="x" * 1000)
    reading = Reading(RECORD)
    for start in range(0, len(whole), 100):
        assert reading.seen.result is None
        reading.read(Line(whole[start : start + 100], partial=start + 100 < len(whole)))
    assert reading.seen.result == ""


def test_a_line_that_is_too_long_to_keep_tells_nothing_and_harms_nothing() -> None:
    reading = Reading(RECORD)
    for _ in range(40):
        reading.read(Line("x" * (1 << 20), partial=True))
    reading.read(Line("x"))
    reading.read(Line(result()))
    assert reading.seen.result == ""


def test_figures_go_on_from_the_record() -> None:
    reading = Reading(replace(RECORD, figures=Figures(turns=2, cost_usd=0.5), session="s-0"))
    reading.read(Line(result(total_cost_usd=0.75)))
    assert reading.seen.figures == Figures(turns=3, cost_usd=0.75)
    assert reading.seen.session == "s-0"


def test_paths_are_told_from_the_worktree_and_complaints_kept_apart() -> None:
    reading = Reading(RECORD)
    used = {"type": "tool_use", "name": "Edit", "input": {"file_path": "/w/src/a.py"}}
    line = json.dumps({"type": "assistant", "message": {"content": [used]}})
    reading.read(Line(line), directory=PurePosixPath("/w"))
    reading.read(Line("no such model", stderr=True))
    reading.read(Line(" ", stderr=True))
    assert (reading.seen.summary, reading.last_words) == ("Edit src/a.py", "no such model")
