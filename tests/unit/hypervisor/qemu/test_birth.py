"""What runs in a golden machine, as far as it needs no root: real pipes and processes, no VM."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tachikoma.hypervisor.qemu import birth

SOON_S = 30.0
RUN = """
import runpy, sys, json
birth = runpy.run_path(sys.argv[1])
texts = json.load(sys.stdin)
known = {birth["digest_of"](text): compile(text, "<string>", "exec") for text in texts}
birth["work"](int(sys.argv[2]), birth["hear"](int(sys.argv[2]), patient=False), known)
"""


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    host, guest = socket.socketpair()
    with host, guest:
        yield host.fileno(), guest.fileno()


def test_a_line_is_heard_however_it_comes(tmp_path: Path) -> None:
    port = tmp_path / "port"  # at its end, a file gives nothing, as a port without a host does
    port.write_bytes(b'{"a": ')

    def go_on() -> None:
        with port.open("ab") as file:
            file.write(b'"\\u00fc"}\n')

    descriptor = os.open(port, os.O_RDONLY)
    later = threading.Timer(3 * birth.PAUSE_S, go_on)
    later.start()
    try:
        assert birth.hear(descriptor, patient=True) == {"a": "ü"}
    finally:
        later.join(SOON_S)
        os.close(descriptor)


@pytest.mark.parametrize("said", [b"", b'{"cut": '])
def test_a_host_that_goes_has_nothing_more_to_say(ends: tuple[int, int], said: bytes) -> None:
    host, guest = ends
    os.write(host, said)
    with socket.socket(fileno=os.dup(host)) as end:
        end.shutdown(socket.SHUT_WR)
    assert birth.hear(guest, patient=False) == {}


def test_what_is_told_is_a_line(ends: tuple[int, int]) -> None:
    host, guest = ends
    birth.tell(guest, {"text": "a\nb"})
    assert os.read(host, 99) == b'{"text": "a\\nb"}\n'


def test_a_line_that_does_not_go_out_at_once_goes_out_whole(ends: tuple[int, int]) -> None:
    host, guest = ends
    heard: list[dict[str, Any]] = []
    listener = threading.Thread(target=lambda: heard.append(birth.hear(host, patient=False)))
    listener.start()
    birth.tell(guest, {"text": "x" * (3 << 20)})
    listener.join(SOON_S)
    assert heard == [{"text": "x" * (3 << 20)}]


@pytest.mark.parametrize("size", [0, 1, birth.PIPE_HOLDS])
def test_what_a_pipe_holds_is_fed_at_once(size: int) -> None:
    reader, writer = os.pipe()
    birth.feed(writer, b"x" * size)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"x" * size


def test_a_program_that_has_ended_need_not_be_fed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    birth.feed(writer, b"unread")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(writer)


def test_files_are_written_with_their_mode(tmp_path: Path) -> None:
    path = tmp_path / "machine-id"
    for text in ("a longer one\n", "short\n"):
        birth.put(str(path), text, 0o600)
        assert path.read_text() == text
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_wiped_is_gone_from_the_disk_too(tmp_path: Path) -> None:
    path, other_name = tmp_path / "key", tmp_path / "the same blocks"
    path.write_bytes(b"secret" * 999)
    os.link(path, other_name)
    birth.wipe(str(path))
    assert not path.exists()
    assert other_name.read_bytes() == bytes(6 * 999)


def test_a_program_is_named_as_the_host_names_it() -> None:
    assert birth.digest_of("ü") == hashlib.sha256("ü".encode()).hexdigest()


def test_reading_through_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    birth.read_through(str(tmp_path / "absent"))


@pytest.mark.live
def test_the_status_of_a_program_is_known() -> None:
    assert birth.run("sh", "-c", "exit 3") == 3


class Host:
    """The host's end of the port, with a guest that runs one program."""

    def __init__(self, port: socket.socket, guest: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.guest = guest
        self._lines = port.makefile("rb")

    def ask(self, script: str, *, known: bool = False, stdin: bytes = b"") -> None:
        """Ask for ``script``, by its name or by sending it."""
        job = {
            "known": birth.digest_of(script),
            "script": "" if known else script,
            "environment": {"ONLY": "this"},
            "stdin": base64.b64encode(stdin).decode(),
        }
        self.port.sendall(json.dumps(job).encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line.endswith(b"\n"), "the guest went away"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def outcome(self) -> tuple[int, bytes, bytes]:
        said = {"stdout": b"", "stderr": b""}
        while "status" not in (heard := self.hear()):
            for stream, piece in heard.items():
                said[stream] += base64.b64decode(piece)
        return heard["status"], said["stdout"], said["stderr"]

    def leave(self) -> None:
        self._lines.close()
        self.port.close()


KNOWN = "print('known')"


@pytest.fixture
def host() -> Iterator[Host]:
    ours, theirs = socket.socketpair()
    ours.settimeout(SOON_S)
    argv = [sys.executable, "-I", "-S", "-c", RUN, birth.__file__, str(theirs.fileno())]
    guest = subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()])
    theirs.close()
    assert guest.stdin is not None
    guest.stdin.write(json.dumps([KNOWN]).encode())
    guest.stdin.close()
    made = Host(ours, guest)
    yield made
    made.leave()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guest.wait(SOON_S)
    guest.kill()
    guest.wait()


@pytest.mark.live
@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("pass", (0, b"", b"")),
        ("import sys; sys.exit()", (0, b"", b"")),
        ("import sys; sys.exit(0)", (0, b"", b"")),
        ("import sys; sys.exit(7)", (7, b"", b"")),
        ("import sys; sys.exit(True)", (1, b"", b"")),
        ("import sys; sys.exit('it is so')", (1, b"", b"it is so\n")),
        ("raise SystemExit", (0, b"", b"")),
        ("import os; os._exit(3)", (3, b"", b"")),
        ("import os; os.kill(os.getpid(), 9)", (137, b"", b"")),
        ("import sys; print(sys.argv, __name__)", (0, b"['-c'] __main__\n", b"")),
        ("import os; print(dict(os.environ), os.getcwd())", (0, b"{'ONLY': 'this'} /\n", b"")),
        ("import os; print(os.getsid(0) == os.getpid())", (0, b"True\n", b"")),
        ("import os; print(len(os.listdir('/proc/self/fd')))", (0, b"4\n", b"")),
        ("import sys; print('ü'); print('ö', file=sys.stderr)", (0, b"\xc3\xbc\n", b"\xc3\xb6\n")),
        ("import sys; sys.stdout.buffer.write(bytes(3))", (0, bytes(3), b"")),
        ("import sys; print(len(sys.stdin.read()))", (0, b"0\n", b"")),
    ],
)  # fmt: skip
def test_a_program_ends_as_it_would_in_an_interpreter_of_its_own(
    host: Host, script: str, ended: tuple[int, bytes, bytes]
) -> None:
    host.ask(script)
    assert host.outcome() == ended


@pytest.mark.live
def test_an_error_ends_it_with_a_traceback(host: Host) -> None:
    host.ask("print('before')\n1 / 0")
    status, stdout, stderr = host.outcome()
    assert (status, stdout) == (1, b"before\n")
    assert stderr.startswith(b"Traceback")
    assert stderr.endswith(b"ZeroDivisionError: division by zero\n")


@pytest.mark.live
def test_a_program_that_was_compiled_ahead_need_not_be_sent(host: Host) -> None:
    host.ask(KNOWN, known=True)
    assert host.outcome() == (0, b"known\n", b"")


@pytest.mark.live
def test_a_large_input_and_a_large_output_do_not_wait_for_each_other(host: Host) -> None:
    given = bytes(range(256)) * 4096
    host.ask("import os\nwhile piece := os.read(0, 4096):\n    os.write(1, piece)", stdin=given)
    assert host.outcome() == (0, given, b"")


@pytest.mark.live
def test_an_input_that_nobody_reads_is_no_hindrance(host: Host) -> None:
    host.ask("print('done')", stdin=bytes(1 << 20))
    assert host.outcome() == (0, b"done\n", b"")


@pytest.mark.live
def test_both_outputs_arrive_as_they_come(host: Host, tmp_path: Path) -> None:
    script = """
import os, time
for number in range(6):
    os.write(1 + number % 2, b"%d" % number)
    while not os.path.exists(PLACE + str(number)):
        time.sleep(0.005)
"""
    host.ask(script.replace("PLACE", repr(f"{tmp_path}/")))
    pieces = []
    for number in range(6):
        pieces += [(name, base64.b64decode(said)) for name, said in host.hear().items()]
        (tmp_path / str(number)).touch()
    assert pieces == [(("stdout", "stderr")[n % 2], b"%d" % n) for n in range(6)]
    assert host.outcome() == (0, b"", b"")


@pytest.mark.live
def test_a_host_that_goes_takes_the_program_and_its_children_with_it(host: Host) -> None:
    host.ask("import os, sys, time\nos.fork()\nos.write(1, b'%d ' % os.getpid())\ntime.sleep(60)")
    said = b""
    while said.count(b" ") < 2:
        said += base64.b64decode(host.hear()["stdout"])
    pids = [int(pid) for pid in said.split()]
    host.leave()
    gone(lambda: not any(lives(pid) for pid in pids))


def lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(birth.PAUSE_S)


@pytest.mark.live
def test_the_server_restarts_before_anybody_is_told_that_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for sshd: it removes the file with its process id when it is told to restart."""
    pid_file = tmp_path / "sshd.pid"
    script = f"trap 'rm {pid_file}' HUP; echo $$ >{pid_file}; while sleep 0.01; do :; done"
    monkeypatch.setattr(birth, "SSHD_PID", str(pid_file))
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as server:
        try:
            gone(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
            birth.restart_ssh()
            assert not pid_file.exists()
        finally:
            os.killpg(server.pid, signal.SIGKILL)
