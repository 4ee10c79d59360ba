from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.cli import words


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (5, "5 B"),
        (1024, "1.0 KiB"),
        (831_000, "812 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (1_610_612_736, "1.5 GiB"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_a_size_has_few_digits_and_a_unit(amount: int, text: str) -> None:
    assert words.size(amount) == text


def test_memory_is_told_in_whole_units_where_it_is_whole() -> None:
    assert [words.memory(mib) for mib in (512, 1024, 8192, 1536)] == [
        "512 MiB",
        "1 GiB",
        "8 GiB",
        "1.5 GiB",
    ]


def test_a_time_is_told_in_seconds_and_beyond_that_in_minutes() -> None:
    assert [words.seconds(spent) for spent in (0.04, 12.34, 99.9, 125.0)] == [
        "0.0 s",
        "12.3 s",
        "99.9 s",
        "2 min 5 s",
    ]


def test_an_age_is_told_in_its_largest_unit() -> None:
    ages = [words.age(1_000_000 - past, 1_000_000) for past in (-5, 59, 60, 7200, 200_000)]
    assert ages == ["now", "now", "1 min ago", "2 h ago", "2 d ago"]
    assert words.age(None, 1_000_000) == "-"


def test_a_path_in_the_home_directory_begins_with_a_tilde() -> None:
    home = Path("/home/ada")
    assert words.home(home / "src/x", home) == "~/src/x"
    assert words.home(Path("/srv/x"), home) == "/srv/x"
    assert words.home(None, home) == "-"


def test_a_command_for_the_terminal_becomes_visible_text() -> None:
    assert words.clean("a\x1b[2Jb\r\n\tc\x9bd\x07") == "a\\x1b[2Jb\n\tc\\x9bd\\x07"


def test_wide_and_combining_characters_are_measured_as_shown() -> None:
    assert [words.width(text) for text in ("abc", "攻殻", "u\u0308")] == [3, 4, 1]


def test_long_text_is_cut_at_its_end_or_its_beginning() -> None:
    assert words.fit("feature/login", 8) == "feature…"
    assert words.fit("feature/login", 8, keep_end=True) == "…e/login"
    assert words.fit("short", 8) == "short"


@given(st.text(), st.integers(1, 40))
def test_fitted_text_never_takes_more_than_its_columns(text: str, columns: int) -> None:
    assert words.width(words.fit(text, columns)) <= columns


@given(st.text())
def test_clean_text_has_no_control_characters(text: str) -> None:
    assert all(
        char.isprintable() or char in "\n\t" or ord(char) > 0x9F for char in words.clean(text)
    )


@pytest.mark.parametrize(
    ("then", "told"),
    [(None, "-"), (59.0, "now"), (-5.0, "now"), (60.0, "in 1 min"), (7300.0, "in 2 h")],
)
def test_a_time_to_come_is_told_by_its_largest_unit(then: float | None, told: str) -> None:
    assert words.left(None if then is None else 1000.0 + then, 1000.0) == told
    assert words.left(1000.0 + 3 * 86_400, 1000.0) == "in 3 d"


def test_the_kind_of_a_credential_is_words() -> None:
    assert words.kind("api_key") == "api key"


def test_a_settings_value_is_given_as_json_has_it() -> None:
    assert words.plain((Path("/a"), "b", 3)) == ["/a", "b", 3]
    assert words.plain(None) is None
