from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.unit.cli.stand import CommandLine


@pytest.mark.live
def test_it_serves_until_it_is_told_to_stop(own_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = [sys.executable, "-m", "tachikoma", "makima", "server", "--port"]
        busy = subprocess.run([*argv, str(port)], capture_output=True, text=True, check=False)
    assert busy.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in busy.stderr
    with subprocess.Popen([*argv, "0"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = server.stderr.readline().rpartition("listens on ")[2].split()[0]
        with urllib.request.urlopen(f"http://{url}/health", timeout=5) as answer:
            assert answer.status == 200
        second = subprocess.run([*argv, "0"], capture_output=True, text=True, check=False)
        assert "is in use by another makima server" in second.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
    assert (own_home / ".makima" / "server.db").stat().st_mode & 0o777 == 0o600


def test_a_port_is_a_number(line: CommandLine) -> None:
    assert line("makima", "server", "--port", "x").status == 2
