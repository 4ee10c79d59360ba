from __future__ import annotations

import io
import logging

from tachikoma.proxy.run import log_to


def test_what_looks_like_a_secret_does_not_reach_the_log() -> None:
    before = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    try:
        log_to(stream)
        failure = ValueError("x-api-key: hidden-one")
        logging.getLogger("test").error("key %s", "sk-ant-api03-hidden-two", exc_info=failure)
    finally:
        logging.root.handlers[:], logging.root.level = before
    assert "ERROR key sk-ant-api0[redacted]\n" in stream.getvalue()
    assert "ValueError: x-api-key: [redacted]" in stream.getvalue()
    assert "hidden" not in stream.getvalue()
