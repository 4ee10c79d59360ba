from __future__ import annotations

import base64
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
from tachikoma.model.vm import Mount
from tachikoma.vm.provision.luggage import Carried, Luggage, Variable
from tachikoma.vm.provision.plan import (
    Site,
    by_depth,
    guest_script,
    make_plan,
    mounts_for,
    plan_digest,
    share_of_claude,
)

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
    project=Path("/home/u/app"),
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
        replace(SITE, only_by_proxy=True),
        replace(SITE, mounts=SITE.mounts[:1]),
        replace(SITE, project=Path("/x")),
        replace(SITE, luggage=Luggage(variables=(Variable("A", "b"),))),
        replace(SITE, luggage=Luggage(settings={"model": "opus"})),
        replace(SITE, luggage=Luggage(mcp_servers={"x": {"command": "x"}})),
        replace(SITE, luggage=Luggage(scripts=(("a.sh", b"true"),))),
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
    assert "export NO_PROXY=10.0.2.100,localhost,127.0.0.1,::1\n" in plan["environment"]
    assert "HTTPS_PROXY" not in plan["environment"]
    assert plan["first_run"]["customApiKeyResponses"]["approved"] == ["23456789abcdefghijkl"]


def test_a_vm_that_reaches_nothing_else_is_sent_through_the_proxy_with_its_token() -> None:
    plan = sent(replace(SITE, only_by_proxy=True), "secret-token")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        line = f"export {name}=http://vm:secret-token@10.0.2.100:19280\n"
        assert line in plan["environment"]
    without = sent(replace(SITE, only_by_proxy=True, proxy_url=""), "")
    assert "HTTPS_PROXY" not in without["environment"]


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


def test_what_is_only_told_does_not_change_the_plan() -> None:
    told = replace(SITE, luggage=Luggage(told=("x",), carried=(Carried("A", "b", "c"),)))
    assert make_plan(told, token="", now=0.0).digest == make_plan(SITE, token="", now=1.0).digest


def test_secrets_travel_in_base64_and_by_themselves() -> None:
    plan = sent(replace(SITE, luggage=Luggage(variables=(Variable("GH_TOKEN", "gho_x'\udcff"),))))
    ((name, encoded),) = plan["secrets"]
    assert (name, base64.b64decode(encoded)) == ("GH_TOKEN", b"gho_x'\xff")
    assert "gho_x" not in json.dumps(plan)
    assert "$GH_TOKEN" in plan["git_config"]
    assert sent(SITE)["git_config"] == ""


def test_without_the_proxy_an_api_key_is_approved_by_its_tail_and_settings_cannot_reroute() -> None:
    key = "sk-ant-api03-0123456789abcdefghij"
    luggage = Luggage(variables=(Variable("ANTHROPIC_API_KEY", key),), api_key=key)
    plan = sent(replace(SITE, proxy_url="", luggage=luggage), "the-token")
    assert plan["first_run"]["customApiKeyResponses"]["approved"] == ["0123456789abcdefghij"]
    assert "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST=1" in plan["environment"]
    assert "the-token" not in json.dumps(plan)


def test_the_settings_that_keep_dialogs_away_win_over_the_users() -> None:
    luggage = Luggage(settings={"model": "opus", "skipWebFetchPreflight": False})
    assert sent(replace(SITE, luggage=luggage))["settings"] == {
        "model": "opus",
        "skipDangerousModePermissionPrompt": True,
        "skipWebFetchPreflight": True,
    }


def test_mcp_servers_go_where_claude_code_reads_them() -> None:
    luggage = Luggage(mcp_servers={"x": {"command": "x"}})
    assert sent(replace(SITE, luggage=luggage))["first_run"]["mcpServers"] == {
        "x": {"command": "x"}
    }
    assert "mcpServers" not in sent(SITE)["first_run"]


def test_shares_of_claude_are_read_only_and_linked_where_claude_code_looks() -> None:
    skills, memory = Path("/h/.claude/skills"), Path("/h/.claude/projects/-s-app/memory")
    mounts = (*SITE.mounts, *((m.tag, m.path) for m in map(share_of_claude, (skills, memory))))
    plan = sent(replace(SITE, mounts=mounts))
    assert [(tag, read_only) for tag, _, read_only in plan["mounts"]] == [
        ("code", False),
        ("dotgit", False),
        ("claude-skills", True),
        ("memory", True),
    ]
    assert plan["links"] == [
        [".claude/skills", str(skills)],
        [".claude/projects/-s-app/memory", str(memory)],
    ]


def test_a_directory_called_memory_is_no_memory() -> None:
    assert share_of_claude(Path("/h/.claude/memory")).tag == "claude-memory"


@given(st.text("abc_-", min_size=1, max_size=80))
def test_every_tag_fits_and_no_two_directories_share_one(name: str) -> None:
    tag = share_of_claude(Path("/h/.claude") / name).tag
    assert len(tag.encode()) <= 36
    assert tag.startswith("claude-")
    assert tag != share_of_claude(Path("/h/.claude") / f"{name}x").tag


def test_a_mount_comes_before_what_lies_in_it_wherever_it_is_from() -> None:
    inner, outer = (
        Mount("code", Path("/h/.claude/skills/x")),
        share_of_claude(Path("/h/.claude/skills")),
    )
    assert by_depth((inner, outer)) == (outer, inner)


def test_flags_for_claude_become_a_wrapper() -> None:
    wrapper = sent(replace(SITE, claude_flags=("--model", "it's")))["claude_wrapper"]
    assert wrapper == """#!/bin/sh\nexec /usr/local/bin/claude --model 'it'"'"'s' "$@"\n"""


def test_a_linked_worktree_needs_the_git_directory_too() -> None:
    assert mounts_for(Path("/s/app-x"), Path("/s/app/.git")) == (
        Mount("code", Path("/s/app-x")),
        Mount("dotgit", Path("/s/app/.git")),
    )


def test_the_main_worktree_holds_its_git_directory() -> None:
    assert mounts_for(Path("/s/app"), Path("/s/app/.git")) == (Mount("code", Path("/s/app")),)


def test_a_directory_is_mounted_before_what_lies_in_it() -> None:
    assert mounts_for(Path("/s/app.git/trees/x"), Path("/s/app.git"))[0].tag == "dotgit"


@pytest.mark.parametrize("path", ["/", "/etc/app", "/home", "/tmp", "/run/user/1000/app", "/usr"])
def test_a_worktree_over_a_directory_of_the_guest_is_refused(path: str) -> None:
    with pytest.raises(WorktreeError):
        mounts_for(Path(path), Path("/s/.git"))


@pytest.mark.parametrize("path", ["/work", "/home/u/app", "/tmp/app", "/Users/u/app", "/root/app"])
def test_other_places_are_fine(path: str) -> None:
    assert mounts_for(Path(path), Path(path) / ".git") == (Mount("code", Path(path)),)


def test_the_program_for_the_guest_is_whole_and_imports_nothing_of_ours() -> None:
    program = guest_script()
    compile(program, "guest", "exec")
    assert "tachikoma.vm" not in program
    assert program.count("def merged(") == program.count("def main(") == 1
