from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.mcp.guest_files import shape


@given(st.text(), st.integers(4, 40))
def test_a_text_read_in_parts_is_the_text(text: str, length: int) -> None:
    data = text.encode("utf-8", "replace")
    parts, at = [], 0
    while True:
        part = shape("vm", "x", data[at : at + length], offset=at, size=len(data))
        assert part.encoding == "utf-8"
        parts.append(part.content)
        if part.next_offset is None:
            break
        assert part.next_offset > at
        at = part.next_offset
    assert "".join(parts).encode() == data


@pytest.mark.parametrize("data", [b"\xff", b"a\x00\xfe\xffb", "ü".encode()[:1]])
def test_what_is_no_text_comes_as_base64(data: bytes) -> None:
    part = shape("vm", "x", data, offset=0, size=len(data))
    assert part.encoding == "base64"
    assert base64.b64decode(part.content) == data
    assert part.next_offset is None
