from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.makima.clone_list import clone_list, name_from, url_of
from tachikoma.makima.settings import AutoClone

HOME = Path("/home/ada")


def test_a_list_may_mix_urls_shorthands_and_tables() -> None:
    found = [
        "https://github.com/user/repo1.git",
        "gitlab:company/group/project",
        {"url": "github:user/repo", "name": "own-name", "branch": "develop", "shallow": True},
        {"url": "git@github.com:acme/box.git"},
    ]
    assert clone_list(found, HOME) == (
        AutoClone(url="https://github.com/user/repo1.git", name="repo1"),
        AutoClone(url="https://gitlab.com/company/group/project.git", name="project"),
        AutoClone(
            url="https://github.com/user/repo.git",
            name="own-name",
            branch="develop",
            shallow=True,
        ),
        AutoClone(url="git@github.com:acme/box.git", name="box"),
    )


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("github:anthropics/claude-code", "https://github.com/anthropics/claude-code.git"),
        ("github:a/b.git", "https://github.com/a/b.git"),
        ("~/src/box", "/home/ada/src/box"),
        ("/srv/box.git", "/srv/box.git"),
        ("file:///srv/box.git", "file:///srv/box.git"),
        ("ssh://git@h.example:22/box", "ssh://git@h.example:22/box"),
        ("h.example:box.git", "h.example:box.git"),
    ],
)
def test_what_git_is_told(written: str, url: str) -> None:
    assert url_of(written, HOME) == url


@pytest.mark.parametrize(
    "written",
    [
        "",
        "box",
        "./box",
        "--upload-pack=touch x",
        "ext::sh -c touch% x",
        "ext::sh",
        "fd::17/x",
        "github:justone",
        "github:a/b c",
        "https://h.example/a b",
        "https://token@h.example/box",
        "https://ada:pw@h.example/box",
        "ssh://git:pw@h.example/box",
        "gopher://h.example/box",
        "/srv/\x1b[2J",
    ],
)
def test_what_is_no_address_or_would_run_something_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        url_of(written, HOME)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/box.git", "box"),
        ("https://h/a/box/", "box"),
        ("git@h:box.git", "box"),
        ("/srv/box/.git", "box"),
    ],
)
def test_a_directory_is_named_as_git_names_it(url: str, name: str) -> None:
    assert name_from(url) == name


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ("github:a/b", "no list"),
        (["github:a/b", 3], "entry 2: it is neither"),
        ([{"name": "x"}], "needs a url"),
        ([{"url": "github:a/b", "depth": 1}], "no key 'depth'"),
        ([{"url": "github:a/b", "shallow": "yes"}], "shallow"),
        ([{"url": "github:a/b", "name": "../b"}], "name is not"),
        ([{"url": "github:a/b", "name": ".git"}], "name is not"),
        ([{"url": "github:a/b", "branch": "-x"}], "branch is not"),
        (["https://h.example/.."], "give a name"),
        (["github:a/Box", "gitlab:b/box"], "both go to the directory 'box'"),
    ],
)
def test_a_list_that_cannot_be_carried_out_says_why(found: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        clone_list(found, HOME)
