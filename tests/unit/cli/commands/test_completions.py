from __future__ import annotations

import pytest

from tests.unit.cli.stand import CommandLine


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_tachikoma(line: CommandLine, shell: str) -> None:
    ran = line("completions", shell)
    assert ran.status == 0
    assert f"_TACHIKOMA_COMPLETE={shell}_complete" in ran.out
    assert line("completions", shell, "--json").data["script"].split() == ran.out.split()


def test_another_shell_is_wrong_usage(line: CommandLine) -> None:
    assert line("completions", "tcsh").status == 2
