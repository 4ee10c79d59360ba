from __future__ import annotations

from tachikoma.makima.server.shapes import Session, moment, moment_or_none


def test_times_are_told_in_utc() -> None:
    assert moment(0.0).isoformat() == "1970-01-01T00:00:00+00:00"
    assert moment_or_none(None) is None
    assert moment_or_none(1.5) == moment(1.5)


def test_a_secret_is_in_no_log() -> None:
    assert "hush" not in repr(Session(name="a", csrf_token="hush", expires_at=moment(0)))
