from __future__ import annotations

import pytest

from tachikoma.cli.commands.cp import Place, place
from tests.doubles.local_shell import LocalShell
from tests.unit.cli.stand import CommandLine


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a/b", Place("a/b")),
        ("./a:b", Place("./a:b")),
        ("/a:b", Place("/a:b")),
        ("~/a:b", Place("~/a:b")),
        (":/tmp", Place("/tmp", "")),
        ("feature/x:", Place("", "feature/x")),
        ("feature/x:a:b", Place("a:b", "feature/x")),
    ],
)
def test_a_side_is_a_path_here_or_in_a_vm(text: str, meant: Place) -> None:
    assert place(text) == meant


@pytest.mark.parametrize("sides", [("a", "b"), (":a", "x:b")])
def test_one_side_is_in_a_vm_and_one_here(line: CommandLine, sides: tuple[str, str]) -> None:
    assert line("cp", *sides).status == 2


def test_a_vm_that_rests_is_told(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    assert line("cp", "a", ":b", "--json").error["code"] == "vm.not_running"


@pytest.mark.live
def test_files_go_in_and_out(line: CommandLine) -> None:
    line.cwd = line.home / "box"
    line.cwd.mkdir()
    line.git.add_repository(line.cwd)
    line("spawn")
    line.shell = LocalShell()  # type: ignore[assignment]  # the VM is this machine from here on
    (line.cwd / "a").write_text("hello")
    assert line("cp", "a", ":b").out == "1 file, 5 B\n"
    assert line("cp", ":b", "c", "--json").data == {"files": 1, "size_bytes": 5, "skipped": []}
    assert (line.cwd / "c").read_text() == "hello"
    assert line("cp", "none", ":b", "--json").error["code"] == "cp.failed"
