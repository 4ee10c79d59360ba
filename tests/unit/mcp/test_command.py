from __future__ import annotations

import asyncio

import pytest

from tachikoma.mcp.command import argv_of, within
from tachikoma.model.errors import BadArgumentError, GuestFileError


def test_a_line_is_for_bash_and_an_argv_stays_an_argv() -> None:
    assert argv_of("a | b", {}) == ["bash", "-c", "a | b"]
    assert argv_of(["a", "|"], {}) == ["bash", "-c", 'exec "$@"', "bash", "a", "|"]


def test_variables_come_before_the_command() -> None:
    assert argv_of("x", {"A": "b=c"}) == ["env", "A=b=c", "bash", "-c", "x"]


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "LD-X", "ü"])
def test_what_is_no_name_of_a_variable_is_refused(name: str) -> None:
    with pytest.raises(BadArgumentError, match="variable"):
        argv_of("x", {name: ""})


async def test_what_takes_too_long_raises_the_error_that_was_named() -> None:
    with pytest.raises(GuestFileError, match=r"x cannot be read within 0\.01 s"):
        async with within(0.01, GuestFileError, "x cannot be read"):
            await asyncio.Event().wait()
