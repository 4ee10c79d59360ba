from __future__ import annotations

import socket

import pytest

from tachikoma.model.errors import SshError, SshUnreachableError
from tachikoma.model.vm import Endpoint
from tachikoma.ssh.descriptor import hand_over


@pytest.mark.live
def test_a_connection_is_handed_over_and_lives_on() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as server:
        hand_over(Endpoint("127.0.0.1", server.getsockname()[1]), theirs.fileno())
        _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
        accepted, _ = server.accept()
        with accepted, socket.socket(fileno=descriptor) as handed:
            accepted.sendall(b"SSH-2.0")
            assert handed.recv(7) == b"SSH-2.0"
        assert theirs.fileno() >= 0


@pytest.mark.live
def test_nobody_there_and_nobody_to_hand_to_are_told(tmp_path: object) -> None:
    del tmp_path
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = Endpoint("127.0.0.1", server.getsockname()[1])
        with open("/dev/null", "wb") as void, pytest.raises(SshError, match="nobody to hand"):  # noqa: PTH123 - shortest
            hand_over(here, void.fileno())
    with pytest.raises(SshUnreachableError):
        hand_over(here, 1)
