from __future__ import annotations

from datetime import datetime

import pytest

from tachikoma.cli.since import moment
from tachikoma.model.errors import UsageError

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "before"),
    [("30m", 1800), ("30min", 1800), ("12h", 43_200), ("7d", 604_800), (" 2w ", 1_209_600)],
)
def test_a_span_is_counted_back_from_now(text: str, before: float) -> None:
    assert moment(text, NOW) == NOW - before


def test_a_day_is_meant_where_the_user_is_unless_it_names_a_zone() -> None:
    assert moment("2026-11-01", NOW) == datetime(2026, 11, 1).astimezone().timestamp()
    assert moment("2023-11-14T22:13:20+00:00", NOW) == NOW


@pytest.mark.parametrize("text", ["", "yesterday", "7", "d", "-1d", "7y", "2026-13-01", "1e9d"])
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment(text, NOW)
