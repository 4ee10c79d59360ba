"""The commands; what a session is and becomes is in the tests of the sessions themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tachikoma.supervisor import multiplexer
from tests.unit.cli.stand import CommandLine

VM = "tachikoma-box-main"


def script(
    said: dict[str, bytes],
) -> Callable[[Sequence[str], Callable[[bytes], None], Callable[[bytes], None]], int]:
    """Have the scripts in a VM say what ``said`` has under their verbs."""

    def run(
        argv: Sequence[str], out: Callable[[bytes], None], _err: Callable[[bytes], None]
    ) -> int:
        out(said.get(argv[3], b"") if len(argv) > 3 else b"")
        return 0

    return run


@pytest.fixture
def working(line: CommandLine) -> CommandLine:
    """A session ``main`` at work."""
    assert line("daemon", "bg", "main").status == 0
    line.shell.script = script({"list": b"main 1700000000 0 0 \n", "show": b"one\n\x1b[2Jtwo\n"})
    return line


def test_bg_comes_back_with_what_to_do_next(line: CommandLine) -> None:
    ran = line("daemon", "bg", "main", "write", "tests", "--name", "night")
    assert ran.out == (
        f"night  started in {VM}\n"
        "  attach  tachikoma daemon attach night   (Ctrl-B d detaches)\n"
        "  logs    tachikoma daemon logs night -f\n"
        "  end     tachikoma daemon kill night\n"
    )
    command, directory, _ = line.shell.ran[-1]
    claude = multiplexer.claude(permission_mode=None, prompt="write tests")
    assert command == multiplexer.start_command("night", claude)
    assert directory == "/src/box"


def test_words_with_a_space_in_the_place_of_the_branch_are_the_prompt(line: CommandLine) -> None:
    ran = line("daemon", "bg", "fix it", "now", "--permission-mode", "plan", "--json")
    assert (ran.data["branch"], ran.data["name"], ran.data["state"]) == ("main", "main", "running")
    command = line.shell.ran[-1][0]
    assert command[5:] == ("claude", "--permission-mode", "plan", "--", "fix it now")


def test_attach_becomes_ssh_on_a_terminal_and_prints_it_elsewhere(working: CommandLine) -> None:
    became = working("daemon", "attach", tty=True).became
    command = multiplexer.attach_command("main")
    assert became == ("ssh", "-t", f"admin@{VM}", "/src/box", *command)
    ran = working("daemon", "attach", "ma", "--json")
    assert (ran.became, ran.data["ssh"]) == (None, list(became))
    assert working("daemon", "attach").out.startswith("ssh -t ")
    assert working("daemon", "attach", "other").status == 1


def test_logs_are_shown_without_what_commands_a_terminal(working: CommandLine) -> None:
    assert working("daemon", "logs", "main").out == "one\n\\x1b[2Jtwo\n"
    assert working("daemon", "logs", "main", "-n", "1").out == "\\x1b[2Jtwo\n"
    assert working("daemon", "logs", "main", "--json").data["lines"] == ["one", "\x1b[2Jtwo"]
    assert working("daemon", "logs", "main", "-f", "--json").status == 2


def test_following_ends_with_the_session(working: CommandLine) -> None:
    frames = b"one\n\x1e\none\ntw\x1b\n\x1e\n\x1e\n"
    working.shell.script = script({"list": b"main 1700000000 0 0 \n", "follow": frames})
    ran = working("daemon", "logs", "main", "-f")
    assert (ran.status, ran.out, ran.err) == (0, "one\ntw\\x1b\n", "main has ended\n")


def test_without_a_session_the_logs_are_the_supervisors(line: CommandLine) -> None:
    ran = line("daemon", "logs")
    assert (ran.status, ran.err) == (0, "the supervisor has said nothing yet\n")
    logs = line.home / ".config/tachikoma/logs"
    logs.mkdir(parents=True)
    (logs / "daemon.log.1").write_text("one\ntwo\n")
    (logs / "daemon.log").write_text("three\x1b\n")
    assert line("daemon", "logs", "-n", "2").out == "two\nthree\\x1b\n"
    assert line("daemon", "logs", "-n", "1", "--json").data["lines"] == ["three\x1b"]


def test_kill_ends_a_session_or_forgets_it(working: CommandLine) -> None:
    working.shell.script = script({})
    assert working("daemon", "kill", "main").out == "main is forgotten\n"
    assert working("daemon", "kill", "main").status == 1
    working("daemon", "bg", "main")
    working.shell.script = script({"list": b"main 1700000000 0 0 \n"})
    assert working("daemon", "kill", "main").out == "main has been ended\n"
    assert working.shell.ran[-1][0] == multiplexer.kill_command("main")


def test_status_has_a_table_of_the_sessions(working: CommandLine) -> None:
    working.shell.script = script({"list": b"main 1700000000 0 2 \n"})
    head, row = working("daemon").out.splitlines()[-2:]
    assert head.split() == ["NAME", "STATE", "BRANCH", "STARTED", "VM", "NOTE"]
    assert row.split() == ["main", "running", "main", "now", VM, "somebody", "is", "attached"]
    (told,) = working("daemon", "ps", "--json").data["sessions"]
    assert (told["name"], told["vm"], told["attached"]) == ("main", VM, 2)
