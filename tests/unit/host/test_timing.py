from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from tachikoma.host.timing import Lap, lap, laps

_IMPORTED = time.monotonic()
"""This process began before."""
_COARSE_S = 0.1
"""The kernel tells in hundredths when a process began."""
_LOG = logging.getLogger("tachikoma.host.timing")


def test_each_lap_tells_when_it_was_done_and_how_long_it_took() -> None:
    with laps() as run:
        begun = time.monotonic()
        lap("one")
        lap("two")
        lap("three")
        spent = time.monotonic() - begun
    assert [each.what for each in run] == ["one", "two", "three"]
    one, two, three = run
    assert one.at_s <= two.at_s <= three.at_s <= one.at_s + spent
    assert two == Lap("two", two.at_s, two.at_s - one.at_s)
    assert three == Lap("three", three.at_s, three.at_s - two.at_s)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc tells of processes")
def test_the_first_lap_begins_with_this_process() -> None:
    with laps() as run:
        lap("one")
    assert run[0].took_s == run[0].at_s
    assert run[0].at_s >= time.monotonic() - _IMPORTED - _COARSE_S


def test_what_is_done_before_and_after_is_nobodys_business() -> None:
    lap("before")
    with laps() as run:
        lap("during")
    lap("after")
    assert [each.what for each in run] == ["during"]


def test_an_error_ends_the_listening_as_well() -> None:
    before = (_LOG.level, list(_LOG.handlers))
    with pytest.raises(ZeroDivisionError), laps():
        raise ZeroDivisionError
    assert (_LOG.level, _LOG.handlers) == before


def test_who_listens_within_hears_only_what_comes_then() -> None:
    with laps() as outer:
        lap("one")
        with laps() as inner:
            lap("two")
        lap("three")
    assert [each.what for each in outer] == ["one", "two", "three"]
    assert [each.what for each in inner] == ["two"]


def test_a_text_with_a_percent_sign_is_told_as_it_is() -> None:
    with laps() as run:
        lap("100 %s done")
    assert run[0].what == "100 %s done"
