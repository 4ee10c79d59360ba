from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

import click
import pytest

from tachikoma.cli.app import tree
from tachikoma.cli.line import ALIASES, VERBS
from tachikoma.model.version import VERSION
from tests.unit.cli.stand import CommandLine


def test_every_verb_loads_and_is_called_by_its_name() -> None:
    context = click.Context(tree)
    for verb in VERBS:
        command = tree.get_command(context, verb)
        assert command is not None
        assert command.name == verb
    assert {tree.get_command(context, alias).name for alias in ALIASES} == {  # type: ignore[union-attr]  # every alias has its verb
        "halt",
        "destroy",
        "list",
    }


def test_help_lists_every_verb_with_its_aliases(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line("--help").status == 0
    told = capsys.readouterr().out
    assert all(f"  {verb}" in told for verb in VERBS)
    assert "halt, stop" in told


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_a_verb_tells_the_options_of_every_command(
    line: CommandLine, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert line(verb, "--help").status == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: tachikoma {verb}")
    assert "--json" in told


def every_command() -> list[tuple[str, click.Command]]:
    """Give each command of the tree with the words that call it."""
    found: list[tuple[str, click.Command]] = []
    left: list[tuple[str, click.Command]] = [("tachikoma", tree)]
    while left:
        words, command = left.pop()
        found.append((words, command))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                left.append((f"{words} {name}", inner))
    return sorted(found, key=lambda one: one[0])


@pytest.mark.parametrize(("words", "command"), every_command())
def test_every_command_has_help_with_examples_within_100_columns(
    words: str, command: click.Command
) -> None:
    context = click.Context(
        command,
        info_name=words,
        terminal_width=100,
        max_content_width=100,
        help_option_names=["-h", "--help"],  # a command keeps those that it is first asked with
    )
    told = command.get_help(context)
    assert command.help
    _, _, examples = told.partition("Examples:\n")
    assert examples.strip(), "no examples"
    assert max(len(line) for line in told.splitlines()) <= 100


def test_the_version_is_told_with_json_too(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line("--version", "--json").status == 0
    assert capsys.readouterr().out == f"tachikoma {VERSION}\n"


def test_a_bug_is_told_as_one_and_its_traceback_kept_without_secrets(line: CommandLine) -> None:
    def broken(*_: object) -> int:
        raise ValueError("surprise sk-ant-abcd-0123456789")

    line("spawn")
    line.shell.script = broken
    ran = line("exec", "--", "true")
    kept = line.home / ".config/tachikoma/logs" / f"bug-{int(line.clock.now())}.txt"
    assert ran.status == 1
    assert ran.err == (
        "error: this is a bug in tachikoma: ValueError: surprise sk-ant-abcd[redacted]\n"
        f"hint: please report it, with {kept}\n"
    )
    assert "Traceback" in kept.read_text()
    assert "0123456789" not in kept.read_text()


def test_a_bug_that_cannot_be_kept_is_shown_whole(line: CommandLine) -> None:
    (line.home / ".config").write_text("in the way")
    line.fail_with = RuntimeError("surprise")
    ran = line("list")
    assert ran.status == 1
    assert "RuntimeError: surprise" in ran.err
    assert "  Traceback (most recent call last):" in ran.err


def test_a_bug_has_an_envelope_of_its_own(line: CommandLine) -> None:
    line.fail_with = RuntimeError("surprise")
    assert line("--json", "list").error["code"] == "tachikoma.bug"


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_a_signal_ends_the_work_in_order(
    line: CommandLine, number: signal.Signals, status: int, message: str
) -> None:
    line("spawn")
    line.shell.script = _send(number)
    line.shell.hangs = True
    ran = line("--json", "exec", "--", "sleep", "9")
    assert ran.status == status
    assert ran.error == {
        "code": "cli.interrupted",
        "message": message,
        "hint": "",
        "details": "",
    }
    assert line.shell.ended == ["CancelledError"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interrupted_spawn_says_how_to_go_on(line: CommandLine) -> None:
    line.fail_with = KeyboardInterrupt()
    ran = line("spawn")
    assert ran.status == 130
    assert ran.err == (
        "error: interrupted\nhint: the same command goes on where this one stopped\n"
    )


def test_a_reader_that_goes_away_ends_the_command_without_a_word(line: CommandLine) -> None:
    line("spawn")
    line.fail_with = BrokenPipeError()
    ran = line("list")
    assert (ran.status, ran.out, ran.err) == (128 + signal.SIGPIPE, "", "")


def test_nothing_is_joined_for_a_mistyped_verb(line: CommandLine) -> None:
    line.fail_with = AssertionError("joined")
    assert line("lst").status == 2


def test_the_hypervisor_of_the_command_line_reaches_the_runtime(line: CommandLine) -> None:
    ran = line("--hypervisor", "bochs", "list")
    assert ran.status == 2
    assert ran.err == (
        "error: there is no hypervisor 'bochs'\nhint: one of auto, qemu, tart, synthetic\n"
    )


def _send(
    number: signal.Signals,
) -> Callable[[Sequence[str], Callable[[bytes], None], Callable[[bytes], None]], int]:
    def script(*_: object) -> int:
        os.kill(os.getpid(), number)
        return 0

    return script
