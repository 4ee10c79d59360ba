"""The detached proxy: real processes, real sockets, as commands and crashes treat it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tachikoma.host import environ, process, tasks
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.host.paths import paths_from
from tachikoma.model.errors import ProxyError, ProxyPortError
from tachikoma.model.events import Event, Notice, silent
from tachikoma.model.names import VmName
from tachikoma.model.version import VERSION
from tachikoma.model.vm import Endpoint
from tachikoma.proxy import pidfile
from tachikoma.proxy.control import ProxyControl, ProxyStatus
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.route import token_hash
from tachikoma.state.json_file import JsonFileStore
from tachikoma.state.port import VmRecord

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]

TOKEN = "sk-ant-tachikoma-live"
KEY = "sk-ant-api03-REALREALREAL"
DEADLINE_S = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def plan(own_home: Path) -> Plan:
    environment = {**environ.current(), "ANTHROPIC_API_KEY": KEY}
    return Plan(
        endpoint=Endpoint("127.0.0.1", free_port()),
        paths=paths_from(environment),
        environment=environment,
        ttl_s=300,
    )


@pytest.fixture
async def control(plan: Plan) -> AsyncIterator[ProxyControl]:
    made = ProxyControl(plan=plan, clock=SystemClock())
    yield made
    with contextlib.suppress(ProxyError):
        await made.stop()


def pid_of(plan: Plan) -> int:
    return int(plan.pid_file.read_text().splitlines()[0])


async def until_gone(pid: int) -> None:
    async for _ in attempts(SystemClock(), deadline_s=DEADLINE_S):
        process.reap(pid)
        if process.start_time(pid) is None:
            return
    raise AssertionError(f"process {pid} still lives")


async def test_ensure_starts_a_detached_proxy_and_then_finds_it(
    plan: Plan, control: ProxyControl
) -> None:
    assert await control.status() == ProxyStatus(running=False, endpoint=plan.endpoint)
    before = SystemClock().now()
    await control.ensure(silent)
    status = await control.status()
    assert status == ProxyStatus(
        running=True,
        endpoint=plan.endpoint,
        pid=pid_of(plan),
        version=VERSION,
        upstream="https://api.anthropic.com",
        since=status.since,
    )
    assert status.since is not None
    assert before <= status.since <= SystemClock().now()
    assert os.getsid(pid_of(plan)) == pid_of(plan)
    await control.ensure(silent)
    assert (await control.status()) == status


async def test_stop_ends_it_and_leaves_no_record(plan: Plan, control: ProxyControl) -> None:
    await control.ensure(silent)
    pid = pid_of(plan)
    assert await control.stop()
    assert process.start_time(pid) is None
    assert not plan.pid_file.exists()
    assert not await control.stop()
    assert not (await control.status()).running


async def test_who_waits_for_a_proxy_to_end_is_told_which_and_then_goes_on(
    control: ProxyControl, plan: Plan
) -> None:
    await control.ended(silent)  # there is none
    await control.ensure(silent)
    said: list[Event] = []
    waiting = tasks.spawn(control.ended(said.append), name="next proxy")
    async for _ in attempts(SystemClock(), deadline_s=20):
        if said:
            break
    assert said == [Notice(f"the proxy runs already: process {pid_of(plan)}; waiting for its end")]
    assert not waiting.done()
    await control.stop()
    async with asyncio.timeout(5):
        await waiting


async def test_five_commands_at_once_make_one_proxy(plan: Plan, control: ProxyControl) -> None:
    script = textwrap.dedent("""
        import asyncio, sys
        from tachikoma.host import environ
        from tachikoma.host.clock import SystemClock
        from tachikoma.host.paths import paths_from
        from tachikoma.model.events import silent
        from tachikoma.model.vm import Endpoint
        from tachikoma.proxy.control import ProxyControl
        from tachikoma.proxy.plan import Plan

        environment = environ.current()
        plan = Plan(endpoint=Endpoint("127.0.0.1", int(sys.argv[1])),
                    paths=paths_from(environment), environment=environment, ttl_s=300)
        control = ProxyControl(plan=plan, clock=SystemClock())
        asyncio.run(control.ensure(silent))
        print(asyncio.run(control.status()).pid)
    """)
    argv = [sys.executable, "-c", script, str(plan.endpoint.port)]
    done = await asyncio.gather(*(process.run(argv, deadline_s=60) for _ in range(5)))
    assert {each.text for each in done} == {str(pid_of(plan))}
    assert plan.log_file.read_text().count("listens on") == 1


async def test_a_killed_proxy_is_replaced_by_the_next_ensure(
    plan: Plan, control: ProxyControl
) -> None:
    await control.ensure(silent)
    killed = pid_of(plan)
    os.kill(killed, signal.SIGKILL)
    await until_gone(killed)
    assert not (await control.status()).running
    await control.ensure(silent)
    assert pid_of(plan) != killed
    assert (await control.status()).running


async def test_a_record_that_was_removed_comes_back(plan: Plan, control: ProxyControl) -> None:
    await control.ensure(silent)
    pid = pid_of(plan)
    plan.pid_file.unlink()
    assert (await control.status()).pid == pid
    plan.pid_file.unlink()
    await control.ensure(silent)
    assert pid_of(plan) == pid
    plan.pid_file.unlink()
    assert await control.stop()
    assert process.start_time(pid) is None


async def test_the_record_of_a_recycled_pid_is_not_believed(
    plan: Plan, control: ProxyControl
) -> None:
    await control.ensure(silent)
    real = pidfile.read(plan.pid_file)
    assert real is not None
    assert await control.stop()
    ours = dataclasses.replace(real, pid=os.getpid())
    pidfile.write(plan.pid_file, ours)
    assert not await control.stop()  # and we are still here
    pidfile.write(plan.pid_file, ours)
    await control.ensure(silent)
    assert pid_of(plan) != os.getpid()


@contextlib.contextmanager
def taken(endpoint: Endpoint) -> Iterator[None]:
    with socket.create_server((endpoint.host, endpoint.port)):
        yield


async def test_a_port_that_another_program_holds_is_said(plan: Plan, control: ProxyControl) -> None:
    async def page(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="hello")

    server = web.Server(page, access_log=None)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, plan.endpoint.host, plan.endpoint.port)
    with pytest.raises(ProxyPortError, match="another program") as caught:
        await control.ensure(silent)
    assert "credential_proxy_port" in caught.value.hint
    listener.close()
    await server.shutdown(0.1)


async def test_a_port_whose_holder_never_answers_is_said(plan: Plan, control: ProxyControl) -> None:
    with taken(plan.endpoint), pytest.raises(ProxyPortError, match="does not answer"):
        await control.ensure(silent)


async def test_the_proxy_of_another_configuration_is_not_taken_for_ours(
    plan: Plan, control: ProxyControl, tmp_path: Path
) -> None:
    await control.ensure(silent)
    paths = dataclasses.replace(plan.paths, config=tmp_path / "other")
    other = ProxyControl(plan=dataclasses.replace(plan, paths=paths), clock=SystemClock())
    with pytest.raises(ProxyPortError, match="another user or configuration"):
        await other.ensure(silent)


async def test_a_proxy_on_another_port_is_said_and_left(plan: Plan, control: ProxyControl) -> None:
    await control.ensure(silent)
    moved = dataclasses.replace(plan, endpoint=Endpoint("127.0.0.1", free_port()))
    other = ProxyControl(plan=moved, clock=SystemClock())
    with pytest.raises(ProxyError, match=f"runs on {plan.endpoint}"):
        await other.ensure(silent)
    assert (await other.status()).endpoint == plan.endpoint
    assert (await other.status()).running


async def test_an_address_that_is_not_of_this_machine_is_said(plan: Plan) -> None:
    away = dataclasses.replace(plan, endpoint=Endpoint("192.0.2.1", plan.endpoint.port))
    with pytest.raises(ProxyError, match="does not come up") as caught:
        await ProxyControl(plan=away, clock=SystemClock()).ensure(silent)
    assert "192.0.2.1 is not an address of this machine" in caught.value.details
    assert not plan.pid_file.exists()


async def test_all_addresses_only_by_explicit_word(plan: Plan) -> None:
    wide = dataclasses.replace(plan, endpoint=Endpoint("0.0.0.0", plan.endpoint.port))
    with pytest.raises(ProxyError, match="all addresses"):
        await ProxyControl(plan=wide, clock=SystemClock()).ensure(silent)
    said = ProxyControl(plan=dataclasses.replace(wide, any_address=True), clock=SystemClock())
    await said.ensure(silent)
    assert (await said.status()).running
    assert await said.stop()


async def test_a_shell_with_another_credential_is_told_so(
    plan: Plan, control: ProxyControl
) -> None:
    await control.ensure(silent)
    environment = {
        **plan.environment,
        "ANTHROPIC_API_KEY": "sk-ant-api03-another",
        "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-x",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9/gateway/",
    }
    said: list[Event] = []
    other = dataclasses.replace(plan, environment=environment)
    await ProxyControl(plan=other, clock=SystemClock()).ensure(said.append)
    again = "`tachikoma proxy stop` ends it; the next spawn starts another"
    assert said == [
        Notice(f"the proxy forwards to https://api.anthropic.com; {again}"),
        Notice(
            "the proxy was started without this shell's CLAUDE_CODE_OAUTH_TOKEN and "
            f"ANTHROPIC_API_KEY; {again}"
        ),
    ]
    said.clear()
    await control.ensure(said.append)
    assert said == []


async def test_the_credential_is_in_no_argument_environment_or_file(
    plan: Plan, control: ProxyControl, own_home: Path
) -> None:
    await control.ensure(silent)
    pid = pid_of(plan)
    assert not any(KEY in each for each in process.command_line(pid))
    assert KEY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    files = [path for path in own_home.parent.rglob("*") if path.is_file()]
    assert plan.pid_file in files
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    assert next(each for each in limits if "core file" in each).split()[4:6] == ["0", "0"]
    assert plan.pid_file.stat().st_mode & 0o777 == 0o600


async def test_a_request_goes_through_the_detached_proxy_with_the_output_of_a_command(
    plan: Plan, own_home: Path
) -> None:
    seen: list[str] = []

    async def api(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(f"{request.raw_path} {request.headers.get('Authorization')}")
        return web.Response(text="ok")

    server = web.Server(api, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/prefix/"
    whole = dataclasses.replace(
        plan,
        environment={**plan.environment, "ANTHROPIC_BASE_URL": base, "SESSION": "oat01-$x"},
        credential_command='printf "sk-ant-%s\\n" "$SESSION"',
    )
    state = JsonFileStore(file=plan.paths.state_file, locks=plan.paths.locks, clock=SystemClock())
    control = ProxyControl(plan=whole, clock=SystemClock())
    await control.ensure(silent)
    with state.edit() as ledger:
        ledger.put(record(own_home))
    try:
        async with aiohttp.ClientSession() as client:
            asked = client.get(
                f"http://{plan.endpoint}/v1/models?limit=1", headers={"x-api-key": TOKEN}
            )
            async with asked as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
        assert seen == ["/prefix/v1/models?limit=1 Bearer sk-ant-oat01-$x"]
    finally:
        assert await control.stop()
        listener.close()
        await server.shutdown(0.1)
    assert "/v1/models" in whole.requests_file.read_text()
    for file in (whole.requests_file, whole.log_file):
        assert "oat01" not in file.read_text()


def record(home: Path) -> VmRecord:
    return VmRecord(
        name=VmName("tachikoma-repo-main"),
        repository=home,
        repository_name="repo",
        branch="main",
        worktree=home,
        engine="synthetic",
        image="none",
        created=1.0,
        last_used=1.0,
        token_hashes=(token_hash(TOKEN),),
    )


FOREGROUND = """
import asyncio, sys
from tachikoma.host import environ
from tachikoma.host.clock import SystemClock
from tachikoma.host.paths import paths_from
from tachikoma.model.errors import ProxyError
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.plan import Plan
from tachikoma.proxy.run import serve

environment = environ.current()
plan = Plan(endpoint=Endpoint("127.0.0.1", int(sys.argv[1])),
            paths=paths_from(environment), environment=environment, ttl_s=300)
try:
    asyncio.run(serve(plan, clock=SystemClock(), announce=lambda made: print("listens")))
    print("ended")
except ProxyError as error:
    print(error.code, error.message)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
async def test_a_foreground_proxy_ends_in_good_order(
    plan: Plan, tmp_path: Path, sent: signal.Signals
) -> None:
    log = tmp_path / "out"
    argv = [sys.executable, "-c", FOREGROUND, str(plan.endpoint.port)]
    pid = process.detach(argv, log=log)
    async for _ in attempts(SystemClock(), deadline_s=DEADLINE_S):
        if plan.pid_file.exists():
            break
    assert pid_of(plan) == pid
    second = [sys.executable, "-c", FOREGROUND, str(free_port())]
    refused = await process.run(second, deadline_s=DEADLINE_S)
    assert refused.text == f"proxy.failed the proxy runs already: process {pid} on {plan.endpoint}"
    os.kill(pid, sent)
    await until_gone(pid)
    assert log.read_text() == "listens\nended\n"
    assert not plan.pid_file.exists()


async def test_the_next_proxy_starts_while_the_last_lets_its_requests_finish(plan: Plan) -> None:
    finish, began = asyncio.Event(), asyncio.Event()

    async def api(request: web.BaseRequest) -> web.StreamResponse:
        began.set()
        await finish.wait()
        return web.Response(text="finished")

    server = web.Server(api, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    whole = dataclasses.replace(plan, environment={**plan.environment, "ANTHROPIC_BASE_URL": base})
    control = ProxyControl(plan=whole, clock=SystemClock())
    await control.ensure(silent)
    first = pid_of(plan)
    state = JsonFileStore(file=plan.paths.state_file, locks=plan.paths.locks, clock=SystemClock())
    with state.edit() as ledger:
        ledger.put(record(plan.paths.home))
    try:
        async with aiohttp.ClientSession() as client, asyncio.timeout(DEADLINE_S):
            asked = client.get(f"http://{plan.endpoint}/v1/models", headers={"x-api-key": TOKEN})
            asking = tasks.spawn(text_of(asked), name="asking")
            await began.wait()
            os.kill(first, signal.SIGTERM)
            async for _ in attempts(SystemClock(), deadline_s=DEADLINE_S):
                if not plan.pid_file.exists():
                    break
            await control.ensure(silent)
            assert pid_of(plan) != first
            assert process.start_time(first) is not None
            finish.set()
            assert await asking == "finished"
        await until_gone(first)
        assert (await control.status()).running
    finally:
        assert await control.stop()
        listener.close()
        await server.shutdown(0.1)


async def text_of(asked: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> str:
    async with asked as answer:
        return await answer.text()


async def test_settings_are_read_again_when_asked_for(plan: Plan, control: ProxyControl) -> None:
    assert not await control.reload()
    await control.ensure(silent)
    pid = pid_of(plan)
    assert await control.reload()
    async for _ in attempts(SystemClock(), deadline_s=DEADLINE_S):
        if "the settings were read again" in plan.log_file.read_text():
            break
    assert "the settings were read again" in plan.log_file.read_text()
    assert pid_of(plan) == pid
    assert (await control.status()).running


TALKS = """
import sys
from pathlib import Path
from tachikoma.proxy.rotation import keep_output_small

for word in ("first", "second"):
    print(word * 100, flush=True)
    keep_output_small(Path(sys.argv[1]), largest=200)
print("last", flush=True)
"""


async def test_the_log_of_a_running_proxy_is_rotated_under_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    pid = process.detach([sys.executable, "-c", TALKS, str(log)], log=log)
    await until_gone(pid)
    assert log.read_text() == "last\n"
    assert log.with_name("log.1").read_text() == "second" * 100 + "\n"
    assert log.with_name("log.2").read_text() == "first" * 100 + "\n"
