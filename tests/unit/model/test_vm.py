from __future__ import annotations

from tachikoma.model.vm import Endpoint


def test_an_endpoint_reads_as_host_and_port() -> None:
    assert str(Endpoint("127.0.0.1", 22)) == "127.0.0.1:22"
    assert str(Endpoint("::1", 8080)) == "[::1]:8080"
