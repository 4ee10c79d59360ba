from __future__ import annotations

import pytest

from tachikoma.model.errors import HostError
from tests.unit.cli.stand import CommandLine


def offered(line: CommandLine, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Press Tab behind ``words`` in bash."""
    env = {
        "_TACHIKOMA_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("tachikoma", *words)),
        "COMP_CWORD": str(len(words)),
    }
    with pytest.MonkeyPatch.context() as patch:  # click reads them where it runs
        for name, value in env.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit):
            line(env=env)
    told = capsys.readouterr()
    assert told.err == ""
    return [each.partition(",")[2] for each in told.out.splitlines() if each]


def test_a_first_word_is_a_verb_or_a_branch(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    line.git.add_branch(line.repository, "pretty")
    assert sorted(offered(line, capsys, "pr")) == ["pr", "pretty", "proxy", "prune"]
    assert offered(line, capsys, "sto") == ["stop"]


def test_vms_are_offered_by_branch_and_name_to_those_who_take_one(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    line.git.add_branch(line.repository, "without")
    line("spawn", "feature/x")
    for verb in ("enter", "status", "halt", "stop", "destroy", "logs", "exec"):
        assert offered(line, capsys, verb, "") == ["feature/x", "tachikoma-box-feature-x"]
    assert offered(line, capsys, "enter", "f") == ["feature/x"]
    assert offered(line, capsys, "spawn", "w") == ["without"]
    assert offered(line, capsys, "cp", "f") == ["f", "feature/x:"]
    assert offered(line, capsys, "cp", "a:") == []
    assert offered(line, capsys, "ports", "open", "80", "f") == ["feature/x"]


def test_keys_and_options_are_offered(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert offered(line, capsys, "config", "get", "vm_") == ["vm_cpus", "vm_memory", "vm_display"]
    assert offered(line, capsys, "list", "--j") == ["--json"]
    assert offered(line, capsys, "prune", "--d") == ["--days", "--dry-run"]
    assert offered(line, capsys, "--hyp") == ["--hypervisor"]


def test_whatever_is_wrong_nothing_is_offered_and_nothing_said(
    line: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    line.fail_settings = HostError("broken", hint="mend it")
    assert offered(line, capsys, "enter", "") == []
