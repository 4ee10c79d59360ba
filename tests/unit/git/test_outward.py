from __future__ import annotations

import pytest

from tachikoma.git.outward import Outward, check, unreachable
from tachikoma.host.process import Completed
from tachikoma.model.errors import GitError


def test_a_refusal_shows_no_password() -> None:
    url = "https://me:secret@example.org/x"
    said = f"fatal: unable to access '{url}/': 403".encode()
    error = unreachable(url, Completed(("git",), 128, b"", said))
    assert error.message == "https://example.org/x: unable to access 'https://example.org/x/': 403"
    assert "secret" not in error.details
    assert "SSH agent" in error.hint


@pytest.mark.parametrize("url", ["ext::sh -c evil", "git://h/x", "-o", "relative/path", ""])
def test_only_what_carries_data_is_cloned_from(url: str) -> None:
    with pytest.raises(GitError, match="does not clone"):
        check(url)
    for plain in ("https://h/x", "git@h:x", "/srv/x", "file:///srv/x", "ssh://h/x"):
        check(plain)


@pytest.mark.live
async def test_git_gets_the_users_ways_of_logging_in_and_asks_nothing() -> None:
    outward = Outward(environ={"GH_TOKEN": "t", "AWS_SECRET": "no"})
    done = await outward.git(["-c", "alias.show-me=!env", "show-me"])
    assert "GH_TOKEN=t" in done.text
    assert "AWS_SECRET" not in done.text
    assert "GIT_TERMINAL_PROMPT=0" in done.text
