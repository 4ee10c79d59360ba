"""What the live tests stand on: a real image, and a user with an empty home for each test."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tachikoma.hypervisor.qemu import images_claude
from tachikoma.hypervisor.qemu.images import host_architecture
from tachikoma.proxy import pidfile
from tests.live.image import kept_image

pytest.register_assert_rewrite("tests.live.crash_findings", "tests.live.crash_rounds")

_TEST_DEADLINE_S = 300
_LIVE_DEADLINE_S = 60
_COMMAND_DEADLINE_S = 120
_END_DEADLINE_S = 30
_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "socat", "npm", "ssh", "git")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the quick tests first. Those with VMs get the time that booting takes, the others that
    start processes the time that a busy machine takes.

    Side by side (pytest-xdist) those with VMs come first: one process has them, another the rest,
    and helps when it is done.
    """
    items.sort(key=_cost, reverse="PYTEST_XDIST_WORKER" in os.environ)
    for item in items:
        if item.get_closest_marker("live_qemu"):
            given = item.get_closest_marker("timeout")
            seconds = given.args[0] if given and given.args else _TEST_DEADLINE_S
            # Only the test itself: the first one also waits for the image.
            item.add_marker(pytest.mark.timeout(seconds, func_only=True), append=False)
        elif item.get_closest_marker("live") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_LIVE_DEADLINE_S))


def _cost(item: pytest.Item) -> int:
    return 2 if item.get_closest_marker("live_qemu") else int("live" in item.keywords)


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished command."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def json(self) -> Any:
        """Its standard output, which is one JSON document."""
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an empty home, a free proxy port, and the real program.

    ``secret`` is the credential that the stand-in of the API demands; it is in the environment
    of the commands, as ``ANTHROPIC_API_KEY``.
    """

    home: Path
    environ: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    api_log: Path

    def run(
        self,
        *argv: str,
        cwd: Path | None = None,
        status: int | None = 0,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        deadline_s: float = _COMMAND_DEADLINE_S,
    ) -> Ran:
        """Run ``tachikoma ARGV`` to its end; ``status`` is the one it must have (None: any)."""
        return self.run_any(
            *self.argv(*argv), cwd=cwd, status=status, env=env, stdin=stdin, deadline_s=deadline_s
        )

    def run_any(
        self,
        *argv: str,
        cwd: Path | None = None,
        status: int | None = 0,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        deadline_s: float = _COMMAND_DEADLINE_S,
    ) -> Ran:
        """Run any program as this user."""
        began = time.monotonic()
        done = subprocess.run(
            argv,
            cwd=cwd or self.home,
            env={**self.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )
        ran = Ran(
            argv,
            done.returncode,
            done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"),
            time.monotonic() - began,
        )
        assert status is None or ran.status == status, (
            f"{' '.join(argv)} ended with {ran.status}\n{ran.stdout}\n{ran.stderr}"
        )
        return ran

    @contextlib.contextmanager
    def started(
        self,
        *argv: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start ``tachikoma ARGV`` and go on; whatever it does, it is dead afterwards.

        What it prints goes to ``log``, else to pipes that somebody should read.
        """
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(
                    self.argv(*argv),
                    cwd=cwd or self.home,
                    env={**self.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )
            try:
                yield process
            finally:
                process.kill()

    def argv(self, *argv: str) -> tuple[str, ...]:
        """Give the whole command line of ``tachikoma ARGV``."""
        return (sys.executable, "-m", "tachikoma", *argv)

    def repository(self, name: str = "app") -> Path:
        """Make a git repository with one commit on ``main``, in the home."""
        place = self.home / name
        for argv in (
            ("init", "-q", "-b", "main", str(place)),
            ("-C", str(place), "config", "user.name", "A. User"),
            ("-C", str(place), "config", "user.email", "user@example.org"),
            ("-C", str(place), "commit", "-q", "--allow-empty", "-m", "First"),
        ):
            self.run_any("git", *argv)
        return place

    def api_requests(self) -> list[dict[str, Any]]:
        """What the stand-in of the API has seen so far."""
        return requests_in(self.api_log)

    def processes(self) -> dict[int, str]:
        """Every process that works for this user: its id and command line."""
        found = _processes_of(self.home.parent)
        # The proxy hides its environment from everybody but root, and names no path.
        proxy = pidfile.read(self.home / ".config" / "tachikoma" / "proxy.pid")
        if proxy is not None and proxy.alive:
            found[proxy.pid] = "the credential proxy"
        return found


def requests_in(log: Path) -> list[dict[str, Any]]:
    """What a stand-in of the API that writes to ``log`` has seen so far."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "method" in line]


@pytest.fixture(scope="session")
def live_image_data(real_environ: dict[str, str]) -> Path:
    """A data directory with the image ``debian``."""
    if why := _why_no_vms():
        if real_environ.get("CI") == "true":
            pytest.fail(f"this machine must be able to run VMs: {why}")
        pytest.skip(why)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", real_environ.get("HOME", "/"))  # npm's mirror may be set up there
        return asyncio.run(kept_image(real_environ))


@pytest.fixture(scope="session")
def claude_code(live_image_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that the images hold, to be run on this host."""
    archive = images_claude.cached(
        images_claude.PACKAGES[host_architecture()], live_image_data.parent / "cache/claude-code"
    )
    assert archive
    program = tmp_path_factory.mktemp("claude") / "claude"
    images_claude.unpack(archive, program)
    return program


@pytest.fixture
def live_api(real_environ: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """A stand-in of the Anthropic API: its URL, the only secret that it takes, its log."""
    secret = f"sk-ant-api03-{secrets.token_urlsafe(40)}"
    log = tmp_path / "api.jsonl"
    with stand_in(real_environ, secret, log) as url:
        yield url, secret, log


@contextlib.contextmanager
def stand_in(environ: Mapping[str, str], secret: str, log: Path) -> Iterator[str]:
    """Run a stand-in of the Anthropic API that takes only ``secret``, and give its URL."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "tachikoma.offline", "--secret-sha256", digest],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
        ) as process,
    ):
        try:
            yield _announced(log)
        finally:
            process.kill()


@pytest.fixture
def live_user(
    own_home: Path, live_image_data: Path, live_api: tuple[str, str, Path]
) -> Iterator[User]:
    """A user with nothing but the image; whatever processes are left in the end fail the test."""
    url, secret, api_log = live_api
    data = own_home / ".local" / "share" / "tachikoma"
    data.mkdir(parents=True)
    (data / "images").symlink_to(live_image_data / "images")
    config = own_home / ".config" / "tachikoma"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(
        f'hypervisor = "qemu"\nvm_cpus = 2\nvm_memory = 1024\n'
        f"credential_proxy_port = {_free_port()}\nboot_timeout_secs = 180\n",
        encoding="utf-8",
    )
    environ = dict(os.environ) | {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": secret}
    user = User(own_home, environ, secret, api_log)
    try:
        yield user
        _leave(user)
    finally:
        left = user.processes()
        _end(user)
    assert not left, f"these processes were left behind: {left}"


def _leave(user: User) -> None:
    """Do what a user does who goes: destroy every VM, stop the proxy."""
    for vm in user.run("list", "--json").json["data"]["vms"]:
        user.run("destroy", vm["name"], "--force")
    user.run("proxy", "stop", status=None)


def _end(user: User) -> None:
    end = time.monotonic() + _END_DEADLINE_S
    while (left := user.processes()) and time.monotonic() < end:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)  # until the kernel has them gone


def _processes_of(base: Path) -> dict[int, str]:
    """Find them by the path that is in the command line or the environment of each."""
    mark = os.fsencode(base) + b"/"
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        command, environ = _read(entry / "cmdline"), _read(entry / "environ")
        if mark in command or mark in environ:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return found


def _read(path: Path) -> bytes:
    with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
        return path.read_bytes()
    return b""


def _why_no_vms() -> str:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"the images are for Linux on x86_64, this is {platform.platform()}"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _announced(log: Path) -> str:
    end = time.monotonic() + _END_DEADLINE_S
    while time.monotonic() < end:
        first, newline, _ = log.read_text(encoding="utf-8").partition("\n")
        if newline:
            return str(json.loads(first)["address"])
        time.sleep(0.01)
    raise AssertionError("the stand-in of the API does not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
