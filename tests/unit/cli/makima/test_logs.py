from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from tachikoma.makima.record import TaskRecord
from tachikoma.makima.tasklog import TaskLog, task_log
from tachikoma.makima.tasks.port import Line
from tests.unit.cli.makima.records import FIRST, SECOND, done, running
from tests.unit.cli.stand import CommandLine
from tests.unit.cli.test_completing import offered

TEXT = '{"type": "assistant", "message": {"content": [{"type": "text", "text": "%s"}]}}'


@pytest.fixture
def log(line: CommandLine) -> Callable[[UUID], TaskLog]:
    line.tasks = lambda: [done(), running(SECOND)]
    database = line.home / ".makima" / "daemon.db"
    return lambda task: TaskLog(task_log(database, task))


def test_it_shows_what_an_agent_said(line: CommandLine, log: Callable[[UUID], TaskLog]) -> None:
    log(FIRST).add([Line(TEXT % "one"), Line(TEXT % "two"), Line("oops", stderr=True)])
    ran = line("makima", "logs", "6ba7b8")
    assert (ran.status, ran.out) == (0, "one\ntwo\nstderr: oops\n")
    assert line("makima", "logs", "makima/task-6ba7b810", "-n", "1").out == "stderr: oops\n"


def test_raw_lines_go_into_a_pipe_as_they_are(
    line: CommandLine, log: Callable[[UUID], TaskLog]
) -> None:
    log(FIRST).add([Line(TEXT % "\x7f")])
    assert line("makima", "logs", "6ba7b810", "--raw").out == TEXT % "\x7f" + "\n"
    assert "\x7f" not in line("makima", "logs", "6ba7b810", "--raw", tty=True).out


def test_json_has_the_lines_and_the_file(line: CommandLine, log: Callable[[UUID], TaskLog]) -> None:
    log(FIRST).add([Line(TEXT % "one"), Line(TEXT % "two")])
    data = line("makima", "logs", "6ba7b810", "-n", "1", "--json").data
    assert data["id"] == str(FIRST)
    assert Path(data["path"]).name == f"task-{FIRST}.log"
    assert [json.loads(each)["type"] for each in data["lines"]] == ["assistant"]
    assert line("makima", "logs", "6ba7b810", "-f", "--json").status == 2


def test_a_name_that_fits_none_or_several_is_an_error(
    line: CommandLine, log: Callable[[UUID], TaskLog]
) -> None:
    assert line("makima", "logs", "6ba7").status == 1
    error = line("makima", "logs", "6ba7", "--json").error
    assert error["code"] == "makima.no_task"
    assert error["message"] == "2 tasks begin with '6ba7'"
    assert str(SECOND) in error["hint"]
    assert "no task 'zz'" in line("makima", "logs", "zz").err


def test_a_task_that_has_said_nothing_is_told(
    line: CommandLine, log: Callable[[UUID], TaskLog]
) -> None:
    ran = line("makima", "logs", "6ba7b810")
    assert (ran.status, ran.out, ran.err) == (0, "", "its agent has said nothing yet\n")


def test_following_ends_with_the_task(line: CommandLine, log: Callable[[UUID], TaskLog]) -> None:
    looks: list[int] = []

    def tasks() -> list[TaskRecord]:
        looks.append(1)
        if len(looks) < 4:
            log(SECOND).add([Line(TEXT % f"look {len(looks)}")])
            return [running(SECOND)]
        log(SECOND).add([Line(TEXT % "last")])
        return [done(SECOND)]

    line.tasks = tasks
    ran = line("makima", "logs", "6ba7ffff", "-f")
    assert ran.out.splitlines() == ["look 1", "look 2", "look 3", "last"]
    assert ran.err == "the task has ended: done\n"


def test_following_a_task_that_has_ended_shows_it_and_ends(
    line: CommandLine, log: Callable[[UUID], TaskLog]
) -> None:
    log(FIRST).add([Line(TEXT % "one")])
    ran = line("makima", "logs", "6ba7b810", "-f")
    assert (ran.out, ran.err) == ("one\n", "the task has ended: done\n")


def test_the_shell_completes_ids(
    line: CommandLine, log: Callable[[UUID], TaskLog], capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(line, capsys, "makima", "logs", "6ba7f") == ["6ba7ffff"]
