"""A daemon that cannot start, as its user sees it: few lines, what helps, the right exit status."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.certificate import certificate
from tests.doubles.makima_server import MakimaServer, Manners

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]
SOON_S = 20.0


@dataclass
class Ran:
    status: int
    lines: list[str]


@dataclass
class Home:
    place: Path
    server: MakimaServer

    def start(self, **settings: str) -> subprocess.Popen[str]:
        given = {
            "MAKIMA_API_KEY": "mk-0123456789",
            "MAKIMA_DAEMON_SERVER_URL": self.server.url,
            "MAKIMA_DAEMON_PROCESS_ISOLATION": "worktree",
            "MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND": "/bin/true",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tachikoma", "makima", "daemon"],
            cwd=self.place,
            env={**os.environ, **given, **settings},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def ran(self, **settings: str) -> Ran:
        """Start one that ends by itself."""
        with self.start(**settings) as process:
            try:
                _, err = await asyncio.to_thread(process.communicate, timeout=SOON_S)
            finally:
                process.kill()
        return Ran(process.returncode, err.splitlines())


@pytest.fixture
async def home(own_home: Path) -> AsyncIterator[Home]:
    async with MakimaServer() as server:
        yield Home(own_home, server)


@pytest.mark.parametrize(
    ("manners", "said"),
    [
        (Manners(api_key="another"), "it says: not today (invalid_api_key)"),
        (Manners(http_status=401), "it answers HTTP 401, not as a WebSocket"),
    ],
)
async def test_a_server_that_refuses_the_key_ends_it_for_good(
    home: Home, manners: Manners, said: str
) -> None:
    home.server.manners = manners
    ran = await home.ran()
    first, error, hint = ran.lines
    assert ran.status == 78
    assert "makima-daemon" in first
    assert error == f"error: {home.server.url} does not let this daemon in; {said}"
    assert hint.startswith("hint: check the API key (MAKIMA_API_KEY, or server.api_key")


async def test_a_server_that_is_busy_is_said_to_be_so(home: Home) -> None:
    home.server.manners = Manners(error_code="server_busy")
    ran = await home.ran(
        MAKIMA_DAEMON_SERVER_MAXRECONNECTATTEMPTS="1",
        MAKIMA_DAEMON_SERVER_RECONNECTINTERVALSECS="1",
    )
    _, warning, error, _ = ran.lines
    assert ran.status == 1
    assert "the server lets no daemon in for now; it says: not today (server_busy) (try" in warning
    assert "was not reached in 1 attempts" in error


async def test_over_tls_only_a_server_whose_certificate_is_known_hears_the_key(
    own_home: Path,
) -> None:
    public, context = certificate(own_home, "127.0.0.1")
    async with MakimaServer(tls=context) as server:
        home = Home(own_home, server)
        ran = await home.ran(
            MAKIMA_DAEMON_SERVER_MAXRECONNECTATTEMPTS="1",
            MAKIMA_DAEMON_SERVER_RECONNECTINTERVALSECS="1",
        )
        _, warning, _, hint = ran.lines
        assert ran.status == 1
        assert f"{server.url}: its certificate is not accepted: " in warning
        assert "self-signed certificate" in warning
        assert hint.startswith("hint: a certificate of your own is made known by SSL_CERT_FILE;")
        assert (server.upgrades, server.frames) == (0, [])

        with home.start(SSL_CERT_FILE=str(public)) as process:
            try:
                await server.daemon()
                assert server.frames[0]["apiKey"] == "mk-0123456789"
            finally:
                process.terminate()
            _, err = await asyncio.to_thread(process.communicate, timeout=SOON_S)
            assert process.returncode == 0, err


async def test_what_is_no_daemon_s_server_is_named_with_what_to_check(home: Home) -> None:
    url = home.server.url.replace("/ws/daemon", "/elsewhere")
    ran = await home.ran(
        MAKIMA_DAEMON_SERVER_URL=url,
        MAKIMA_DAEMON_SERVER_MAXRECONNECTATTEMPTS="1",
        MAKIMA_DAEMON_SERVER_RECONNECTINTERVALSECS="1",
    )
    _, warning, error, hint = ran.lines
    assert ran.status == 1
    assert f"{url}: it answers HTTP 404" in warning
    assert error.endswith("the last time: it answers HTTP 404, not as a WebSocket")
    assert hint == "hint: check the path in server.url: without one it is /ws/daemon"


async def test_without_claude_it_ends_for_good(home: Home) -> None:
    ran = await home.ran(MAKIMA_DAEMON_PROCESS_CLAUDECOMMAND="/gone/claude")
    error, hint = ran.lines
    assert ran.status == 78
    assert error == "error: the program /gone/claude is not installed"
    assert "process.claude_command" in hint


async def test_a_second_daemon_is_told_who_has_the_database(home: Home) -> None:
    with home.start() as first:
        try:
            await home.server.daemon(deadline_s=SOON_S)
            ran = await home.ran()
            assert ran.status == 1
            assert ran.lines[-2].endswith(
                f"is in use by another makima daemon (process {first.pid})"
            )
            assert f"`kill {first.pid}`" in ran.lines[-1]
            first.terminate()
            assert await asyncio.to_thread(first.wait, SOON_S) == 0
        finally:
            first.kill()
    assert len(home.server.daemons) == 1


async def test_a_full_disk_is_named_and_left_as_it_is(home: Home) -> None:
    with full_disk(home.place / "full") as place:
        ran = await home.ran(MAKIMA_DAEMON_LOCALDB_PATH=str(place / "daemon.db"))
        assert ran.status == 1
        assert ran.lines[-2].startswith("error: no space is left")
        assert ran.lines[-1].startswith("hint: free some space")
        assert home.server.upgrades == 0
        (place / "filling").unlink()
        process = home.start(MAKIMA_DAEMON_LOCALDB_PATH=str(place / "daemon.db"))
        with process:
            try:
                await home.server.daemon(deadline_s=SOON_S)
                process.terminate()
                assert await asyncio.to_thread(process.wait, SOON_S) == 0
            finally:
                process.kill()


@contextmanager
def full_disk(place: Path) -> Iterator[Path]:
    """Have a file system at ``place`` on which no byte is free."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    place.mkdir(mode=0o700)
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)]
    mounted = subprocess.run(argv, capture_output=True, text=True, timeout=SOON_S, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        (place / "filling").write_bytes(bytes(1 << 20))
        yield place
    finally:
        subprocess.run(["umount", str(place)], timeout=SOON_S, check=True)
