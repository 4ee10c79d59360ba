from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.model.vm import Endpoint
from tachikoma.proxy import pidfile
from tachikoma.proxy.pidfile import Announcement, marks_of

OURS = Announcement(
    pid=os.getpid(),
    started=process.start_time(os.getpid()) or "",
    host="127.0.0.1",
    port=19280,
    version="1.2.3",
    upstream="https://api.anthropic.com",
    since=1.5,
    salt="salt",
    marks=marks_of({"ANTHROPIC_API_KEY": "secret"}, "salt"),
)


def test_what_is_written_is_read_back_and_begins_with_the_pid(tmp_path: Path) -> None:
    file = tmp_path / "made" / "proxy.pid"
    pidfile.write(file, OURS)
    assert pidfile.read(file) == OURS
    text = file.read_text()
    assert text.splitlines()[0] == str(os.getpid())
    assert "secret" not in text
    assert OURS.endpoint == Endpoint("127.0.0.1", 19280)


@pytest.mark.parametrize(
    "text", ["", "12", "12\n", "x\n{}", "12\n[]", '12\n{"a": 1}', "12\nnull", "ü"]
)
def test_a_file_that_is_not_ours_says_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "proxy.pid"
    file.write_text(text, encoding="utf-8")
    assert pidfile.read(file) is None


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert pidfile.read(tmp_path / "proxy.pid") is None


def test_a_process_is_alive_only_as_the_one_that_was_recorded() -> None:
    assert OURS.alive
    assert not dataclasses.replace(OURS, started="another time").alive
    assert not dataclasses.replace(OURS, pid=2**22 + 1).alive


def test_only_the_record_of_that_process_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "proxy.pid"
    pidfile.write(file, dataclasses.replace(OURS, pid=1))
    pidfile.remove(file)
    assert file.exists()
    pidfile.remove(file, pid=1)
    assert not file.exists()
    pidfile.remove(file)


@pytest.mark.parametrize(
    ("environment", "lacking"),
    [
        ({}, ()),
        ({"ANTHROPIC_API_KEY": ""}, ()),
        ({"ANTHROPIC_API_KEY": "secret"}, ()),
        ({"ANTHROPIC_API_KEY": "renewed"}, ("ANTHROPIC_API_KEY",)),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "x"}, ("CLAUDE_CODE_OAUTH_TOKEN",)),
    ],
)
def test_a_shell_with_other_credentials_is_told(
    environment: dict[str, str], lacking: tuple[str, ...]
) -> None:
    assert OURS.lacks(environment) == lacking


def test_marks_of_the_same_value_differ_by_their_salt() -> None:
    environment = {"ANTHROPIC_API_KEY": "secret"}
    assert marks_of(environment, pidfile.fresh_salt()) != marks_of(
        environment, pidfile.fresh_salt()
    )
