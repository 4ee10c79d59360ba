"""The proxy as commands see it: ensure that it runs, stop it, tell about it.

Loads no HTTP library: every spawn comes through here, and mostly finds the proxy running.

A running proxy keeps what it was given at its start: settings, and the environment of the shell
that started it. A later shell cannot hand its own over; where that matters, ``ensure`` says so
in a notice and leaves the proxy, which others may be using, as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.host.clock import Clock, attempts
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import ProxyError, ProxyPortError
from tachikoma.model.events import Notice, Report
from tachikoma.model.version import VERSION
from tachikoma.model.vm import Endpoint
from tachikoma.proxy import pidfile
from tachikoma.proxy.pidfile import Announcement
from tachikoma.proxy.plan import Plan, encode
from tachikoma.proxy.rotation import rotate

START_DEADLINE_S = 20.0
_PROBE_S = 3.0
_RECORD_S = 5.0
"""How long a proxy may answer without being recorded: it is just starting or stopping."""
_LOOK_S = 0.5
_STOP_GRACE_S = 12.0
"""Longer than the proxy takes to let requests finish."""
_LARGEST_LOG = 1 << 20
_LARGEST_ANSWER = 8192
_LAST_LINES = 8
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  asked for, not bound
_STOP = "`tachikoma proxy stop` ends it; the next spawn starts another"


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """The proxy as it is. What is unknown while it does not run is None.

    ``since`` is seconds since the epoch.
    """

    running: bool
    endpoint: Endpoint
    pid: int | None = None
    version: str | None = None
    upstream: str | None = None
    since: float | None = None


class Answer(StrEnum):
    """Who answers at the endpoint, in words."""

    OURS = "this user's proxy"
    NOBODY = "nobody"
    OTHER_USER = "the tachikoma proxy of another user or configuration directory"
    OTHER_PROGRAM = "another program"
    MUTE = "a program that does not answer"
    CLOSING = "a program that closes every connection"


def judge(answer: bytes, instance: str) -> Answer:
    """Tell who gave ``answer`` when asked for /health; ``instance`` is what ours would name."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode("latin-1").split("\r\n")
    try:
        health = json.loads(body)
    except ValueError:
        health = None
    if status.split(" ")[1:2] != ["200"] or health != {"status": "ok", "proxy": "tachikoma"}:
        return Answer.OTHER_PROGRAM
    if f"x-tachikoma-instance: {instance}" not in {each.lower() for each in headers}:
        return Answer.OTHER_USER
    return Answer.OURS


class ProxyControl:
    """Starts, finds and stops the proxy of ``plan``; the ``Gateway`` of the heart."""

    def __init__(self, *, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock

    @property
    def endpoint(self) -> Endpoint:
        """Where the proxy listens on this host (or will)."""
        return self._plan.endpoint

    async def ensure(self, report: Report) -> None:
        """See to it that the proxy runs and answers. Idempotent; several callers make one proxy.

        Raises:
            ProxyPortError: something else listens there.
            ProxyError: it does not come up; details hold its log's last lines.
        """
        found = await self._running()
        if found is None:
            async with self._alone():
                found = await self._running() or await self._start()
        for notice in self._differences(found):
            report(notice)

    async def stop(self) -> bool:
        """End the proxy, letting requests finish for a while; tell whether there was one.

        Raises:
            ProxyError: it does not end.
        """
        async with self._alone():
            await self._probe()  # a proxy whose record was removed makes it again
            found = await asyncio.to_thread(pidfile.read, self._plan.pid_file)
            if found is None:
                return False
            was_alive = found.alive
            await asyncio.to_thread(
                process.end_process, found.pid, started=found.started, grace_s=_STOP_GRACE_S
            )
            if found.alive:
                raise ProxyError(
                    f"the proxy (process {found.pid}) does not end",
                    hint=f"see {self._plan.log_file}",
                )
            await asyncio.to_thread(pidfile.remove, self._plan.pid_file, pid=found.pid)
            return was_alive

    async def ended(self, report: Report) -> None:
        """Wait until no proxy of this user runs, and say for which one; at once if none does."""
        waited_for: int | None = None
        while True:
            found = await asyncio.to_thread(pidfile.read, self._plan.pid_file)
            if found is None or not found.alive:
                return
            if found.pid != waited_for:
                waited_for = found.pid
                report(Notice(f"the proxy runs already: process {found.pid}; waiting for its end"))
            await self._clock.sleep(_LOOK_S)

    async def reload(self) -> bool:
        """Have the proxy read the settings again; tell whether there was one."""
        found = await asyncio.to_thread(pidfile.read, self._plan.pid_file)
        if found is None or not found.alive:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGHUP)
        return True

    async def status(self) -> ProxyStatus:
        """Tell what runs and answers now."""
        answer = await self._probe()
        found = await asyncio.to_thread(pidfile.read, self._plan.pid_file)
        if found is None or not found.alive:
            return ProxyStatus(running=False, endpoint=self._plan.endpoint)
        if answer is not Answer.OURS and found.endpoint != self._plan.endpoint:
            answer = await self._probe(found.endpoint)
        return ProxyStatus(
            running=answer is Answer.OURS,
            endpoint=found.endpoint,
            pid=found.pid,
            version=found.version,
            upstream=found.upstream,
            since=found.since,
        )

    async def _running(self) -> Announcement | None:
        """Give the proxy that answers and is recorded; None if there is neither.

        Raises:
            ProxyPortError: something else listens there.
            ProxyError: this user's proxy lives and does not answer there.
        """
        answer, found = Answer.NOBODY, None
        async for _ in attempts(self._clock, deadline_s=_RECORD_S):
            answer = await self._probe()
            found = await asyncio.to_thread(pidfile.read, self._plan.pid_file)
            alive = found is not None and found.alive
            if answer is Answer.OURS and alive:
                return found
            if answer is Answer.NOBODY and not alive:
                return None
            elsewhere = found is not None and found.endpoint != self._plan.endpoint
            if answer is not Answer.OURS and (elsewhere or answer is not Answer.NOBODY):
                break
        raise self._contradiction(answer, found)

    def _contradiction(self, answer: Answer, found: Announcement | None) -> ProxyError:
        """Say why what answers and what is recorded do not fit together."""
        endpoint = self._plan.endpoint
        if found is None or not found.alive:
            what = "a proxy that nobody recorded" if answer is Answer.OURS else answer
            return ProxyPortError(
                f"{endpoint} is taken by {what}",
                hint=f"find it with `ss -ltnp sport = :{endpoint.port}` and end it, or set "
                "credential_proxy_port to another port",
            )
        if found.endpoint != endpoint:
            return ProxyError(
                f"the proxy runs on {found.endpoint}, and the settings say {endpoint}", hint=_STOP
            )
        return ProxyError(
            f"the proxy (process {found.pid}) does not answer on {endpoint}", hint=_STOP
        )

    async def _probe(self, endpoint: Endpoint | None = None) -> Answer:
        """Ask for /health, by hand."""
        at = endpoint or self._plan.endpoint
        host = _ALL_ADDRESSES.get(at.host, at.host)
        request = f"GET /health HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(_PROBE_S):
                reader, writer = await asyncio.open_connection(host, at.port)
                try:
                    writer.write(request.encode("ascii"))
                    return judge(await reader.read(_LARGEST_ANSWER), self._plan.instance)
                finally:
                    writer.close()
        except TimeoutError:
            return Answer.MUTE
        except ConnectionResetError:
            return Answer.CLOSING
        except OSError:
            return Answer.NOBODY

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only one who starts or stops this user's proxy."""
        with contextlib.ExitStack() as held:
            async for left_s in attempts(self._clock, deadline_s=START_DEADLINE_S + _STOP_GRACE_S):
                with contextlib.suppress(TimeoutError):
                    held.enter_context(files.locked(self._plan.lock_file, deadline_s=0.0))
                    break
                if left_s == 0:
                    raise ProxyError(
                        "another command has been starting or stopping the proxy for too long",
                        hint=f"see {self._plan.log_file}",
                    )
            yield

    async def _start(self) -> Announcement:
        """Start the proxy and wait until it answers."""
        plan = self._plan
        plan.check()
        private_dir(plan.paths.config)
        private_dir(plan.paths.logs)
        await asyncio.to_thread(rotate, plan.log_file, largest=_LARGEST_LOG)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = process.detach(
                # -P and /: nothing is imported from where we stand, which a guest may write to
                [sys.executable, "-P", "-m", "tachikoma.proxy", str(theirs.fileno())],
                log=plan.log_file,
                cwd=Path("/"),
                pass_fds=(theirs.fileno(),),
            )
            theirs.close()
            ours.settimeout(0)  # for the event loop
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(START_DEADLINE_S):
                    await asyncio.get_running_loop().sock_sendall(ours, encode(plan))
        return await self._came_up(pid)

    async def _came_up(self, pid: int) -> Announcement:
        """Wait until a proxy answers: the one that was started, or one that was quicker."""
        started = process.start_time(pid)
        async for _ in attempts(self._clock, deadline_s=START_DEADLINE_S):
            process.reap(pid)
            if started is None or process.start_time(pid) != started:
                break
            if await self._probe() is Answer.OURS and (found := await self._running()):
                return found
        else:
            await asyncio.to_thread(process.end_process, pid, started=started)
        if (found := await self._running()) is not None:
            return found
        raise ProxyError(
            f"the credential proxy does not come up on {self._plan.endpoint}",
            hint=f"its whole log is {self._plan.log_file}",
            details=await asyncio.to_thread(_last_lines, self._plan.log_file),
        )

    def _differences(self, found: Announcement) -> list[Notice]:
        """Say where the running proxy is not what this command would have started."""
        notices = []
        if found.version != VERSION:
            notices.append(Notice(f"the proxy is version {found.version}; {_STOP}"))
        if found.upstream != self._plan.upstream:
            notices.append(Notice(f"the proxy forwards to {found.upstream}; {_STOP}"))
        if lacking := found.lacks(self._plan.environment):
            names = " and ".join(lacking)
            notices.append(Notice(f"the proxy was started without this shell's {names}; {_STOP}"))
        return notices


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return process.redacted("\n".join(lines[-_LAST_LINES:]))
