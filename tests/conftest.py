"""What every test stands on: a home of its own, and no way to the real machine by accident.

Only tests marked ``live`` or ``live_qemu`` start processes, connect sockets or reach outside.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import ipaddress
import os
import pwd
import shutil
import signal
import site
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from blockbuster import BlockBuster

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every run, and no race with a busy machine's clock. Few of them, unless
# `make test` asks for "many": most of the time of quick tests went there.
_SAME = hypothesis.settings(derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("few", _SAME, max_examples=20)
hypothesis.settings.register_profile("many", _SAME, max_examples=100)
hypothesis.settings.load_profile("few")


# A shell starts what is to run in the background with SIGINT ignored, and so would be every
# program that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector of garbage need not go through it."""
    gc.collect()
    gc.freeze()


class RealMachineError(BaseException):
    """A test without a live mark touched the real machine.

    No ``Exception``, so that no code under test can take it for an error of its own.
    """


_STARTS = frozenset(
    {
        "subprocess.Popen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
    }
)
_LOOKS_UP = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_FILES = frozenset(
    {
        "open",
        "os.chmod",
        "os.chown",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.symlink",
        "os.truncate",
        "os.utime",
    }
)


class _Guard:
    """The audit hook. Python cannot take a hook back, so it is switched instead."""

    def __init__(self) -> None:
        self.on = False
        self._home = os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir).rstrip("/") + "/"
        known = [str(ROOT), sys.prefix, sys.base_prefix, *sys.path, *site.getsitepackages()]
        known += [site.getuserbase(), tempfile.gettempdir()]
        # A machine may keep Python, this repository or TMPDIR under the home directory.
        self._allowed = tuple(f"{os.path.realpath(p)}/" for p in known if p)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _STARTS:
            self._refuse(f"started a process: {args[:2]}")
        elif event in _SENDS and args[1] is not None:
            self._refuse(f"used a socket: {event} {args[1]}")
        elif event in _LOOKS_UP and not _is_numeric(args[0]):
            self._refuse(f"asked for the address of {args[0]!r}")
        elif event in _FILES and (path := self._at_home(args[0])):
            self._refuse(f"touched the real home directory: {event} {path}")

    def _at_home(self, path: object) -> str | None:
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - Path keeps ".."
        home = f"{full}/".startswith(self._home) and self._home != "//"
        return full if home and not f"{full}/".startswith(self._allowed) else None

    def _refuse(self, what: str) -> None:
        raise RealMachineError(f"a test without a live mark {what}")


def _is_numeric(host: object) -> bool:
    if host is None:
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(os.fsdecode(host) if isinstance(host, str | bytes) else str(host))
        return True
    return False


_guard = _Guard()
sys.addaudithook(_guard)


def _is_live(request: pytest.FixtureRequest) -> bool:
    return any(request.node.get_closest_marker(mark) for mark in ("live", "live_qemu"))


@pytest.fixture(autouse=True)
def no_real_machine(request: pytest.FixtureRequest, own_home: Path) -> Iterator[None]:
    """Refuse processes, sockets and the real home directory to a test without a live mark."""
    del own_home
    _guard.on = not _is_live(request)
    try:
        yield
    finally:
        _guard.on = False


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse to an async test without a live mark what would stop its event loop.

    Small local files are let through (`read`, `write`, `stat`): they take microseconds.
    """
    function = getattr(request.node, "function", None)
    if _is_live(request) or not inspect.iscoroutinefunction(function):
        yield
        return
    watch = BlockBuster()
    slow = ("time.sleep", "socket.", "ssl.", "sqlite3.", "threading.Lock")
    watch.functions = {
        name: call for name, call in watch.functions.items() if name.startswith(slow)
    }
    watch.activate()
    try:
        yield
    finally:
        watch.deactivate()


@pytest.fixture(scope="session")
def real_environ() -> dict[str, str]:
    """The environment as it was before the tests; for live tests that share an image cache."""
    return dict(_REAL_ENVIRON)


_REAL_ENVIRON = dict(os.environ)
_NOT_OURS = (
    *("ANTHROPIC_", "AWS_", "CLAUDE", "DBUS_", "GH_", "GIT_", "GITHUB_", "SSH_", "TACHIKOMA_"),
    "XDG_",
)


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's home, credentials and git settings from fixtures of every scope."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _REAL_ENVIRON:
            if name.startswith(_NOT_OURS):
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("session-home")))
        yield


_MODES = {"home": 0o755, "run": 0o700}


class _Homes:
    """Empty homes, each with a directory for sockets beside it.

    Most tests leave theirs as it was, and the next one gets it again: making and removing
    directories would take longer than those tests. Not within ``tmp_path``: that is the test's own,
    and too deep for the path of a socket.
    """

    def __init__(self) -> None:
        self._base: Path | None = None

    def take(self) -> tuple[Path, Path]:
        if self._base is None:
            self._base = Path(tempfile.mkdtemp(prefix="tk-"))
            for name, mode in _MODES.items():
                (self._base / name).mkdir()
                (self._base / name).chmod(mode)
        return self._base / "home", self._base / "run"

    def give_back(self, *, used: bool) -> None:
        if self._base is not None and (used or not self._untouched(self._base)):
            shutil.rmtree(self._base, ignore_errors=True)
            self._base = None

    def _untouched(self, base: Path) -> bool:
        with contextlib.suppress(OSError):
            return all(
                stat.S_IMODE((base / name).lstat().st_mode) == mode and not os.listdir(base / name)  # noqa: PTH208 - the quickest
                for name, mode in _MODES.items()
            )
        return False


@pytest.fixture(scope="session")
def homes() -> Iterator[_Homes]:
    kept = _Homes()
    yield kept
    kept.give_back(used=True)


@pytest.fixture(autouse=True)
def own_home(request: pytest.FixtureRequest, homes: _Homes) -> Iterator[Path]:
    """Give each test an empty home, with the XDG directories in it."""
    home, runtime = homes.take()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
        patch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
        patch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        yield home
    # A process that a live test started may still write there.
    homes.give_back(used=_is_live(request))
