"""An agent at work in real VMs: the SDK's client first, then Claude Code from end to end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host import process
from tachikoma.offline.script import Answer, Scenario, ToolUse
from tachikoma.offline.server import OfflineApi
from tests.live.agent import Agent, command, connected, raw
from tests.live.conftest import User

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/agent"
NAME = "tachikoma-app-feature-agent"
_BOUND_MIB = 200
GH = """\
#!/bin/sh
case "$2" in
list) echo '[]' ;;
create) printf '%s\\n' "$@" >"{log}"; echo https://github.com/acme/app/pull/7 ;;
esac
"""
_CLAUDE_S = 150


async def in_vm(agent: Agent, command: str | list[str], **more: Any) -> Any:
    return await agent.use("exec", vm_name=BRANCH, command=command, **more)


async def nothing_runs(agent: Agent, mark: str) -> None:
    """Wait until no process of the guest has ``mark`` in its command line."""
    quiet = f"pgrep -f '[{mark[0]}]{mark[1:]}'"
    for _ in range(20):
        if (await in_vm(agent, quiet))["status"] == 1:
            return
    raise AssertionError(f"{mark} goes on in the VM")


def killed_while_it_boots(user: User, repository: Path) -> None:
    """Let a client ask for a VM, and be gone with its server before it gets it."""
    with contextlib.suppress(OSError), raw(environ=user.environ, cwd=repository) as server:
        params = {"name": "spawn", "arguments": {"cwd": str(repository), "branch": BRANCH}}
        server.ask("tools/call", {**params, "_meta": {"progressToken": 1}})
        while (heard := server.hear()).get("params", {}).get("message") != "Booting":
            assert "result" not in heard
        server.process.kill()


async def test_an_agent_works_in_a_vm(live_user: User) -> None:
    user = live_user
    repository = user.repository()
    await asyncio.to_thread(killed_while_it_boots, user, repository)
    options = ("--repo", str(repository))
    async with connected(*options, environ=user.environ, cwd=user.home) as agent:
        made = await agent.use("spawn", cwd=str(repository), branch=BRANCH)
        assert (made["name"], made["how"]) == (NAME, "provisioned")
        await commands(agent, Path(made["worktree"]))
        await outputs(agent)
        await written_and_read(agent)
        await ended(agent)
        await ten_at_once(agent)
    await asyncio.to_thread(killed_while_it_runs, user, repository)
    async with connected(*options, environ=user.environ, cwd=user.home) as agent:
        await nothing_runs(agent, "sleep 4321")
        listed = [each.uri for each in (await agent.client.list_resources()).resources]
        assert listed == ["tachikoma://vms", f"tachikoma://vms/{NAME}/log"]
        await agent.use("destroy", vm_name=BRANCH, force=True)
        assert (await agent.use("list"))["vms"] == []


async def commands(agent: Agent, worktree: Path) -> None:
    ran = await in_vm(agent, "pwd; echo no >&2; exit 42")
    assert (ran["status"], ran["stdout"], ran["stderr"]) == (42, f"{worktree}\n", "no\n")
    ran = await in_vm(agent, ["printf", "%s|", "a b", "", "$A", "ü'\"\n"], env={"A": "1"})
    assert ran["stdout"] == "a b||$A|ü'\"\n|"
    ran = await in_vm(agent, 'echo "$A $PWD"', env={"A": "x y"}, workdir="/tmp")
    assert ran["stdout"] == "x y /tmp\n"
    assert (await in_vm(agent, "cat"))["stdout"] == ""
    assert (await in_vm(agent, "true", workdir="nowhere"))["status"] == 125


async def outputs(agent: Agent) -> None:
    binary = await in_vm(agent, "printf '\\377\\000\\376'")
    (blob,) = (await agent.client.read_resource(binary["stdout_resource"])).contents
    assert base64.b64decode(blob.model_dump()["blob"]) == b"\xff\x00\xfe"
    long = await in_vm(agent, "seq 100000")
    assert (long["stdout_bytes"], long["stdout_cut"]) == (588_895, True)
    assert long["stdout"].startswith("1\n2\n")
    assert long["stdout"].endswith("99999\n100000\n")
    (whole,) = (await agent.client.read_resource(long["stdout_resource"])).contents
    assert whole.model_dump()["text"].split() == [str(n) for n in range(1, 100_001)]


async def written_and_read(agent: Agent) -> None:
    for content, encoding in (("#!/bin/sh\necho ü\n", "utf-8"), ("/wD+", "base64")):
        await agent.use(
            "write_file", vm_name=BRANCH, path="deep/a b", content=content, encoding=encoding
        )
        read = await agent.use("read_file", vm_name=BRANCH, path="deep/a b")
        assert (read["content"], read["encoding"]) == (content, encoding)
        await in_vm(agent, "chmod 750 'deep/a b'")
    mode = await in_vm(agent, "stat -c %a 'deep/a b'; ls deep | wc -l")
    assert mode["stdout"].split() == ["750", "1"]
    large = "0123456789abcde\n" * 65_536
    await agent.use("write_file", vm_name=BRANCH, path="/tmp/large", content=large)
    told = await in_vm(agent, "sha256sum </tmp/large")
    assert told["stdout"].split()[0] == hashlib.sha256(large.encode()).hexdigest()
    part = await agent.use("read_file", vm_name=BRANCH, path="/tmp/large", offset=16, length=16)
    assert (part["content"], part["size"], part["next_offset"]) == (large[:16], 1 << 20, 32)
    for path in ("nowhere", "deep", "/etc/shadow"):
        assert await agent.fail("read_file", vm_name=BRANCH, path=path) == "mcp.file"
    for path in ("deep", "/proc/x", "/etc/passwd"):
        assert await agent.fail("write_file", vm_name=BRANCH, path=path, content="") == "mcp.file"


async def ended(agent: Agent) -> None:
    """A command that prints for ever, and one that is cancelled: both are gone in the guest."""
    result = await agent.client.call_tool(
        "exec", {"vm_name": BRANCH, "command": "yes for-ever", "deadline_s": 10}
    )
    assert result.is_error is True
    assert isinstance(result.structured_content, dict)
    assert result.structured_content["timed_out"] is True
    assert result.structured_content["stdout_bytes"] > 1_000_000
    assert servers_memory_mib() < _BOUND_MIB
    await nothing_runs(agent, "yes for-ever")
    hanging = asyncio.ensure_future(in_vm(agent, "touch /tmp/begun; sleep 1234"))
    while (await in_vm(agent, "test -e /tmp/begun"))["status"] != 0:
        pass
    hanging.cancel()
    await asyncio.wait({hanging})
    await nothing_runs(agent, "sleep 1234")


async def ten_at_once(agent: Agent) -> None:
    ran = await asyncio.gather(*(in_vm(agent, f"sleep 1; echo {n}") for n in range(10)))
    assert [each["stdout"] for each in ran] == [f"{n}\n" for n in range(10)]


def servers_memory_mib() -> int:
    """The most memory that a server of this test has held."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [pid for each in children for pid in each.read_text(encoding="ascii").split()]
    found = [
        int(line.split()[1]) >> 10
        for pid in pids
        if b"tachikoma\0mcp" in Path(f"/proc/{pid}/cmdline").read_bytes()
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmHWM")
    ]
    return max(found)


def killed_while_it_runs(user: User, repository: Path) -> None:
    with contextlib.suppress(OSError), raw(environ=user.environ, cwd=repository) as server:
        long = {"vm_name": BRANCH, "command": "touch /tmp/runs; sleep 4321"}
        server.ask("tools/call", {"name": "exec", "arguments": long})
        look = {"vm_name": BRANCH, "command": "test -e /tmp/runs"}
        while server.call("exec", **look)["result"]["structuredContent"]["status"] != 0:
            pass
        server.process.kill()


def tool(name: str, **arguments: Any) -> Answer:
    return Answer(f"I use {name}.", ToolUse(f"mcp__tachikoma__{name}", arguments))


def errand(repository: Path) -> Scenario:
    """A branch's VM, a test that fails, a change, the test again, a commit, and all gone."""
    test = "python3 -B -c 'import sums; assert sums.add(2, 2) == 4' && echo passed"
    return Scenario(
        when="Mend the sum",
        turns=(
            tool("spawn", cwd=str(repository), branch=BRANCH),
            tool("exec", vm_name=BRANCH, command=test),
            tool("read_file", vm_name=BRANCH, path="sums.py"),
            tool(
                "write_file",
                vm_name=BRANCH,
                path="sums.py",
                content="def add(a, b):\n    return a + b\n",
            ),
            tool("exec", vm_name=BRANCH, command=test),
            tool("exec", vm_name=BRANCH, command="git commit -qam 'Add instead'"),
            tool("pr", cwd=str(repository), vm_name=BRANCH, title="Add instead of subtracting"),
            tool("destroy", vm_name=BRANCH, force=True),
        ),
        closing="Mended: {output}",
    )


def remote_of(user: User, repository: Path) -> Path:
    """Give the repository a remote on GitHub that is, for this user, a directory, and a ``gh``."""
    hub, url = user.home / "hub.git", "https://github.com/acme/app.git"
    user.run_any("git", "clone", "-q", "--bare", str(repository), str(hub))
    user.run_any("git", "-C", str(repository), "remote", "add", "origin", url)
    user.run_any("git", "config", "--global", f"url.{hub}.insteadOf", url)
    gh = user.home / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH.format(log=user.home / "gh-log"), encoding="utf-8")
    gh.chmod(0o755)
    return hub


def transcript(said: bytes) -> list[tuple[str, Any, bool]]:
    """Give (tool, what it gave, whether it failed) for each use of a tool, in order."""
    names: dict[str, str] = {}
    found = []
    for line in map(json.loads, said.splitlines()):
        content = line.get("message", {}).get("content") if isinstance(line, dict) else None
        for block in content if isinstance(content, list) else []:
            if block["type"] == "tool_use":
                names[block["id"]] = block["name"].removeprefix("mcp__tachikoma__")
            elif block["type"] == "tool_result":
                text = block["content"]
                failed = block.get("is_error", False)
                found.append(
                    (names[block["tool_use_id"]], text if failed else json.loads(text), failed)
                )
    return found


async def test_claude_code_spawns_a_vm_mends_a_test_in_it_and_throws_it_away(
    live_user: User, claude_code: Path
) -> None:
    user = live_user
    repository = user.repository()
    (repository / "sums.py").write_text("def add(a, b):\n    return a - b\n", encoding="utf-8")
    for argv in (("add", "."), ("commit", "-q", "-m", "Add")):
        user.run_any("git", "-C", str(repository), *argv)
    hub = remote_of(user, repository)
    program, *arguments = command("--repo", ".")
    environ = {**user.environ, "PATH": f"{user.home / 'bin'}:{user.environ['PATH']}"}
    server = {"type": "stdio", "command": program, "args": arguments, "env": environ}
    digest = hashlib.sha256(user.secret.encode()).hexdigest()
    async with OfflineApi(scripts=(errand(repository),), secret_sha256=digest) as api:
        done = await process.run(
            [
                *(str(claude_code), "--dangerously-skip-permissions", "--strict-mcp-config"),
                *("--mcp-config", json.dumps({"mcpServers": {"tachikoma": server}})),
                *("--output-format", "stream-json", "--verbose", "-p", "Mend the sum"),
            ],
            deadline_s=_CLAUDE_S,
            cwd=repository,
            env={
                "ANTHROPIC_BASE_URL": api.url,
                "ANTHROPIC_API_KEY": user.secret,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
                "IS_SANDBOX": "1",  # the tests may run as root
                "MCP_CONNECTION_NONBLOCKING": "0",
                "MCP_CONNECT_TIMEOUT_MS": "30000",
            },
        )
    steps = transcript(done.stdout)
    assert [(name, failed) for name, _, failed in steps] == [
        ("spawn", False),
        ("exec", False),
        ("read_file", False),
        ("write_file", False),
        ("exec", False),
        ("exec", False),
        ("pr", False),
        ("destroy", False),
    ]
    given = [result for _, result, _ in steps]
    assert (given[0]["name"], given[0]["how"]) == (NAME, "created")
    assert (given[1]["status"], "AssertionError" in given[1]["stderr"]) == (1, True)
    assert "return a - b" in given[2]["content"]
    assert (given[4]["status"], given[4]["stdout"]) == (0, "passed\n")
    assert given[6] == {
        "branch": BRANCH,
        "base": "main",
        "remote": "https://github.com/acme/app.git",
        "ended": "opened",
        "committed": None,
        "pushed": True,
        "url": "https://github.com/acme/app/pull/7",
        "next_step": None,
    }
    assert given[7]["branch"] == BRANCH
    assert b"Mended: " in done.stdout
    for place in (repository, hub):
        told = user.run_any("git", "-C", str(place), "log", "-1", "--format=%an %s", BRANCH)
        assert told.stdout.strip() == "A. User Add instead"
    asked = (user.home / "gh-log").read_text(encoding="utf-8")
    assert "--title=Add instead of subtracting" in asked
    assert user.run("list", "--json").json["data"]["vms"] == []


def test_claude_code_is_set_up_by_its_own_program(
    own_home: Path, claude_code: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bin"
    path.mkdir()
    (path / "claude").symlink_to(claude_code)
    environ = dict(os.environ) | {
        "PATH": f"{path}:{os.environ['PATH']}",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }

    def run(*argv: str) -> str:
        done = subprocess.run(
            argv, cwd=own_home, env=environ, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.decode()

    def set_up(verb: str) -> Any:
        told = run(sys.executable, "-m", "tachikoma", "mcp", verb, "--yes", "--json")
        return json.loads(told)["data"]

    settings = own_home / ".claude.json"
    settings.write_text(
        '{"hasCompletedOnboarding": true, "mcpServers": {"other": {"command": "x"}}}'
    )
    first = set_up("install")
    assert first["commands"][0][:3] == ["claude", "mcp", "add"]
    made = json.loads(settings.read_text())
    assert made["mcpServers"]["tachikoma"]["args"][-1] == "mcp"
    assert made["mcpServers"]["other"] == {"command": "x"}
    assert made["hasCompletedOnboarding"] is True
    assert "tachikoma" in run("claude", "mcp", "list")
    assert set_up("install")["changed"] is False
    assert set_up("uninstall")["changed"] is True
    assert list(json.loads(settings.read_text())["mcpServers"]) == ["other"]
    assert set_up("uninstall")["changed"] is False
