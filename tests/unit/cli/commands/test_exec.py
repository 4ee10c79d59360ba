from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.unit.cli.stand import CommandLine

Write = Callable[[bytes], None]


def _says(out: bytes, err: bytes, status: int) -> Callable[[Sequence[str], Write, Write], int]:
    def script(_: Sequence[str], to_out: Write, to_err: Write) -> int:
        to_out(out)
        to_err(err)
        return status

    return script


def test_arguments_arrive_exactly_as_they_are(line: CommandLine) -> None:
    line("spawn")
    argv = ("printf", "%s", "a b", "", "$HOME", "--", "--json", "-v", "'\"", "ünï")
    assert line("exec", "--", *argv).status == 0
    assert line.shell.ran == [(argv, "/src/box", None)]


def test_both_outputs_go_on_as_bytes_and_the_status_is_the_commands(line: CommandLine) -> None:
    line("spawn")
    line.shell.script = _says(b"out\xff", b"err\n", 42)
    ran = line("exec", "--", "x")
    assert (ran.status, ran.out, ran.err) == (42, "out\udcff", "err\n")


def test_standard_input_is_forwarded(line: CommandLine) -> None:
    line("spawn")
    line.stdin = 7
    line("exec", "--", "cat")
    assert line.shell.ran[0][2] == 7


def test_a_vm_is_named_by_its_branch_or_its_name(line: CommandLine) -> None:
    line("spawn", "feature/x")
    line("exec", "feature/x", "--", "ls")
    line("exec", "tachikoma-box-feature-x", "--", "ls")
    assert [directory for _, directory, _ in line.shell.ran] == ["/src/box-feature-x"] * 2


def test_with_a_terminal_the_command_gets_one(line: CommandLine) -> None:
    line("spawn")
    ran = line("exec", "--", "top", "-d", "1", tty=True)
    assert ran.became == ("ssh", "-t", "admin@tachikoma-box-main", "/src/box", "top", "-d", "1")
    assert line.shell.ran == []


def test_json_collects_outputs_and_status(line: CommandLine) -> None:
    line("spawn")
    line.shell.script = _says(b"out\xff", b"err\n", 3)
    ran = line("exec", "--json", "--", "x")
    assert ran.status == 3
    assert ran.data == {
        "name": "tachikoma-box-main",
        "status": 3,
        "stdout": "out\ufffd",
        "stderr": "err\n",
    }


def test_without_a_command_it_says_where_one_belongs(line: CommandLine) -> None:
    ran = line("exec", "ls")
    assert ran.status == 2
    assert "behind `--`" in ran.err


def test_a_vm_that_does_not_run_is_told_with_what_starts_it(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    ran = line("exec", "--", "ls")
    assert ran.status == 1
    assert "tachikoma spawn" in ran.err
