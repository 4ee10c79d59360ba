from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.git.invocation import ENVIRONMENT, git_argv, refuse, worst
from tachikoma.model.errors import DiskFullError, GitError, NotARepositoryError, TachikomaError


def said(text: str) -> TachikomaError:
    with pytest.raises(TachikomaError) as caught:
        refuse(["worktree", "add", "a b"], text, Path("/x y"))
    return caught.value


def test_every_call_answers_the_keys_that_name_programs() -> None:
    argv = git_argv(["status"], git_dir=Path("/r/.git"))
    settings = {argv[i + 1] for i, part in enumerate(argv) if part == "-c"}
    assert {
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.sshCommand=false",
        "diff.external=",
        "credential.helper=",
        "protocol.ext.allow=never",
    } <= settings
    assert argv[0] == "git"
    assert argv[-2:] == ["--git-dir=/r/.git", "status"]


def test_no_call_asks_or_fetches() -> None:
    assert ENVIRONMENT["GIT_TERMINAL_PROMPT"] == "0"
    assert ENVIRONMENT["GIT_ALLOW_PROTOCOL"] == "none"


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_told_as_such(words: str) -> None:
    error = said(f"error: unable to write file README\nfatal: sha1: {words}")
    assert type(error) is DiskFullError
    assert error.hint


def test_no_repository_is_told_as_such() -> None:
    error = said("fatal: not a git repository (or any of the parent directories): .git")
    assert type(error) is NotARepositoryError
    assert error.message == "/x y is in no git repository"


def test_dubious_ownership_comes_with_gits_own_advice() -> None:
    advice = "git config --global --add safe.directory '/x y'"
    error = said(f"fatal: detected dubious ownership in repository\n\n\t{advice}\n")
    assert type(error) is NotARepositoryError
    assert error.hint == f"if you trust it: {advice}"


def test_anything_else_keeps_gits_words_and_the_command() -> None:
    error = said("Preparing worktree\nfatal: something odd\nhint: more")
    assert type(error) is GitError
    assert error.message == "git says: something odd"
    assert error.details.startswith("$ git worktree add 'a b'\nPreparing")


def test_the_worst_line_is_the_first_that_is_an_error() -> None:
    assert worst("warning: a\nerror: b\nfatal: c") == "b"
    assert worst("a\nb") == "b"
