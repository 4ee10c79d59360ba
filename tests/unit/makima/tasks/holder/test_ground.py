from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.makima.tasks.holder.ground import Entries, Place, drain, pread


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(str(tmp_path), "t1")
    Path(made.path).mkdir()
    return made


def entries_in(path: Path) -> tuple[list[tuple[str, bytes]], int]:
    file = os.open(path, os.O_RDONLY)
    try:
        entries = Entries(file)
        return list(entries), entries.end
    finally:
        os.close(file)


def test_a_file_is_nobody_elses_and_there_or_not(place: Place) -> None:
    assert (place.text("exit"), place.has("exit"), place.size("exit")) == (None, False, 0)
    place.put("exit", "3")
    assert (place.text("exit"), place.has("exit"), place.size("exit")) == ("3", True, 1)
    assert Path(place.at("exit")).stat().st_mode & 0o777 == 0o600
    assert [each.name for each in Path(place.path).iterdir()] == ["exit"]
    place.drop("exit")
    place.drop("exit")
    assert not place.has("exit")


def test_nobody_is_there_before_the_start(place: Place) -> None:
    assert (place.who("agent"), place.who("holder")) == (None, None)
    assert place.taken() == (0, 0, 0, 0)
    place.wake()


def test_a_process_is_known_by_its_birth(place: Place) -> None:
    place.put("agent", f'{{"agent": [{os.getpid()}, "another"], "holder": [1, ""]}}')
    assert place.who("agent") is None


def test_a_home_is_where_it_is(own_home: Path) -> None:
    assert Place("~/.makima/agents", "t").path == f"{own_home}/.makima/agents/t"


def test_entries_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "input"
    whole = b'{"key": "a", "size": 4}\none\n{"key": "", "size": 0}\n'
    file.write_bytes(whole + b'{"key": "b", "size": 4}\ntw')
    assert entries_in(file) == ([("a", b"one\n"), ("", b"")], len(whole))
    file.write_bytes(whole + b'{"key": "b"')
    assert entries_in(file)[1] == len(whole)


def test_a_part_of_a_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    file = os.open(tmp_path / "x", os.O_RDONLY)
    assert (pread(file, 3, 2), pread(file, 9, 8), pread(file, 1, 10)) == (b"234", b"89", b"")
    os.close(file)


def test_what_wakes_is_read_away() -> None:
    out, into = os.pipe()
    os.set_blocking(out, False)
    os.write(into, b"!!!")
    drain(out)
    drain(out)
    os.close(into)
    drain(out)
    os.close(out)


def test_an_end_is_written_where_room_was_kept(place: Place) -> None:
    place.put("room", " " * 8)
    place.end(137)
    assert int(place.text("exit") or "") == 137
    assert not place.has("room")
