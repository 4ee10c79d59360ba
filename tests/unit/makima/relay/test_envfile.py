from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.relay.envfile import NAMES, read, written
from tachikoma.model.errors_fleet import MakimaConfigError

plain = st.text("abcXYZ019_@%+=:,./~[]-", max_size=30)


@given(st.dictionaries(st.sampled_from(NAMES), plain))
def test_what_was_written_is_read(values: dict[str, str]) -> None:
    assert read(written(values), of="file") == values


@pytest.mark.parametrize("value", ["two words", 'a"quote', "a$b", "a#b", "a\nB=c", "`id`", "a\\b"])
def test_what_one_program_would_read_differently_from_another_is_not_written(value: str) -> None:
    with pytest.raises(MakimaConfigError, match="MAKIMA_AGENT_NAME"):
        written({"MAKIMA_AGENT_NAME": value})


def test_comments_empty_lines_export_and_quotes_are_understood() -> None:
    text = "# a\n; b\n\n  export A=1\nB='two words'\nC=\"x\"\nD=\n"
    assert read(text, of="file") == {"A": "1", "B": "two words", "C": "x", "D": ""}


def test_a_line_that_is_none_is_named_and_not_quoted() -> None:
    with pytest.raises(MakimaConfigError) as caught:
        read("A=1\nthe-secret-alone\n", of="relay.env")
    assert caught.value.message == "relay.env, line 2: this is not NAME=VALUE"
