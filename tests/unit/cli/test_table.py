from __future__ import annotations

from tachikoma.cli import words
from tachikoma.cli.table import Column, table

_COLUMNS = (
    Column("NAME", least=8),
    Column("STATE"),
    Column("DISK", drop=1, right=True),
    Column("PLACE", drop=2, least=6, keep_end=True),
)
_ROWS = (
    ("tachikoma-alpha", "running", "1.5 GiB", "/home/ada/alpha"),
    ("tachikoma-b", "stopped", "0", "/b"),
)


def test_a_pipe_gets_every_column_in_full() -> None:
    assert table(_COLUMNS, _ROWS, room=None) == [
        "NAME             STATE       DISK  PLACE",
        "tachikoma-alpha  running  1.5 GiB  /home/ada/alpha",
        "tachikoma-b      stopped        0  /b",
    ]


def test_too_little_room_shortens_what_may_be_shortened() -> None:
    assert table(_COLUMNS, _ROWS, room=44) == [
        "NAME           STATE       DISK  PLACE",
        "tachikoma-al…  running  1.5 GiB  …/ada/alpha",
        "tachikoma-b    stopped        0  /b",
    ]


def test_columns_are_dropped_in_their_order_before_names_become_unreadable() -> None:
    heads = [table(_COLUMNS, _ROWS, room=room)[0].split() for room in (34, 33, 26, 25)]
    assert heads == [
        ["NAME", "STATE", "DISK", "PLACE"],
        ["NAME", "STATE", "DISK"],
        ["NAME", "STATE", "DISK"],
        ["NAME", "STATE"],
    ]


def test_no_line_is_wider_than_the_terminal_as_long_as_the_least_widths_fit() -> None:
    for room in range(20, 60):
        assert all(words.width(line) <= room for line in table(_COLUMNS, _ROWS, room=room))


def test_wide_characters_do_not_shift_the_columns() -> None:
    lines = table(_COLUMNS[:2], [("攻殻", "running"), ("ab", "stopped")], room=None)
    assert lines == ["NAME  STATE", "攻殻  running", "ab    stopped"]


def test_a_cell_cannot_command_the_terminal() -> None:
    assert table((Column("NAME"),), [("a\x1b[31mb",)], room=None) == ["NAME", "a\\x1b[31mb"]


def test_an_empty_table_is_its_head() -> None:
    assert table(_COLUMNS, [], room=80) == ["NAME  STATE  DISK  PLACE"]
