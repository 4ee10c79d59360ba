from __future__ import annotations

import pytest

from tachikoma.proxy.control import Answer, judge

HEALTH = b'{"status":"ok","proxy":"tachikoma"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 35\r\nX-Tachikoma-Instance: 0123abcd\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "who"),
    [
        (HEAD + HEALTH, Answer.OURS),
        (HEAD.replace(b"0123abcd", b"ffffffff") + HEALTH, Answer.OTHER_USER),
        (b"HTTP/1.1 200 OK\r\n\r\n" + HEALTH, Answer.OTHER_USER),
        (HEAD.replace(b"200", b"500") + HEALTH, Answer.OTHER_PROGRAM),
        (HEAD + b"{}", Answer.OTHER_PROGRAM),
        (HEAD + HEALTH[:-1], Answer.OTHER_PROGRAM),
        (HEAD + b"\xff", Answer.OTHER_PROGRAM),
        (HEAD, Answer.OTHER_PROGRAM),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Answer.OTHER_PROGRAM),
        (b"\x16\x03\x01\xff", Answer.OTHER_PROGRAM),
        (b"", Answer.OTHER_PROGRAM),
    ],
)
def test_only_an_answer_that_names_this_instance_is_ours(answer: bytes, who: Answer) -> None:
    assert judge(answer, "0123abcd") is who
