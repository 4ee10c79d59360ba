from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tachikoma.git.github import GitHub, decode_urls
from tachikoma.git.port import PullRequest, Remote
from tachikoma.model.errors import PullRequestFailed

HUB = Remote("origin", "git@github.com:acme/box.git")
ASKED = PullRequest("feature/x", "main", "--title of it", "because\n")
GH = """\
#!/bin/sh
printf '%s\\n' "$PWD" "$GH_TOKEN" "$@" >> "{log}"
case "$2" in
list) cat "{open}" 2>/dev/null || echo '[]' ;;
create) cat > "{body}"; {then} ;;
esac
"""


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called gh before the real one; gives the directory with what it was told."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def plays(gh: Path, then: str) -> None:
    script = GH.format(log=gh / "log", open=gh / "open", body=gh / "body", then=then)
    (gh / "bin" / "gh").write_text(script)
    (gh / "bin" / "gh").chmod(0o755)


def test_the_url_of_an_open_one_is_read() -> None:
    assert decode_urls(b'[{"url": "https://h/1"}]') == "https://h/1"
    assert decode_urls(b"[]") == decode_urls(b"oops") == decode_urls(b'{"a": 1}') == ""


def test_by_hand_is_a_link_that_opens_the_form() -> None:
    github = GitHub(environ={})
    assert github.by_hand(HUB, "feature/x y", "main") == (
        "open https://github.com/acme/box/compare/main...feature/x%20y?expand=1"
    )
    assert github.by_hand(Remote("origin", "/hub.git"), "x", "main") == (
        "open it where /hub.git is looked at: from x to main"
    )


@pytest.mark.live
async def test_gh_opens_it_from_nowhere_and_gets_every_text_as_it_is(gh: Path) -> None:
    plays(gh, "echo Creating; echo https://github.com/acme/box/pull/7")
    github = GitHub(environ={"GH_TOKEN": "token", "SECRET": "no"})
    assert await github.existing(HUB, "feature/x") == ""
    assert await github.open(HUB, ASKED) == "https://github.com/acme/box/pull/7"
    told = (gh / "log").read_text().splitlines()
    assert told[-10:] == [
        *("/", "token", "pr", "create", "--repo", "github.com/acme/box", "--head=feature/x"),
        *("--base=main", "--title=--title of it", "--body-file=-"),
    ]
    assert (gh / "body").read_text() == "because\n"


@pytest.mark.live
async def test_one_that_is_open_is_found(gh: Path) -> None:
    plays(gh, "exit 9")
    (gh / "open").write_text(json.dumps([{"url": "https://github.com/acme/box/pull/3"}]))
    found = await GitHub(environ={}).existing(HUB, "x")
    assert found == "https://github.com/acme/box/pull/3"


@pytest.mark.live
async def test_what_gh_refuses_is_told_with_the_way_by_hand(gh: Path) -> None:
    plays(gh, "echo 'not logged in' >&2; exit 4")
    with pytest.raises(PullRequestFailed) as caught:
        await GitHub(environ={}).open(HUB, ASKED)
    assert caught.value.details == "not logged in"
    assert "compare/main...feature/x" in caught.value.hint


@pytest.mark.live
async def test_without_gh_nothing_is_opened(gh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(gh / "bin"))
    assert await GitHub(environ={}).open(HUB, ASKED) == ""
    assert await GitHub(environ={}).open(Remote("origin", "/hub.git"), ASKED) == ""
