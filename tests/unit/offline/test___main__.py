from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

pytestmark = pytest.mark.live

_DEADLINE_S = 10


def test_the_process_says_its_address_then_each_request_and_ends_on_a_signal() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tachikoma.offline"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            with urllib.request.urlopen(address, timeout=_DEADLINE_S) as answer:
                assert answer.status == 200
            seen = json.loads(process.stdout.readline())
            assert (seen["method"], seen["path"], seen["status"]) == ("GET", "/", 200)
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(_DEADLINE_S) == 0
        finally:
            process.kill()


def test_a_port_that_cannot_be_used_is_an_error_with_a_hint() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tachikoma.offline", "--port", "70000"],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "choose another port" in done.stderr
    assert "Traceback" not in done.stderr
