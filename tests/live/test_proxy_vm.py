"""The proxy as real Claude Code and real programs in a VM meet it."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tachikoma.offline.conversation import decode_conversation
from tachikoma.offline.script import Answer
from tachikoma.offline.wire import encode_error, encode_events, encode_message
from tachikoma.proxy import pidfile
from tests.live.conftest import User
from tests.live.findings import (
    a_claude_code_that_knows_the_credential,
    files_with,
    holders,
    memory_of_the_vm,
)

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/life"
_PATIENCE_S = 60.0
_PAUSE_S = 0.4
OAUTH = "sk-ant-oat01-" + "x" * 40


@dataclass
class MoodyApi:
    """An API that is busy at first, takes its time, or waits to be told to go on.

    A prompt with ``busy`` is answered with 429, then 529, then slowly. One with ``hang`` gets the
    beginning of a stream, and nothing more on that connection.
    """

    secret: str
    heads: list[tuple[float, dict[str, str], int]] = field(default_factory=list)
    moods: list[tuple[int, dict[str, str]]] = field(
        default_factory=lambda: [(429, {"retry-after": "1"}), (529, {})]
    )
    hung: threading.Event = field(default_factory=threading.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.method != "POST":
            return web.Response()
        if request.path.endswith("count_tokens"):
            return web.json_response({"input_tokens": 1})
        asked = decode_conversation(json.loads(body))
        status, more = 200, dict[str, str]()
        if "busy" in asked.prompt and self.moods:
            status, more = self.moods.pop(0)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heads.append((time.monotonic(), headers, status))
        if status != 200:
            document = encode_error(status, "not now", "req_1")
            return web.json_response(document, status=status, headers=more)
        said = Answer("one two three four five six seven eight nine ten " * 2)
        if not asked.streamed:
            return web.json_response(encode_message(asked, said, 10))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in encode_events(asked, said, 10):
            await response.write(event)
            if b"content_block_delta" in event:
                if "hang" in asked.prompt and not self.hung.is_set():
                    self.hung.set()
                    await asyncio.Event().wait()
                await asyncio.sleep(_PAUSE_S if "busy" in asked.prompt else 0)
        return response


@pytest.fixture
def moody() -> MoodyApi:
    return MoodyApi(f"sk-ant-api03-{secrets.token_urlsafe(40)}")


@pytest.fixture
def live_api(moody: MoodyApi, tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """Take the place of the scripted API: the same for ``live_user``, with moods."""
    ready: list[int] = []
    begun, ended = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        server = web.Server(moody.answer, access_log=None)
        listener = await loop.create_server(server, "127.0.0.1", 0)
        ready.append(listener.sockets[0].getsockname()[1])
        begun.set()
        await ended.wait()
        listener.close()
        await server.shutdown(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert begun.wait(10)
    try:
        yield f"http://127.0.0.1:{ready[0]}", moody.secret, tmp_path / "none"
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(10)


@contextlib.contextmanager
def page(address: str) -> Iterator[int]:
    """A web server on this machine's own address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the host")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))
        return str(probe.getsockname()[0])


def claude(*more: str) -> tuple[str, ...]:
    return ("exec", BRANCH, "--", "claude", "--dangerously-skip-permissions", "-p", *more)


def curl(user: User, repository: Path, *urls: str) -> list[str]:
    """Ask for each URL in the VM; gives a line for each: body, status, that of the tunnel."""
    script = "".join(
        f"curl -s -w '|%{{http_code}}|%{{http_connect}}\\n' {url} | tail -n 1;" for url in urls
    )
    ran = user.run("exec", BRANCH, "--", "bash", "-lc", script, cwd=repository)
    return ran.stdout.splitlines()


def test_the_proxy_serves_claude_code_and_programs_in_a_vm(
    live_user: User, moody: MoodyApi
) -> None:
    user, repository = live_user, live_user.repository()
    of_the_host = a_claude_code_that_knows_the_credential(user)
    user.run("spawn", BRANCH, "--json", cwd=repository)

    # Busy twice, then slow: Claude Code comes again by itself, and shows words as they come.
    arrived: list[float] = []
    with user.started(
        *claude("busy", "--output-format=stream-json", "--verbose", "--include-partial-messages"),
        cwd=repository,
    ) as process:
        assert process.stdout is not None
        last = _read(process, arrived)
    assert (last["subtype"], last["is_error"]) == ("success", False)
    assert [status for _, _, status in moody.heads][:3] == [429, 529, 200]
    assert moody.heads[1][0] - moody.heads[0][0] >= 1.0
    assert arrived[-1] - arrived[0] >= 2 * _PAUSE_S
    assert {head["x-api-key"] for _, head, _ in moody.heads} == {moody.secret}
    assert not any("authorization" in head for _, head, _ in moody.heads)

    # The proxy dies in the middle of an answer; the session lives on with the next one.
    with user.started(*claude("hang", "--output-format=json"), cwd=repository) as process:
        assert moody.hung.wait(_PATIENCE_S)
        _kill_proxy(user)
        # This one is an OAuth source: the same session goes on with another kind of credential.
        user.run("proxy", "start", "--daemon", env={"CLAUDE_CODE_OAUTH_TOKEN": OAUTH})
        out, _ = process.communicate(timeout=_PATIENCE_S)
    assert json.loads(out)["is_error"] is False
    head = moody.heads[-1][1]
    assert head["authorization"] == f"Bearer {OAUTH}"
    assert "oauth-2025-04-20" in head["anthropic-beta"].split(",")
    assert "x-api-key" not in head

    # Other hosts: none at first, then the one that was named, and no others.
    with page(own_address()) as port:
        url, other = f"http://{own_address()}:{port}/", "https://example.com/"
        refused, tunnel, metadata = curl(user, repository, url, other, "http://169.254.169.254/")
        assert refused.endswith("|403|000")
        assert tunnel.endswith("|000|403")
        assert metadata.endswith("|403|000")
        user.run("egress", "allow", BRANCH, f"{own_address()}:{port}", cwd=repository)
        assert curl(user, repository, url, other) == ["from the host|200|000", "|000|403"]

    told = user.run("proxy", "log", "--denied", "--json", cwd=repository).json["data"]["requests"]
    assert [each["host"] or each["path"] for each in told if "example.com" in each["path"]]
    assert {each["branch"] for each in told} == {BRANCH}
    (total,) = user.run("usage", "--by", "branch", "--json").json["data"]["totals"]
    assert (total["group"], total["input_tokens"]) == (BRANCH, 10 * total["calls"])
    _the_credential_is_nowhere_but_in_the_proxy(user, repository, of_the_host)


def _the_credential_is_nowhere_but_in_the_proxy(
    user: User, repository: Path, of_the_host: list[Path]
) -> None:
    """After all that: not in the memory of the VM, nor in any file but where the user has it."""
    argv = ("exec", BRANCH, "--", "bash", "-lc", "echo $ANTHROPIC_API_KEY")
    token = user.run(*argv, cwd=repository).stdout.strip()
    assert token.startswith("tachikoma-")
    memory = memory_of_the_vm(user)
    assert memory.find(token.encode()) >= 0, "the search would not find what is there"
    assert memory.find(user.secret.encode()) < 0
    assert memory.find(OAUTH.encode()) < 0
    memory.close()
    assert holders(user, user.secret) == []
    user.run("halt", BRANCH, cwd=repository)
    assert files_with(user, user.secret) == of_the_host
    assert files_with(user, OAUTH) == []
    assert [each.name for each in files_with(user, token)] == ["disk.qcow2"]


def _read(process: subprocess.Popen[bytes], arrived: list[float]) -> dict[str, Any]:
    """Read events to the end, noting when words came; gives the last event."""
    last: dict[str, Any] = {}
    assert process.stdout is not None
    for line in process.stdout:
        last = json.loads(line)
        if last.get("event", {}).get("type") == "content_block_delta":
            arrived.append(time.monotonic())
    return last


def _kill_proxy(user: User) -> None:
    found = pidfile.read(user.home / ".config" / "tachikoma" / "proxy.pid")
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
