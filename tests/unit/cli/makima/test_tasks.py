from __future__ import annotations

import pytest

from tachikoma.cli.makima.tasks import named, short
from tachikoma.model.errors_fleet import BookError
from tests.unit.cli.makima.records import FIRST, NOW, SECOND, done, running, waiting
from tests.unit.cli.stand import CommandLine

DAY = 24 * 3600.0


def test_a_table_tells_what_each_task_does(line: CommandLine) -> None:
    line.columns = 200
    line.tasks = lambda: [running(), waiting(SECOND, "Later")]
    ran = line("makima", "tasks", tty=True)
    assert ran.status == 0
    head, first, second = ran.out.splitlines()
    assert head.split("  ")[0] == "ID"
    assert first.split() == [
        *("6ba7b810", "Add", "a", "login", "page", "running", "vm", "makima/task-6ba7b810"),
        *("1", "h", "ago", "2", "min", "5", "s", "12k", "$0.42", "Writing", "the", "tests"),
    ]
    assert second.split() == ["6ba7ffff", "Later", "pending", *"--", "1", "h", "ago", *"----"]


def test_it_fits_80_columns(line: CommandLine) -> None:
    line.tasks = lambda: [running(name="x" * 60), done(SECOND)]
    lines = line("makima", "tasks", tty=True).out.splitlines()
    assert len(lines) == 3
    assert max(len(each) for each in lines) <= 80


def test_names_cannot_command_the_terminal(line: CommandLine) -> None:
    line.tasks = lambda: [running(name="\x1b[2Jgone")]
    ran = line("makima", "tasks")
    assert "\x1b" not in ran.out
    assert "\\x1b[2Jgone" in ran.out


def test_what_ended_long_ago_is_told_on_demand(line: CommandLine) -> None:
    line.tasks = lambda: [done(ago_s=2 * DAY), done(SECOND, ago_s=60)]
    ran = line("makima", "tasks")
    assert [row.split()[0] for row in ran.out.splitlines()] == ["ID", "6ba7ffff"]
    assert "1 more task; --all shows all" in ran.err
    assert len(line("makima", "tasks", "--all").out.splitlines()) == 3


def test_a_status_chooses(line: CommandLine) -> None:
    line.tasks = lambda: [running(), done(SECOND, ago_s=9 * DAY)]
    (task,) = line("makima", "tasks", "--status", "done", "--json").data["tasks"]
    assert task["id"] == str(SECOND)
    assert line("makima", "tasks", "--status", "odd").status == 2


def test_json_has_everything(line: CommandLine) -> None:
    line.tasks = lambda: [running()]
    (task,) = line("makima", "tasks", "--json").data["tasks"]
    assert task == {
        "id": str(FIRST),
        "name": "Add a login page",
        "status": "running",
        "isolation": "vm",
        "repository": "https://h.example/box.git",
        "branch": "makima/task-6ba7b810",
        "worktree": "/trees/task-6ba7b810",
        "parent": None,
        "created": NOW - 3600,
        "started": NOW - 125,
        "ended": None,
        "worked_s": 125.0,
        "turns": 3,
        "input_tokens": 11_000,
        "output_tokens": 1_500,
        "cache_read_tokens": 0,
        "cache_creation_tokens": 0,
        "cost_usd": 0.4231,
        "summary": "Writing\nthe tests",
        "error": "",
    }


def test_without_tasks_it_says_so(line: CommandLine) -> None:
    ran = line("makima", "tasks")
    assert (ran.status, ran.out, ran.err) == (0, "", "no task has come yet\n")


def test_a_database_that_cannot_be_read_is_an_error(line: CommandLine) -> None:
    def fails() -> list[object]:
        raise BookError("there is no such database", hint="start a daemon")

    line.tasks = fails  # type: ignore[assignment]  # it gives nothing at all
    assert line("makima", "tasks", "--json").error["code"] == "makima.book"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("6ba7b810", [FIRST]),
        ("6BA7B810-9DAD", [FIRST]),
        (str(SECOND), [SECOND]),
        ("6ba7", [FIRST, SECOND]),
        ("makima/task-6ba7ffff", [SECOND]),
        ("", []),
        ("zz", []),
    ],
)
def test_a_task_is_called_by_its_id_or_branch(name: str, found: list[object]) -> None:
    tasks = [running(), running(SECOND)]
    assert [task.id for task in named(tasks, name)] == found


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "-"), (950, "950"), (1000, "1k"), (999_999, "999k"), (3_400_000, "3.4M")],
)
def test_numbers_of_tokens_are_short(number: int, text: str) -> None:
    assert short(number) == text
