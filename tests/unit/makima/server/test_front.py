from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.makima.messages import RegisterToolKey, RevokeToolKey
from tachikoma.makima.server.endpoints import ENDPOINTS, Who
from tachikoma.makima.server.front import COOKIE, CSRF_HEADER, LARGEST_BODY
from tachikoma.makima.server.keyring import hashed
from tachikoma.makima.server.store import keyring_at
from tests.doubles.makima_daemon import Frame
from tests.unit.makima.server.stage import FakeDaemon, Team, team

pytestmark = pytest.mark.live

ANY = str(uuid4())
TOOL_KEY = "tool-" + "k" * 40


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(tmp_path) as made:
        yield made


def place(path: str) -> str:
    return path.format(task=ANY, daemon=ANY)


# Keys


async def test_nothing_but_health_is_told_without_a_key(crew: Team) -> None:
    for each in ENDPOINTS:
        body = {"key": "mku_wrong"} if each.name == "signIn" else None
        found = await crew.call(each.method, place(each.path), body, key=None)
        if each.name == "health":
            assert found.status == 200
            continue
        assert (found.status, found.code) == (401, "unauthorized"), each.name
        assert found.headers["WWW-Authenticate"] == "Bearer"
    assert (await crew.call("GET", "/metrics", key=None)).status == 401
    assert (await crew.call("GET", "/openapi.json", key=None)).body["openapi"] == "3.1.0"


@pytest.mark.parametrize("said", ["Bearer", "Bearer  ", "Basic abc", "Bearer wrong", "mku_x"])
async def test_a_wrong_key_is_told_apart_from_none_at_all(crew: Team, said: str) -> None:
    found = await crew.call("GET", "/tasks", key=None, headers={"Authorization": said})
    assert (found.status, found.code) == (401, "unauthorized")


async def test_the_key_of_a_daemon_opens_nothing_here(crew: Team) -> None:
    found = await crew.call("GET", "/tasks", key=crew.daemon_key)
    assert (found.status, found.code) == (403, "forbidden")
    signing = await crew.call("POST", "/session", {"key": crew.daemon_key}, key=None)
    assert signing.status == 403


async def test_a_persons_key_lets_no_daemon_in(crew: Team) -> None:
    crew.daemon_key = crew.user_key
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await crew.daemon()


async def test_a_revoked_key_is_dead_at_once(crew: Team) -> None:
    assert (await crew.call("GET", "/self")).body["kind"] == "user"
    async with keyring_at(crew.database, clock=SystemClock()) as keys:
        for each in await keys.keys():
            await keys.revoke(each.name)
    assert (await crew.call("GET", "/self")).status == 401


# Orchestrators


async def led(crew: Team) -> tuple[str, FakeDaemon]:
    """Have an orchestrator at work; gives its task, and its daemon."""
    task = (await crew.create("lead", orchestrator=True, repo="/srv/x", baseBranch="dev"))["id"]
    daemon = await crew.daemon()

    def orders() -> list[Frame]:
        return daemon.wire.of("spawnTask")

    await daemon.wire.until(lambda: any(each["taskId"] == task for each in orders()))
    assert ["MAKIMA_API_KEY" in each["plan"] for each in orders() if each["taskId"] == task] == [
        True
    ]
    await daemon.runs(task)
    await daemon.say(RegisterToolKey(task_id=UUID(task), key=TOOL_KEY))
    await daemon.wire.settled()
    return task, daemon


async def test_an_orchestrator_reaches_its_own_tasks_only(crew: Team) -> None:
    stranger = await crew.create("somebody else's")
    task, daemon = await led(crew)
    part = await crew.create("part", key=TOOL_KEY, priority=3)
    assert (part["parent"], part["depth"], part["repo"]) == (task, 1, "/srv/x")
    assert (part["baseBranch"], part["action"]) == ("dev", "none")
    order = await daemon.spawned(3)
    assert (order["parentTaskId"], order["depth"]) == (task, 1)

    me = await crew.call("GET", "/self", key=TOOL_KEY)
    assert me.body == {"kind": "tool", "name": "lead", "task": task}
    seen = await crew.call("GET", "/tasks", key=TOOL_KEY)
    assert [each["id"] for each in seen.body["items"]] == [part["id"], task]
    for id_ in (task, part["id"]):
        assert (await crew.call("GET", f"/tasks/{id_}", key=TOOL_KEY)).status == 200
    for path in ("", "/output", "/events", "/branches", "/merge", "/output/stream"):
        found = await crew.call("GET", f"/tasks/{stranger['id']}{path}", key=TOOL_KEY)
        assert found.status == 404, path
    foreign = await crew.call(
        "POST", "/tasks", {"plan": "x", "dependencies": [stranger["id"]]}, key=TOOL_KEY
    )
    assert foreign.status == 404


@pytest.mark.parametrize(
    "more",
    [
        {"repo": "/etc"},
        {"action": "merge"},
        {"targetRepo": "/home"},
        {"targetBranch": "main"},
        {"parent": ANY},
        {"continueFrom": ANY},
    ],
)
async def test_an_orchestrator_cannot_choose_where_work_goes(
    crew: Team, more: dict[str, str]
) -> None:
    await led(crew)
    found = await crew.call("POST", "/tasks", {"plan": "x", **more}, key=TOOL_KEY)
    assert (found.status, found.code) == (403, "forbidden")


async def test_an_orchestrator_can_do_what_it_is_for_and_nothing_else(crew: Team) -> None:
    task, _ = await led(crew)
    for each in ENDPOINTS:
        if each.who is not Who.PEOPLE:
            continue
        path = each.path.format(task=task, daemon=ANY)
        found = await crew.call(each.method, path, key=TOOL_KEY)
        assert (found.status, found.code) == (403, "forbidden"), each.name
    assert (await crew.call("GET", "/metrics", key=TOOL_KEY)).status == 401


async def test_the_key_of_an_orchestrator_dies_with_its_task(crew: Team) -> None:
    task, daemon = await led(crew)
    assert hashed(TOOL_KEY).encode() in crew.database.with_name("server.db-wal").read_bytes()
    assert TOOL_KEY.encode() not in crew.database.with_name("server.db-wal").read_bytes()
    assert (await crew.call("GET", "/self", key=TOOL_KEY)).status == 200
    await daemon.say(RevokeToolKey(task_id=UUID(task)))
    await daemon.wire.settled()
    assert (await crew.call("GET", "/self", key=TOOL_KEY)).status == 401
    await daemon.say(RegisterToolKey(task_id=UUID(task), key=TOOL_KEY))
    await daemon.ends(task)
    await crew.until(task, status="done")
    assert (await crew.call("GET", "/self", key=TOOL_KEY)).status == 401


async def test_a_daemon_cannot_make_a_key_for_another_ones_task(crew: Team) -> None:
    task, _ = await led(crew)
    other = await crew.daemon(machine="m2")
    await other.say(RegisterToolKey(task_id=UUID(task), key="tool-of-mine"))
    await other.ends(task)
    await other.wire.settled()
    assert (await crew.call("GET", "/self", key="tool-of-mine")).status == 401
    assert (await crew.get(f"/tasks/{task}"))["status"] == "running"


# Browsers


async def signed_in(crew: Team) -> tuple[dict[str, str], str]:
    """Gives the headers with the cookie, and the CSRF token."""
    answer = await crew.call("POST", "/session", {"key": crew.user_key}, key=None)
    assert answer.status == 201
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    assert crew.user_key not in cookie
    return {"Cookie": cookie.partition(";")[0]}, answer.body["csrfToken"]


async def test_a_browser_signs_in_and_out(crew: Team) -> None:
    cookie, token = await signed_in(crew)
    again = await crew.call("GET", "/session", key=None, headers=cookie)
    assert again.body["csrfToken"] == token
    assert (await crew.call("GET", "/tasks", key=None, headers=cookie)).status == 200
    left = await crew.call("DELETE", "/session", key=None, headers=cookie | {CSRF_HEADER: token})
    assert left.status == 200
    assert f'{COOKIE}=""' in left.headers["Set-Cookie"]
    assert (await crew.call("GET", "/tasks", key=None, headers=cookie)).status == 401
    assert (await crew.call("GET", "/session")).code == "not_found"


@pytest.mark.parametrize("sent", [{}, {CSRF_HEADER: ""}, {CSRF_HEADER: "wrong"}])
async def test_a_browser_that_was_tricked_changes_nothing(crew: Team, sent: dict[str, str]) -> None:
    cookie, token = await signed_in(crew)
    found = await crew.call("POST", "/tasks", {"plan": "x"}, key=None, headers=cookie | sent)
    assert (found.status, found.code) == (403, "csrf")
    right = cookie | {CSRF_HEADER: token}
    assert (await crew.call("POST", "/tasks", {"plan": "x"}, key=None, headers=right)).status == 201


async def test_a_session_ends_with_the_key_that_it_was_opened_with(crew: Team) -> None:
    cookie, _ = await signed_in(crew)
    async with keyring_at(crew.database, clock=SystemClock()) as keys:
        for each in await keys.keys():
            await keys.revoke(each.name)
    assert (await crew.call("GET", "/tasks", key=None, headers=cookie)).status == 401


# What is refused


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "application/json", 400, "bad_json"),
        (b"{", "application/json", 400, "bad_json"),
        (b"\xff\xfe", "application/json", 400, "bad_json"),
        (b"{}", "text/plain", 415, "not_json"),
        (b"{}", "", 415, "not_json"),
        (b"{}", "application/json", 422, "invalid"),
        (b'{"plan": "  "}', "application/json", 422, "invalid"),
        (b'{"plan": 7}', "application/json", 422, "invalid"),
        (b'{"plan": "x", "priority": "7"}', "application/json", 422, "invalid"),
        (b'{"plan": "x", "plans": 1}', "application/json", 422, "invalid"),
        (b'{"plan": "x", "base_branch": "b"}', "application/json", 422, "invalid"),
        (b"[" * 100_000, "application/json", 400, "bad_json"),
        (b'"' + b"x" * LARGEST_BODY + b'"', "application/json", 413, "too_large"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_in_the_one_shape(
    crew: Team, body: bytes, kind: str, status: int, code: str
) -> None:
    headers = {"Authorization": f"Bearer {crew.user_key}", "Content-Type": kind}
    async with crew.client.post(
        f"{crew.base}/api/v1/tasks", data=io.BytesIO(body), headers=headers
    ) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["code"]) == (status, code), told
    assert set(told["error"]) == {"code", "message", "hint"}
    assert (await crew.get("/tasks"))["total"] == 0


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=1e1", "limit=1&limit=2", "top=yes", "status=gone", "x=1"],
)
async def test_a_query_that_is_wrong_is_refused(crew: Team, query: str) -> None:
    found = await crew.call("GET", f"/tasks?{query}")
    assert (found.status, found.code) == (422, "invalid")


async def test_what_is_not_there_is_told_in_the_one_shape_with_all_headers(crew: Team) -> None:
    for method, path, status, code in (
        ("GET", "/api/v2", 404, "not_found"),
        ("GET", "/tasks/7", 404, "not_found"),
        ("GET", f"/tasks/{ANY}", 404, "not_found"),
        ("PUT", "/tasks", 405, "method_not_allowed"),
    ):
        found = await crew.call(method, path)
        assert (found.status, found.code) == (status, code), path
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    assert (await crew.call("PUT", "/tasks")).headers["Allow"] == "GET,POST"


async def test_metrics_count_what_there_is(crew: Team) -> None:
    await crew.create()
    text = (await crew.call("GET", "/metrics")).body
    assert 'makima_tasks{status="pending"} 1' in text
    assert 'makima_http_requests_total{endpoint="createTask",status="201"} 1' in text


async def test_no_key_gets_into_the_log(crew: Team, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await crew.call("POST", "/session", {"key": crew.user_key}, key=None)
    await crew.call("GET", "/tasks", key="mku_wrong")
    await crew.daemon()
    assert crew.user_key not in caplog.text
    assert crew.daemon_key not in caplog.text
    assert "mku_wrong" not in caplog.text


# The document


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Team]:
    """A server in a thread of its own, for a client that blocks."""
    ready: list[Team] = []
    there, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with team(tmp_path) as made:
            await made.create("one")
            await made.create("two", orchestrator=True)
            ready.append(made)
            there.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert there.wait(10)
    yield ready[0]
    over.set()
    thread.join(10)


@pytest.mark.timeout(120)
def test_the_server_keeps_to_its_document(elsewhere: Team, tmp_path: Path) -> None:
    """Left out is what waits, what has no end, and the sessions of browsers."""
    left_out = ("getTask", "streamEvents", "streamOutput", "signIn", "signOut", "getSession")
    argv = [
        *(str(Path(sys.executable).with_name("st")), "run", f"{elsewhere.base}/openapi.json"),
        *(word for name in left_out for word in ("--exclude-operation-id", name)),
        *("-H", f"Authorization: Bearer {elsewhere.user_key}", "--phases=fuzzing"),
        *("--max-examples=15", "--generation-deterministic", "--request-timeout=10"),
        *("--no-color", "--workers=1", "--mode=all"),
    ]
    done = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout[-12000:]
