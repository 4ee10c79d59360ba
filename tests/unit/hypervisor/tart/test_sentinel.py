from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.hypervisor.tart.sentinel import Sentinel, ending, power_off, wrapped

MARK = "0123456789abcdef"
BEGUN, ENDED = b"\n0123456789abcdef+41\n", b"\n0123456789abcdef=7\n"


def heard(pieces: list[bytes]) -> tuple[bytes, Sentinel]:
    sentinel = Sentinel(MARK)
    said = b"".join(sentinel.hear(piece) for piece in pieces)
    return said + sentinel.rest(), sentinel


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(
    st.binary(max_size=60) | st.sampled_from([b"\n" * 9, b"\n0123456789abcde"]),
    st.lists(st.integers(0, 120), max_size=12),
)
def test_whatever_a_command_says_comes_out_as_it_went_in(out: bytes, cuts: list[int]) -> None:
    said, sentinel = heard(pieces_of(BEGUN + out + ENDED, cuts))
    assert (said, sentinel.pid, sentinel.status) == (out, 41, 7)


def test_without_its_end_a_command_has_no_status() -> None:
    said, sentinel = heard([BEGUN, b"half"])
    assert (said, sentinel.pid, sentinel.status) == (b"half", 41, None)
    assert heard([b""])[1].pid is None


def test_what_is_certain_is_not_held_back() -> None:
    sentinel = Sentinel(MARK)
    assert sentinel.hear(b"one\ntwo") == b"one\ntwo"
    assert sentinel.hear(b"three\n") == b"three"
    assert sentinel.hear(b"4") == b"\n4"


def test_a_child_that_speaks_after_the_end_is_heard() -> None:
    said, sentinel = heard([BEGUN + b"a" + ENDED + b"late"])
    assert (said, sentinel.status) == (b"alate", 7)


def test_another_number_is_output_like_any_other() -> None:
    foreign = b"\nfedcba9876543210=0\n"
    assert heard([BEGUN + foreign + ENDED])[0] == foreign


def test_the_command_is_passed_as_arguments_and_never_as_text() -> None:
    command = ("sh", "-c", "$(touch /x); 'a b'", "")
    for user, before in (("root", ()), ("admin", ("--reset-env", "--"))):
        argv = wrapped(command, user=user, mark=MARK)
        assert tuple(argv[-4:]) == command
        assert tuple(argv[-4 - len(before) : -4]) == before
        assert argv[:3] == ["sudo", "-n", "--"]


def test_endings_are_asked_of_root() -> None:
    assert power_off() == ["sudo", "-n", "--", "systemctl", "poweroff"]
    assert ending(41)[-1] == "41"


@pytest.mark.live
@pytest.mark.parametrize(
    ("script", "out", "status"),
    [
        ("printf 'no end of line'; exit 7", b"no end of line", 7),
        ("exit 255", b"", 255),
        ("kill -KILL $$", b"", 137),
        ("cat", b"in\n", 0),
        ("exec no-such-program", b"", 127),
    ],
)
async def test_a_real_shell_tells_how_a_command_ended(
    script: str, out: bytes, status: int, tmp_path: Path
) -> None:
    # Without sudo, which a machine that runs tests may lack.
    argv = wrapped(("sh", "-c", script), user="root", mark=MARK)[3:]
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=tmp_path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    raw, _ = await process.communicate(b"in\n")
    said, sentinel = heard([raw])
    assert (said, sentinel.status, process.returncode) == (out, status, 0)
    assert sentinel.pid is not None
