from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.model.errors import WorktreeError
from tachikoma.vm.provision.plan import Site, make_plan, mounts_for, plan_digest

SITE = Site(
    user="admin",
    hostname="topic",
    branch="topic",
    worktree=Path("/home/u/app-topic"),
    mounts=(("code", Path("/home/u/app-topic")), ("dotgit", Path("/home/u/app/.git"))),
    public_key="ssh-ed25519 AAAA tachikoma",
    identity=("Ada Lovelace", "ada@example.org"),
    proxy_url="http://10.0.2.100:19280",
    claude_flags=(),
)


def sent(site: Site, token: str = "") -> dict[str, Any]:
    """Read the plan as the guest does."""
    decoded: dict[str, Any] = json.loads(make_plan(site, token=token, now=0.0).stdin)
    return decoded


def test_the_digest_can_be_told_from_the_hash_of_the_token() -> None:
    plan = make_plan(SITE, token="one", now=0.0)
    assert plan.token_hash == hashlib.sha256(b"one").hexdigest()
    assert plan.digest == plan_digest(SITE, plan.token_hash)
    assert plan.digest != plan_digest(SITE, "")


@pytest.mark.parametrize(
    "other",
    [
        replace(SITE, branch="x"),
        replace(SITE, hostname="x"),
        replace(SITE, public_key="ssh-ed25519 BBBB x"),
        replace(SITE, identity=None),
        replace(SITE, proxy_url=""),
        replace(SITE, share_name="share"),
        replace(SITE, public_host_keys=True),
        replace(SITE, claude_version="2.1.300"),
        replace(SITE, claude_flags=("--verbose",)),
        replace(SITE, mounts=SITE.mounts[:1]),
    ],
)
def test_the_digest_depends_on_everything_else(other: Site) -> None:
    assert make_plan(other, token="", now=0.0).digest != make_plan(SITE, token="", now=0.0).digest


def test_the_plan_carries_its_digest_and_token() -> None:
    token = "tachikoma-0123456789abcdefghijkl"
    plan = sent(SITE, token)
    assert plan["digest"] == make_plan(SITE, token=token, now=0.0).digest
    assert "export ANTHROPIC_API_KEY=tachikoma-0123456789abcdefghijkl\n" in plan["environment"]
    assert "export ANTHROPIC_BASE_URL=http://10.0.2.100:19280\n" in plan["environment"]
    assert "export NO_PROXY=10.0.2.100\n" in plan["environment"]
    assert plan["first_run"]["customApiKeyResponses"]["approved"] == ["23456789abcdefghijkl"]


def test_the_token_is_in_no_argument_list() -> None:
    assert not any(
        "secret-token" in each for each in make_plan(SITE, token="secret-token", now=0.0).argv
    )


def test_without_the_proxy_there_is_neither_address_nor_key() -> None:
    assert "ANTHROPIC_" not in sent(replace(SITE, proxy_url=""))["environment"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_branch_name_arrives_in_the_login_shell_as_it_is(text: str) -> None:
    words = shlex.split(sent(replace(SITE, branch=text))["environment"])
    assert f"TACHIKOMA_BRANCH={text}" in words


def test_flags_for_claude_become_a_wrapper() -> None:
    wrapper = sent(replace(SITE, claude_flags=("--model", "it's")))["claude_wrapper"]
    assert wrapper == """#!/bin/sh\nexec /usr/local/bin/claude --model 'it'"'"'s' "$@"\n"""


def test_a_linked_worktree_needs_the_git_directory_too() -> None:
    assert mounts_for(Path("/s/app-x"), Path("/s/app/.git")) == (
        ("code", Path("/s/app-x")),
        ("dotgit", Path("/s/app/.git")),
    )


def test_the_main_worktree_holds_its_git_directory() -> None:
    assert mounts_for(Path("/s/app"), Path("/s/app/.git")) == (("code", Path("/s/app")),)


def test_a_directory_is_mounted_before_what_lies_in_it() -> None:
    assert mounts_for(Path("/s/app.git/trees/x"), Path("/s/app.git"))[0][0] == "dotgit"


@pytest.mark.parametrize("path", ["/", "/etc/app", "/home", "/tmp", "/run/user/1000/app", "/usr"])
def test_a_worktree_over_a_directory_of_the_guest_is_refused(path: str) -> None:
    with pytest.raises(WorktreeError):
        mounts_for(Path(path), Path("/s/.git"))


@pytest.mark.parametrize("path", ["/work", "/home/u/app", "/tmp/app", "/Users/u/app", "/root/app"])
def test_other_places_are_fine(path: str) -> None:
    assert mounts_for(Path(path), Path(path) / ".git") == (("code", Path(path)),)
