from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.model.errors import SshError
from tachikoma.ssh.remote import LONGEST, on_terminal, without_terminal

SPELLABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
WORDS = st.lists(SPELLABLE, min_size=1)


@given(WORDS, SPELLABLE)
def test_a_posix_shell_splits_the_line_into_the_same_words(words: list[str], where: str) -> None:
    for line in (without_terminal(words, where), on_terminal(words, where)):
        assert shlex.split(line)[-len(words) - 1 :] == [where, *words]


def test_without_a_terminal_a_watcher_is_told_when_sshd_goes() -> None:
    line = shlex.split(without_terminal(["make"], "/w"))
    assert line[:6] == ["exec", "setpriv", "--pdeathsig", "TERM", "bash", "-c"]


def test_no_command_on_a_terminal_is_a_login_shell() -> None:
    line = shlex.split(on_terminal([], "/w"))
    assert line[:3] == ["exec", "bash", "-lc"]
    assert 'exec "${SHELL:-/bin/bash}" -l' in line[3]


def test_what_no_command_line_can_hold_is_refused() -> None:
    for command in (["a\0b"], ["\ud800"], ["x" * LONGEST]):
        with pytest.raises(SshError) as caught:
            without_terminal(command, "")
        assert "standard input" in caught.value.hint
