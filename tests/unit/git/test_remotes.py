from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.git.port import Remote
from tachikoma.git.remotes import (
    Slug,
    check,
    decode_remote,
    local_path,
    shown,
    slug_of,
)
from tachikoma.model.errors import PushFailed

ROOT = Path("/src/app")


def told(*pairs: tuple[str, str]) -> str:
    return "".join(f"{key}\n{value}\0" for key, value in pairs)


@pytest.mark.parametrize(
    ("pairs", "remote"),
    [
        ((), None),
        ((("remote.hub.url", "git@h:a/b"),), Remote("hub", "git@h:a/b")),
        ((("remote.a.url", "u"), ("remote.b.url", "v")), None),
        ((("remote.a.url", "u"), ("remote.origin.url", "h:v")), Remote("origin", "h:v")),
        (
            (("remote.origin.url", "https://h/v"), ("remote.origin.pushurl", "ssh://h/w")),
            Remote("origin", "ssh://h/w"),
        ),
        ((("remote.origin.url", "../hub.git"),), Remote("origin", "/src/hub.git")),
        ((("remote.a.b.url", "ext::sh -c x"),), Remote("a.b", "ext::sh -c x")),
    ],
)
def test_the_remote_is_origin_or_the_only_one(
    pairs: tuple[tuple[str, str], ...], remote: Remote | None
) -> None:
    assert decode_remote(told(*pairs), ROOT) == remote


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/o/r.git",
        "ssh://git@h:22/o/r",
        "git@github.com:o/r.git",
        "/src/hub.git",
        "file:///src/hub.git",
    ],
)
def test_what_only_carries_data_is_a_remote(url: str) -> None:
    check(Remote("origin", url))


@pytest.mark.parametrize(
    "url", ["ext::sh -c true", "fd::17", "-oProxyCommand=x:y", "", "git://h/r", "https://h/a b"]
)
def test_what_could_run_a_program_is_no_remote(url: str) -> None:
    with pytest.raises(PushFailed):
        check(Remote("origin", url))


@given(url=st.text(max_size=40) | st.builds("{}::{}".format, st.text(max_size=5), st.text()))
def test_a_url_that_names_a_transport_of_its_own_is_never_a_remote(url: str) -> None:
    with contextlib.suppress(PushFailed):
        check(Remote("origin", url))
        assert url.startswith(("/", "http", "ssh://", "file://")) or "::" not in url
        assert not url.startswith("-")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/box.git",
        "https://user:pass@github.com/acme/box",
        "git@github.com:acme/box.git",
        "ssh://git@github.com/acme/box.git",
        "ssh://git@github.com:22/acme/box/",
    ],
)
def test_the_repository_of_a_forge_is_understood(url: str) -> None:
    assert slug_of(Remote("origin", url)) == Slug("github.com", "acme", "box")
    assert str(Slug("h", "o", "n")) == "h/o/n"


def test_a_path_is_of_no_forge_and_is_here() -> None:
    assert slug_of(Remote("origin", "/src/hub.git")) is None
    assert local_path(Remote("origin", "/src/hub.git")) == Path("/src/hub.git")
    assert local_path(Remote("origin", "file:///src/hub.git")) == Path("/src/hub.git")
    assert local_path(Remote("origin", "https://h/o/r")) is None


def test_a_password_is_not_shown() -> None:
    assert shown("https://me:secret@h/o/r") == "https://h/o/r"
    assert shown("git@h:o/r") == "git@h:o/r"
