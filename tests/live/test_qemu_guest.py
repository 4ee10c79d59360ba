"""What a guest of QEMU can do and cannot: one VM for all of these tests."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.qemu.shares import id_maps
from tachikoma.model.errors import AgentError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint, GuestCommand, GuestExit, Launch, Mount, Network, Stream

pytestmark = pytest.mark.live_qemu

VM = VmName("tachikoma-live-guest")
BOOT_S = 180.0
SOON_S = 60.0
CODE = "/srv/code"


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from the host")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
        pass


@contextlib.contextmanager
def web_server(address: str) -> Iterator[Endpoint]:
    """Answer HTTP at a free port of ``address``."""
    server = http.server.ThreadingHTTPServer((address, 0), _Hello)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Endpoint("127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Guest:
    """A running VM with ``code`` at /srv/code, ``notes`` read-only at /srv/notes, and a proxy."""

    engine: Qemu
    code: Path
    notes: Path
    proxy: Endpoint

    async def run(
        self, *argv: str, user: str = "root", stdin: bytes = b"", deadline_s: float = SOON_S
    ) -> GuestExit:
        return await self.engine.execute(VM, GuestCommand(argv, user, stdin, deadline_s))

    async def says(self, script: str, *, user: str = "root") -> str:
        """Give the output of a script that must succeed."""
        ended = await self.run("sh", "-c", script, user=user)
        assert ended.status == 0, ended
        return ended.stdout.decode().strip()

    async def reaches(self, host: str, port: int) -> bool:
        request = f"exec 3<>/dev/tcp/{host}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3"
        ended = await self.run("timeout", "5", "bash", "-c", f"{request} && grep hello <&3")
        return b"hello from the host" in ended.stdout


async def boot(engine: Qemu, vm: VmName, launch: Launch) -> None:
    """Start ``vm`` and wait until its agent answers."""
    await engine.start(vm, launch)
    async for _ in attempts(SystemClock(), deadline_s=BOOT_S):
        if await engine.agent_ready(vm):
            return
    raise AssertionError(f"the agent does not answer:\n{Path(engine.log_of(vm)).read_text()}")


@pytest.fixture(scope="module")
def guest(live_image_data: Path) -> Iterator[Guest]:
    base = Path(tempfile.mkdtemp(prefix="tk-"))
    data = base / 'data "of", this'
    code, notes = base / "a, 'worktree'", base / "notes"
    for directory in (data, code, notes):
        directory.mkdir()
    (notes / "note").write_text("read me")
    (data / "images").symlink_to(live_image_data / "images")
    engine = Qemu(data=data, runtime=base / "r", clock=SystemClock())
    with web_server("127.0.0.1") as proxy:
        made = Guest(engine, code, notes, proxy)
        try:
            asyncio.run(_bring_up(made))
            yield made
        finally:
            asyncio.run(engine.stop(VM, grace_s=0))
            asyncio.run(engine.delete(VM))
            shutil.rmtree(base)


async def _bring_up(guest: Guest) -> None:
    await guest.engine.clone("debian", VM)
    await guest.engine.configure(VM, cpus=2, memory_mib=1024)
    mounts = (Mount("code", guest.code), Mount("notes", guest.notes, read_only=True))
    await boot(guest.engine, VM, Launch(mounts, Network.PROXY, guest.proxy))
    for tag in ("code", "notes"):
        await guest.says(f"mkdir -p /srv/{tag} && mount -t virtiofs {tag} /srv/{tag}")


async def test_ssh_answers_at_the_address(guest: Guest) -> None:
    address = await guest.engine.address(VM)
    assert address is not None
    assert address.host == "127.0.0.1"
    end = time.monotonic() + SOON_S
    banner = b""
    while not banner and time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address.host, address.port)) as ssh,
        ):
            ssh.settimeout(5)
            banner = ssh.recv(64)
    assert banner.startswith(b"SSH-2.0-")


async def test_status_and_outputs_are_those_of_the_command(guest: Guest) -> None:
    ended = await guest.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert ended == GuestExit(7, b"out\n", b"err\n")
    assert (await guest.run("sh", "-c", "kill -9 $$")).status == 137
    assert (await guest.run("no-such-program")).status == 127


async def test_arguments_arrive_exactly(guest: Guest) -> None:
    odd = ("a b", "", "$HOME", "'\"\\", "é\n", "-n")
    ended = await guest.run("printf", "[%s]", *odd)
    assert ended.stdout.decode() == "".join(f"[{each}]" for each in odd)


@pytest.mark.parametrize("watched", [False, True])
async def test_a_megabyte_goes_in_and_comes_out(guest: Guest, *, watched: bool) -> None:
    given = os.urandom(1 << 20)
    seen = bytearray()

    def on_output(_stream: Stream, piece: bytes) -> None:
        seen.extend(piece)

    command = GuestCommand(("cat",), stdin=given, deadline_s=SOON_S)
    ended = await guest.engine.execute(VM, command, on_output if watched else None)
    assert ended.stdout == given
    assert bytes(seen) == (given if watched else b"")


async def test_output_is_seen_before_the_command_ends(guest: Guest) -> None:
    arrived = asyncio.Event()

    def on_output(_stream: Stream, _piece: bytes) -> None:
        arrived.set()

    script = f"echo now; until [ -e {CODE}/go ]; do sleep 0.1; done; echo later"
    command = GuestCommand(("sh", "-c", script), deadline_s=SOON_S)
    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        running = group.create_task(guest.engine.execute(VM, command, on_output))
        await arrived.wait()
        assert not running.done()
        (guest.code / "go").touch()
    assert (await running).stdout == b"now\nlater\n"
    (guest.code / "go").unlink()


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "])
async def test_a_command_over_its_deadline_is_ended_with_its_children(
    guest: Guest, stubborn: str
) -> None:
    script = f"{stubborn}sleep 3217 & sleep 3217"
    with pytest.raises(AgentError, match=r"took longer than 1 s"):
        await guest.run("sh", "-c", script, deadline_s=1)
    await gone(guest, "sleep 3217")


async def test_a_cancelled_command_is_ended_with_its_children(guest: Guest) -> None:
    arrived = asyncio.Event()

    def on_output(_stream: Stream, _piece: bytes) -> None:
        arrived.set()

    command = GuestCommand(("sh", "-c", "echo here; sleep 3218 & sleep 3218"), deadline_s=SOON_S)
    running = asyncio.get_running_loop().create_task(guest.engine.execute(VM, command, on_output))
    async with asyncio.timeout(SOON_S):
        await arrived.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    await gone(guest, "sleep 3218")


async def gone(guest: Guest, command: str) -> None:
    async for _ in attempts(SystemClock(), deadline_s=SOON_S):
        if (await guest.run("pgrep", "-f", f"^{command}$")).status == 1:
            assert await guest.says("ls -d /run/tachikoma-* 2>/dev/null | wc -l") == "0"
            return
    raise AssertionError(f"{command} still runs in the guest")


async def test_commands_at_once_do_not_mix(guest: Guest) -> None:
    ended = await asyncio.gather(*(guest.run("sh", "-c", f"sleep 0.5; echo {n}") for n in range(4)))
    assert [each.stdout for each in ended] == [b"0\n", b"1\n", b"2\n", b"3\n"]


async def test_a_client_that_died_half_way_through_a_question_is_no_hindrance(
    guest: Guest, tmp_path: Path
) -> None:
    del tmp_path
    (path,) = (guest.code.parent / "r").glob("*/agent.sock")
    for half in (b'{"execute": "guest-exec", "argum', b'\xff{"execute":"guest-info"}\n'):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))
            client.sendall(half)
        assert await guest.says("echo fine") == "fine"


async def test_what_admin_writes_belongs_to_the_user_of_the_host(guest: Guest) -> None:
    commands = (
        "git init -q . && git config user.name A && git config user.email a@example.org",
        "echo text > file && ln -s file link && chmod 750 file && git add -A && git commit -qm One",
        "git status --porcelain && git log --format=%s",
    )
    script = " && ".join((f"mkdir -p {CODE}/repo && cd {CODE}/repo", *commands))
    assert await guest.says(script, user="admin") == "One"
    here = guest.code / "repo"
    assert (here / "file").read_text() == "text\n"
    assert (here / "file").stat().st_mode & 0o777 == 0o750
    assert (here / "link").readlink() == Path("file")
    assert {path.lstat().st_uid for path in here.rglob("*")} == {os.geteuid()}
    assert {path.lstat().st_gid for path in here.rglob("*")} == {os.getegid()}
    seen = subprocess.run(
        ["git", "-C", here, "log", "--format=%s"], capture_output=True, check=True, timeout=20
    )
    assert seen.stdout == b"One\n"


async def test_what_the_host_writes_is_admins_in_the_guest(guest: Guest) -> None:
    (guest.code / "from-host").write_text("hi")
    assert await guest.says(f"stat -c %U {CODE}/from-host; cat {CODE}/from-host") == "admin\nhi"
    await guest.says(f"echo more >> {CODE}/from-host", user="admin")
    assert (guest.code / "from-host").read_text() == "himore\n"


async def test_what_the_guests_root_writes_belongs_to_nobody_of_the_host(guest: Guest) -> None:
    await guest.says(f"echo x > {CODE}/by-root && chmod 4755 {CODE}/by-root")
    seen = (guest.code / "by-root").stat()
    assert (seen.st_uid, seen.st_gid) == (id_maps().uid[0][1], id_maps().gid[0][1])
    assert seen.st_uid not in (0, os.geteuid())


async def test_a_read_only_mount_cannot_be_written_by_anybody(guest: Guest) -> None:
    assert await guest.says("cat /srv/notes/note") == "read me"
    for user in ("root", "admin"):
        for script in ("echo x > /srv/notes/new", "rm -f /srv/notes/note", "chmod 0 /srv/notes"):
            assert (await guest.run("sh", "-c", script, user=user)).status != 0
    assert [path.name for path in guest.notes.iterdir()] == ["note"]


async def test_a_link_out_of_the_mount_leads_into_the_guest(guest: Guest) -> None:
    (guest.code / "escape").symlink_to(guest.notes / "note")
    assert (await guest.run("cat", f"{CODE}/escape")).status == 1


async def test_the_proxy_is_reached(guest: Guest) -> None:
    seen = guest.engine.proxy_endpoint(guest.proxy)
    assert await guest.reaches(seen.host, seen.port)


async def test_the_end_of_an_answer_arrives_at_once_and_a_half_closed_request_is_answered(
    guest: Guest,
) -> None:
    seen = guest.engine.proxy_endpoint(guest.proxy)
    for then in ("", "shutdown($s, 1);"):
        script = (
            f"$s = IO::Socket::INET->new('{seen.host}:{seen.port}') or die;"
            f"print $s qq(GET / HTTP/1.0\\r\\n\\r\\n); $s->flush; {then} print <$s>"
        )
        ended = await guest.run("timeout", "20", "perl", "-MIO::Socket::INET", "-e", script)
        assert ended.status == 0, ended
        assert ended.stdout.endswith(b"hello from the host")


async def test_nothing_but_the_proxy_is_reached(guest: Guest) -> None:
    with web_server("0.0.0.0") as other:
        own = subprocess.run(["hostname", "-I"], capture_output=True, check=True, timeout=20)
        lan = [each for each in own.stdout.decode().split() if ":" not in each]
        seen = guest.engine.proxy_endpoint(guest.proxy)
        for host in ("10.0.2.2", "10.0.2.3", seen.host, *lan, "192.0.2.1", "1.1.1.1"):
            assert not await guest.reaches(host, other.port), host
        for host in ("10.0.2.2", *lan):
            assert not await guest.reaches(host, guest.proxy.port), host


async def test_no_name_is_resolved_and_there_is_no_ipv6(guest: Guest) -> None:
    assert (await guest.run("getent", "ahosts", "example.com")).status != 0
    assert await guest.says("ip -6 route show default") == ""
    assert await guest.says("ip -6 addr show scope global") == ""
