"""The real server process and its clients: the SDK's, the Inspector's, and what no client says."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tachikoma.mcp.toolbox import TOOLS
from tests.conftest import ROOT
from tests.live.agent import Raw, command, connected, raw

pytestmark = pytest.mark.live

SYNTHETIC = ("--hypervisor", "synthetic")
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
NAME = "tachikoma-app-main"
_BOUND_MIB = 200
_INSTALL_S = 240
_ASK_S = 60


@pytest.fixture
def app(own_home: Path) -> Path:
    """A repository with a commit."""
    place = own_home / "app"
    who = ("-c", "user.name=A. User", "-c", "user.email=user@example.org")
    for argv in (
        ("git", "init", "-q", "-b", "main", str(place)),
        ("git", *who, "-C", str(place), "commit", "-q", "--allow-empty", "-m", "First"),
    ):
        subprocess.run(argv, check=True, timeout=_ASK_S)
    return place


def code_of(answer: dict[str, Any]) -> str:
    assert answer["result"]["isError"] is True
    return str(answer["result"]["_meta"]["tachikoma/error"]["code"])


def is_well(server: Raw) -> bool:
    return bool(server.call("list")["result"]["structuredContent"] == {"vms": []})


def test_a_server_outlives_whatever_it_is_told(app: Path) -> None:
    with raw(*SYNTHETIC, environ=os.environ, cwd=app) as server:
        before = server.most_memory_mib()
        for line in (b"nope", b"\xff\x00", b'{"jsonrpc":"2.0",', b"[" * 50_000):
            server.send(line)
            answer = server.answer(None)
            assert answer["error"]["code"] == -32700
            assert answer["error"]["message"].startswith("this is not JSON: ")
        for message in (b"[]", b"{}", b'{"jsonrpc":"3","id":null,"method":"x"}'):
            server.send(message)
            assert server.answer(None)["error"]["code"] == -32600
        unknown = server.answer(server.ask("tools/call", {"name": "frob", "arguments": {}}))
        assert unknown["error"]["code"] == -32602
        assert "Unknown tool: frob" in unknown["error"]["message"]
        assert server.answer(server.ask("frob/nicate"))["error"]["code"] == -32601
        wrong = server.answer(server.ask("tools/call", {"name": 7}))
        assert wrong["error"]["code"] == -32602
        assert code_of(server.call("spawn", cwd=7)) == "mcp.bad_argument"
        assert code_of(server.call("spawn")) == "mcp.bad_argument"
        assert is_well(server)

        huge = {"name": "write_file", "arguments": {"content": "x" * (50 << 20)}}
        refused = server.answer(server.ask("tools/call", huge))
        assert refused["error"]["code"] == -32600
        assert "too long: 8388608 at most" in refused["error"]["message"]
        large = "x" * (7 << 20)
        assert code_of(server.call("exec", vm_name="main", command=large)) == "mcp.bad_argument"
        assert code_of(server.call("status", vm_name=large)) == "vm.not_found"
        assert is_well(server)
        assert server.most_memory_mib() < before + _BOUND_MIB


def test_a_server_ends_quietly_with_its_client_or_by_a_signal(app: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with raw(*SYNTHETIC, environ=os.environ, cwd=app) as server:
            server.process.send_signal(number)
            assert server.process.wait(_ASK_S) == 0
    with raw(*SYNTHETIC, environ=os.environ, cwd=app) as server:
        pass
    assert server.process.returncode == 0


def test_nothing_but_the_protocol_is_on_standard_output(app: Path) -> None:
    loud = """
import os, sys
sys.argv[1:] = ["mcp"]
import tachikoma.mcp.server as server
before = server.Service.serve
async def serve(self, source, sink):
    print("a stray word")
    os.write(1, b"and another")
    await before(self, source, sink)
server.Service.serve = serve
from tachikoma.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", loud],
        input=b'{"jsonrpc":"2.0","id":1,"method":"ping"}\nnope\n',
        capture_output=True,
        cwd=app,
        timeout=_ASK_S,
        check=True,
    )
    assert b"a stray word" in done.stderr
    assert b"and another" in done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(each["id"], "error" in each) for each in answers} == {(1, False), (None, True)}


async def test_several_clients_at_once_make_one_vm(app: Path) -> None:
    async def spawn() -> str:
        async with connected(*SYNTHETIC, environ={}, cwd=app) as agent:
            return str((await agent.use("spawn", cwd=str(app)))["how"])

    made = await asyncio.gather(*(spawn() for _ in range(4)))
    assert made.count("created") == 1
    async with connected(*SYNTHETIC, environ={}, cwd=app) as agent:
        assert [vm["name"] for vm in (await agent.use("list"))["vms"]] == [NAME]


class Inspector:
    """The official inspector's command line, each call a client and a server of its own."""

    def __init__(self, program: Path, app: Path) -> None:
        self._program = program
        self._app = app

    def __call__(self, *options: str, status: int = 0) -> Any:
        done = subprocess.run(
            [str(self._program), "--cli", *command(*SYNTHETIC), *options],
            cwd=self._app,
            capture_output=True,
            timeout=_ASK_S,
            check=False,
        )
        assert done.returncode == status, done.stderr.decode()
        return json.loads(done.stdout) if done.stdout else done.stderr.decode()

    def call(self, tool: str, *arguments: str, status: int = 0) -> Any:
        pairs = [part for pair in arguments for part in ("--tool-arg", pair)]
        return self("--method", "tools/call", "--tool-name", tool, *pairs, status=status)


@pytest.fixture
def inspector(real_environ: dict[str, str], app: Path) -> Inspector:
    """The pinned version, installed once for this checkout."""
    npm = shutil.which("npm")
    if npm is None:
        if real_environ.get("CI") == "true":
            pytest.fail("npm must be installed")
        pytest.skip("not installed: npm")
    place = ROOT / "build" / "inspector"
    done = place / "done"
    if not done.exists() or done.read_text(encoding="ascii") != INSPECTOR:
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text('{"private": true}\n', encoding="ascii")
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--silent")
        subprocess.run(
            [npm, "install", *quiet, INSPECTOR],
            cwd=place,
            env=real_environ,
            timeout=_INSTALL_S,
            check=True,
        )
        done.write_text(INSPECTOR, encoding="ascii")
    return Inspector(place / "node_modules" / ".bin" / "mcp-inspector", app)


@pytest.mark.timeout(300)
def test_the_official_inspector_uses_every_tool_and_meets_clear_errors(
    inspector: Inspector, app: Path
) -> None:
    assert inspector("--method", "initialize")["serverInfo"]["name"] == "tachikoma"
    listed = inspector("--method", "tools/list", "--strict")["tools"]
    assert [tool["name"] for tool in listed] == list(TOOLS)

    used = {"spawn", "halt", "destroy"}
    made = inspector.call("spawn", f"cwd={app}")
    assert made["structuredContent"]["name"] == NAME

    def call(tool: str, *arguments: str) -> Any:
        used.add(tool)
        return inspector.call(tool, *arguments)["structuredContent"]

    with ThreadPoolExecutor(2) as two:
        asked = {
            "ran": two.submit(call, "exec", "vm_name=main", "command=ls -l"),
            "vms": two.submit(call, "list"),
            "seen": two.submit(call, "status", "vm_name=main"),
            "wrote": two.submit(call, "write_file", "vm_name=main", "path=a", "content=b"),
            "saved": two.submit(call, "checkpoint", "vm_name=main", "action=save", "label=before"),
            "usage": two.submit(call, "usage", "vm_name=main"),
            "logs": two.submit(call, "logs", "vm_name=main", "lines=5"),
            "resources": two.submit(inspector, "--method", "resources/list"),
            "read": two.submit(inspector, "--method", "resources/read", "--uri", "tachikoma://vms"),
        }
        unread = two.submit(inspector.call, "read_file", "vm_name=main", "path=a", status=5)
        lost = two.submit(inspector.call, "status", "vm_name=nobody", status=5)
        wrong = two.submit(inspector.call, "exec", "vm_name=main", "deadline_s=soon", status=5)
        unsent = two.submit(inspector.call, "pr", f"cwd={app}", status=5)
        told = {name: future.result() for name, future in asked.items()}
    assert told["ran"]["status"] == 0
    assert [vm["name"] for vm in told["vms"]["vms"]] == [NAME]
    assert told["seen"]["worktree"] == str(app)
    assert told["wrote"]["size"] == 1
    assert told["usage"]["calls"] == 0
    assert [each["label"] for each in told["saved"]["checkpoints"]] == ["before"]
    assert len(told["resources"]["resources"]) == 2
    assert NAME in told["read"]["contents"][0]["text"]
    assert [each["source"] for each in told["logs"]["logs"]] == ["setup", "console", "proxy"]
    for future, code in (
        (unsent, "git.failed"),
        (unread, "mcp.file"),
        (lost, "vm.not_found"),
        (wrong, "mcp.bad_argument"),
    ):
        assert future.result()["_meta"]["tachikoma/error"]["code"] == code

    asks = inspector.call("destroy", "vm_name=main", status=5)
    assert asks["_meta"]["tachikoma/error"]["code"] == "mcp.not_confirmed"
    assert inspector.call("halt", "vm_name=main")["structuredContent"]["was_running"] is True
    gone = inspector.call("destroy", "vm_name=main", "force=true")
    assert gone["structuredContent"]["name"] == NAME
    assert inspector.call("list")["structuredContent"] == {"vms": []}
    assert {*used, "read_file", "pr"} == set(TOOLS)
