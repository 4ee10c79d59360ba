from __future__ import annotations

import pytest

from tachikoma.host import environ


def test_a_child_gets_no_credential_and_no_setting_of_another_tool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ANTHROPIC_API_KEY", "GIT_DIR", "LD_PRELOAD", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    child = environ.for_child({"GIT_TERMINAL_PROMPT": "0"})
    assert not {"ANTHROPIC_API_KEY", "GIT_DIR", "LD_PRELOAD", "PYTHONPATH"} & set(child)
    assert child["SSH_AUTH_SOCK"] == "/agent"
    assert child["GIT_TERMINAL_PROMPT"] == "0"
    assert (child["LANG"], child["LC_ALL"]) == ("C.UTF-8", "C.UTF-8")


def test_what_is_named_wins_over_what_is_handed_on() -> None:
    assert environ.for_child({"PATH": "/bin", "LANG": "x"})["PATH"] == "/bin"
    assert environ.for_child({"LANG": "x"})["LANG"] == "x"


def test_the_current_environment_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "1")
    copy = environ.current()
    assert copy["SOMETHING"] == "1"
    copy["SOMETHING"] = "2"
    assert environ.current()["SOMETHING"] == "1"
