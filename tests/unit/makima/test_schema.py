from __future__ import annotations

import pytest

from tachikoma.makima.schema import (
    APPLICATION,
    MIGRATIONS,
    VERSION,
    NotOursError,
    TooNewError,
    migration,
)


def test_an_empty_file_becomes_a_book_of_today() -> None:
    statements = list(migration(0, 0, 0))
    assert statements[0] == f"PRAGMA application_id = {APPLICATION}"
    assert statements[-1] == f"PRAGMA user_version = {VERSION}"
    assert statements[1 : 1 + len(MIGRATIONS[0])] == list(MIGRATIONS[0])


def test_a_book_of_today_stays_as_it_is() -> None:
    assert list(migration(VERSION, APPLICATION, 5)) == []


def test_a_book_of_tomorrow_is_refused() -> None:
    with pytest.raises(TooNewError, match=f"version {VERSION + 1}"):
        list(migration(VERSION + 1, APPLICATION, 5))


@pytest.mark.parametrize(
    ("version", "application", "tables"),
    [(0, 0, 3), (0, 7, 0), (0, APPLICATION, 0), (1, 7, 5), (-1, APPLICATION, 5)],
)
def test_the_database_of_another_program_is_refused(
    version: int, application: int, tables: int
) -> None:
    with pytest.raises(NotOursError):
        list(migration(version, application, tables))


def test_every_version_has_a_step_to_the_next_one() -> None:
    assert sorted(MIGRATIONS) == list(range(VERSION))
