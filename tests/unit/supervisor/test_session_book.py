from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tachikoma.model.errors import HostError
from tachikoma.model.errors_fleet import SupervisorError
from tachikoma.model.names import VmName
from tachikoma.supervisor.session_book import SessionBook, SessionRecord

NIGHT = SessionRecord(
    "night", VmName("tachikoma-box-main"), "main", Path("/src/box"), 1_700_000_000.5
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own" / "sessions.json"


def test_records_are_kept(file: Path) -> None:
    book = SessionBook(file)
    assert book.read() == {}
    with book.edit() as records:
        records["night"] = NIGHT
    assert SessionBook(file).read() == {"night": NIGHT}
    assert file.stat().st_mode & 0o777 == 0o600
    with book.edit() as records:
        del records["night"]
    assert book.read() == {}


def test_an_error_writes_nothing(file: Path) -> None:
    book = SessionBook(file)
    with contextlib.suppress(ZeroDivisionError), book.edit() as records:
        records["night"] = NIGHT
        _ = 1 / 0
    assert book.read() == {}


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "sessions": [1]}'])
def test_a_file_that_is_something_else_is_left_as_it_is(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(SupervisorError, match="not what tachikoma wrote"), SessionBook(file).edit():
        pass
    assert file.read_text() == text


def test_a_file_that_cannot_be_read_is_an_error_of_ours(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(HostError):
        SessionBook(file).read()
