from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tachikoma.makima.client.account import Account, account, account_file, keep, server_url
from tachikoma.model.errors import UsageError
from tachikoma.model.errors_fleet import NotLoggedInError

HERE = Account("http://127.0.0.1:8080", "mku_here")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return account_file(tmp_path / "config")


def test_what_is_kept_is_read_again_and_private(file: Path) -> None:
    keep(file, HERE)
    assert account(file, {}) == HERE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert HERE.key not in repr(HERE)


def test_variables_go_before_the_file(file: Path) -> None:
    keep(file, HERE)
    environ = {"MAKIMA_API_URL": "https://m.example/", "MAKIMA_API_KEY": "mku_there"}
    assert account(file, environ) == Account("https://m.example", "mku_there")
    # A daemon's key alone says nothing about people.
    assert account(file, {"MAKIMA_API_KEY": "mkd_x"}) == HERE


def test_the_key_of_one_server_is_not_shown_to_another(file: Path) -> None:
    keep(file, HERE)
    with pytest.raises(NotLoggedInError, match="no key for the makima server https://other"):
        account(file, {}, url="https://other")
    assert account(file, {}, url=HERE.url) == HERE


def test_without_any_it_says_how_to_get_one(file: Path) -> None:
    with pytest.raises(NotLoggedInError) as caught:
        account(file, {})
    assert "makima up" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1}'])
def test_a_damaged_file_is_told(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(NotLoggedInError, match="is damaged"):
        account(file, {})


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("example.org:8080", "http://example.org:8080"),
        ("https://m.example/", "https://m.example"),
        ("wss://m.example/ws/daemon", "https://m.example"),
    ],
)
def test_a_url_is_read_as_people_give_it(said: str, meant: str) -> None:
    assert server_url(said) == meant


@pytest.mark.parametrize("said", ["", "ftp://x", "http://", "https://ada:secret@m.example"])
def test_what_is_no_url_is_refused(said: str) -> None:
    with pytest.raises(UsageError):
        server_url(said)


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://localhost:1", True), ("http://[::1]:1", True), ("http://10.0.0.1", False),
     ("https://m.example", False)],
)  # fmt: skip
def test_it_knows_whether_paths_mean_the_same(url: str, *, here: bool) -> None:
    assert Account(url, "k").is_here is here
