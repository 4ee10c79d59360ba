from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.host.tail import Tail
from tachikoma.model.errors import HostError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_file_that_is_not_there_yet_is_empty_and_then_read(log: Path) -> None:
    tail = Tail(log)
    assert tail.last(5) == tail.more() == []
    log.write_text("one\ntw")
    assert tail.more() == ["one"]
    with log.open("a") as out:
        out.write("o\n")
    assert tail.more() == ["two"]


def test_the_last_lines_and_then_what_comes(log: Path) -> None:
    log.write_bytes(b"one\r\ntwo\nthree\xff\nhalf")
    tail = Tail(log)
    assert tail.last(2) == ["two", "three\ufffd"]
    assert tail.rest() == ["half"]
    assert tail.rest() == []
    assert Tail(log).last(0) == []


def test_only_what_is_wanted_counts(log: Path) -> None:
    log.write_text("a1\nb1\na2\nb2\na")
    tail = Tail(log, wanted=lambda line: line.startswith("b"))
    assert (tail.last(1), tail.rest()) == (["b2"], [])


def test_a_file_cut_short_or_replaced_begins_anew(log: Path) -> None:
    log.write_text("one\ntwo\n")
    tail = Tail(log)
    tail.last(1)
    log.write_text("new\n")
    assert tail.more() == ["new"]
    log.rename(log.with_name("log.1"))
    log.write_text("newer, and longer than before\n")
    assert tail.more() == ["newer, and longer than before"]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError):
        Tail(tmp_path).last(1)


@given(pieces=st.lists(st.binary(max_size=12), max_size=8))
def test_however_it_is_written_every_line_comes_once(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    log = tmp_path_factory.getbasetemp() / "pieces.log"
    log.write_bytes(b"")
    tail, found = Tail(log), list[str]()
    for piece in pieces:
        with log.open("ab") as out:
            out.write(piece)
        found += tail.more()
    whole = b"".join(pieces)
    lines = [line.decode("utf-8", "replace").rstrip("\r") for line in whole.split(b"\n")]
    assert [*found, *tail.rest()] == (lines if whole and not whole.endswith(b"\n") else lines[:-1])
