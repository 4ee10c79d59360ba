from __future__ import annotations

import sys

import pytest

from tachikoma.host import process


@pytest.mark.live
async def test_a_proxy_that_is_not_told_how_to_run_ends_with_an_error() -> None:
    script = (
        "import os, socket, sys\n"
        "ours, theirs = socket.socketpair()\n"
        'ours.sendall(b\'{"host": "127.0\')\n'
        "ours.close()\n"
        "os.set_inheritable(theirs.fileno(), True)\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'tachikoma.proxy',"
        " str(theirs.fileno())])\n"
    )
    argv = [sys.executable, "-P", "-c", script]
    done = await process.run(argv, deadline_s=15, check=False)
    assert done.status == 1
    assert "was not told how to run (proxy.failed)" in done.stderr.decode()
    assert done.stdout == b""
