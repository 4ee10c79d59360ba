"""All that provisioning puts into a VM, looked at from inside one VM by a user who has it all."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import User
from tests.live.findings import memory_of_the_vm
from tests.live.terminal import COLUMNS, terminal

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/life"
GH_TOKEN = "gho_0123456789abcdefghijklmnopqrstuvwxyz"
TICKETS = 'a ticket\'s $HOME `id` \\ "token"'
MEMORY = "The deploy key of this project is kept by Ada."
SERVER = """\
import json, os, sys
assert os.environ["TICKETS_TOKEN"] and "sk-ant-" not in str(os.environ)
for line in sys.stdin:
    asked = json.loads(line)
    result = {"tools": []}
    if asked["method"] == "initialize":
        version = asked["params"]["protocolVersion"]
        server = {"name": "tickets", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
DIALOGS = ("trust", "theme", "log in", "login", "API key", "Yes, I accept", "Allow external")


@dataclass(frozen=True, slots=True)
class Host:
    """A user's home with a Claude Code that has been used for a while."""

    user: User
    repository: Path
    script: Path

    @property
    def claude(self) -> Path:
        return self.user.home / ".claude"

    def configure(self, text: str) -> None:
        file = self.user.home / ".config/tachikoma/config.toml"
        kept = file.read_text().partition("# this test\n")[0]
        file.write_text(f"{kept}# this test\n{text}")

    def spawn(self, *, status: int = 0, env: dict[str, str] | None = None) -> Any:
        return self.user.run("spawn", BRANCH, "--json", cwd=self.repository, status=status, env=env)

    def in_vm(self, script: str) -> str:
        argv = ("exec", BRANCH, "--", "bash", "-lc", script)
        return self.user.run(*argv, cwd=self.repository).stdout


@pytest.fixture
def host(live_user: User) -> Host:
    user, repository = live_user, live_user.repository()
    claude = user.home / ".claude"
    memory = claude / "projects" / re.sub(r"[^a-zA-Z0-9]", "-", str(repository)) / "memory"
    files = {
        claude / "skills/greet/SKILL.md": "---\nname: greet\ndescription: Greets.\n---\nGreet.\n",
        claude / "agents/critic.md": "---\nname: critic\ndescription: Reviews.\n---\nReview.\n",
        claude / "rules/short.md": "Be short.\n",
        memory / "MEMORY.md": MEMORY,
        claude / "settings.json": json.dumps(settings_of_the_host(user.secret)),
        user.home / ".claude.json": json.dumps(state_of_the_host(user.secret)),
        user.home / "setup.sh": "echo no package by that name; exit 7\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    gh = user.home / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(f'#!/bin/sh\n[ "$*" = "auth token" ] && echo {GH_TOKEN}\n')
    gh.chmod(0o755)
    return Host(user, repository, user.home / "setup.sh")


def settings_of_the_host(secret: str) -> dict[str, Any]:
    """What would break, reroute or betray if it came into the VM as it is, and a little that is
    wanted there.
    """
    command = {"type": "command", "command": "python3 /nowhere/hook.py"}
    return {
        "model": "sonnet",
        "cleanupPeriodDays": 0,
        "hooks": {"PreToolUse": [{"hooks": [command]}], "UserPromptSubmit": [{"hooks": [command]}]},
        "statusLine": command,
        "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": secret},
        "apiKeyHelper": "/nowhere/helper",
        "permissions": {
            "deny": ["Read(~/Library/**)", "WebFetch", f"Bash(x {secret})"],
            "disableBypassPermissionsMode": "disable",
        },
    }


def state_of_the_host(secret: str) -> dict[str, Any]:
    env = {"TICKETS_TOKEN": TICKETS, "ANTHROPIC_API_KEY": secret, "COPY": f"Bearer {secret}"}
    server = {"type": "stdio", "command": "python3", "args": ["-c", SERVER], "env": env}
    return {"primaryApiKey": secret, "userID": "of the host", "mcpServers": {"tickets": server}}


CONFIG = """\
sync_gh_auth = true
provision_scripts = ["~/setup.sh"]
claude_flags = ["--dangerously-skip-permissions"]
"""


ASK = (
    "curl -s -o /dev/null -w '%{http_code}' -H 'anthropic-version: 2023-06-01'"
    ' -H "x-api-key: $ANTHROPIC_API_KEY"'
    ' -d \'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}\''
    ' "$ANTHROPIC_BASE_URL/v1/messages"'
)


def test_everything_is_carried_into_the_vm_but_what_the_proxy_supplies(host: Host) -> None:
    user = host.user
    env = {"PATH": f"{user.home / 'bin'}:{user.environ['PATH']}"}
    host.configure(CONFIG)
    a_failing_script_is_told(host, env)
    in_a_terminal_the_first_screen_is_a_prompt(host, env)
    claude_code_has_what_the_host_shares(host)
    the_shells_have_their_variables(host)
    shares_cannot_be_written(host)
    memory = memory_of_the_vm(user)
    assert memory.find(GH_TOKEN.encode()) >= 0, "the search would not find what is there"
    assert memory.find(user.secret.encode()) < 0
    memory.close()
    strict_secrets_take_it_all_out_again(host, env)
    without_the_proxy_the_credential_itself_is_there(host)


def a_failing_script_is_told(host: Host, env: dict[str, str]) -> None:
    ran = host.user.run("spawn", BRANCH, cwd=host.repository, status=1, env=env)
    assert "the provision script setup.sh failed" in ran.stderr
    assert "no package by that name" in ran.stderr
    assert "the script setup.sh ended with status 7" in ran.stderr
    host.script.write_text("sudo id -un; echo $TACHIKOMA > ~/ran-in-$(basename $PWD); cat\n")


def in_a_terminal_the_first_screen_is_a_prompt(host: Host, env: dict[str, str]) -> None:
    user = host.user
    with terminal(
        user.argv(BRANCH),
        cwd=host.repository,
        environ={**user.environ, **env},
        socket=user.home / "tmux",
    ) as window:
        shell = window.wait_for("admin@feature-life:", deadline_s=60)
        for told in (
            "sync_mcp_servers: TICKETS_TOKEN (MCP server tickets)",
            "sync_gh_auth: GH_TOKEN (gh)",
            "not in the VM: ANTHROPIC_API_KEY of the MCP server tickets",
        ):
            assert told in re.sub(r"\s+", " ", shell)
        assert max(map(len, shell.splitlines())) <= COLUMNS
        window.type("claude")
        first = window.wait_for("bypass permissions on", deadline_s=60)
        assert "❯" in first
        assert "Sonnet" in first
        assert not [each for each in DIALOGS if each in first], first


def claude_code_has_what_the_host_shares(host: Host) -> None:
    told = host.in_vm("claude -p --output-format stream-json --verbose hello | head -n 1")
    begun = json.loads(told)
    assert {(each["name"], each["status"]) for each in begun["mcp_servers"]} == {
        ("tickets", "connected")
    }
    assert "greet" in begun["skills"]
    assert "critic" in begun["agents"]
    assert "WebFetch" not in begun["tools"]
    assert begun["model"].startswith("claude-sonnet")
    place = begun["memory_paths"]["auto"]
    assert host.in_vm(f"cat {place}MEMORY.md ~/.claude/rules/short.md") == MEMORY + "Be short.\n"


def the_shells_have_their_variables(host: Host) -> None:
    told = host.in_vm(
        'cd; printf "%s\\0" "$TICKETS_TOKEN" "$GH_TOKEN" "${COPY-none}" ran-in-*'
        ' "$(cat ran-in-*)" "$(git config user.name)" "$(git config user.email)"'
        ' "$(printf "host=github.com\nprotocol=https\n\n" | git credential fill | tail -n 1)"'
        ' "$(stat -c %a .tachikoma/env .tachikoma/carried .claude.json | uniq)"'
        ' "$(cat .claude.json)" "$(cat .claude/settings.json)"'
    )
    *values, state, settings = told.split("\0")[:-1]
    assert values == [
        *[TICKETS, GH_TOKEN, "none", "ran-in-app-feature-life", "1"],
        *["A. User", "user@example.org", f"password={GH_TOKEN}", "600"],
    ]
    kept = json.loads(state)
    assert "primaryApiKey" not in kept
    assert kept["userID"] != "of the host"
    assert kept["mcpServers"]["tickets"]["env"] == {"TICKETS_TOKEN": TICKETS}
    kept = json.loads(settings)
    assert kept["permissions"] == {"deny": ["WebFetch"]}
    assert not {"hooks", "statusLine", "env", "apiKeyHelper", "cleanupPeriodDays"} & set(kept)


def shares_cannot_be_written(host: Host) -> None:
    told = host.in_vm(
        "cd ~/.claude; touch {skills,agents,rules,$(echo projects/*/memory)}/x 2>&1;"
        " sudo mount -o remount,rw $(readlink skills) && sudo touch skills/x 2>&1; true"
    )
    assert told.count("Read-only file system") == 5
    assert list(host.claude.rglob("x")) == []


def strict_secrets_take_it_all_out_again(host: Host, env: dict[str, str]) -> None:
    host.configure(f"{CONFIG}strict_secrets = true\n")
    answer = host.spawn(env=env).json["data"]
    assert (answer["how"], answer["carried"]) == ("provisioned", [])
    # What Claude Code and the agent made of it stays: transcripts, logs, copies of ~/.claude.json.
    left = host.in_vm(
        "env | grep -e TICKETS -e GH_TOKEN; cat ~/.claude/settings.json | jq -r .model;"
        " sudo grep -lE 'gho_|TICKETS|tickets' -r ~/.tachikoma ~/.claude.json ~/.profile"
        " ~/.claude/settings.json /etc; true"
    )
    assert left == "sonnet\n"


def without_the_proxy_the_credential_itself_is_there(host: Host) -> None:
    user = host.user
    host.configure('credential_proxy = false\nnetwork = "open"\nsync_mcp_servers = false\n')
    user.run("halt", BRANCH, "--force", cwd=host.repository)
    # The guest reaches the host's loopback, where the stand-in of the API is, at this address.
    base = user.environ["ANTHROPIC_BASE_URL"].replace("127.0.0.1", "10.0.2.2")
    answer = host.spawn(env={"ANTHROPIC_BASE_URL": base}).json["data"]
    assert answer["how"] == "started"
    assert answer["carried"] == [
        {
            "name": "ANTHROPIC_API_KEY",
            "setting": "credential_proxy",
            "origin": "ANTHROPIC_API_KEY",
        }
    ]
    before = len(user.api_requests())
    told = host.in_vm(f"git branch --show-current; echo $ANTHROPIC_API_KEY; {ASK}").split()
    assert told == [BRANCH, user.secret, "200"], "its mounts are there again, and the rest"
    assert [each["status"] for each in user.api_requests()[before:]] == [200]
