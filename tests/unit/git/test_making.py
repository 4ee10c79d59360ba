from __future__ import annotations

from pathlib import Path

from tachikoma.git.making import Start
from tachikoma.git.port import Origin

PATH = Path("/w/repo-x")
COMMIT = "251a78777bdaa2302d10c0601b173a78a08bda7d"


def test_a_local_branch_is_checked_out() -> None:
    assert Start(Origin.FROM_LOCAL, "x", COMMIT).arguments("x", PATH) == ["/w/repo-x", "x"]


def test_a_remote_branch_is_tracked_by_its_full_name() -> None:
    assert Start(Origin.FROM_REMOTE, "origin/x", COMMIT).arguments("x", PATH) == [
        *["--track", "-b", "x", "/w/repo-x"],
        "refs/remotes/origin/x",
    ]


def test_a_new_branch_starts_at_a_commit_and_tracks_nothing() -> None:
    assert Start(Origin.FROM_HEAD, COMMIT, COMMIT).arguments("x", PATH) == [
        *["--no-track", "-b", "x", "/w/repo-x"],
        COMMIT,
    ]
