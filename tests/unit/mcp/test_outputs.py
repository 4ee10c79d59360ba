from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tachikoma.mcp import outputs
from tachikoma.mcp.outputs import Capture, Outputs


def captured(place: Path, *pieces: bytes) -> Capture:
    capture = Capture(place)
    for piece in pieces:
        capture.take(piece)
    return capture


def test_a_short_output_is_shown_as_it_is_and_not_kept(tmp_path: Path) -> None:
    kept = Outputs(tmp_path)
    shown = kept.show(captured(tmp_path, b"a\n", "ü".encode()), "x")
    assert (shown.text, shown.size, shown.cut, shown.resource) == ("a\nü", 4, False, None)
    assert kept.all() == []


def test_a_long_output_shows_its_beginning_its_end_and_its_length(tmp_path: Path) -> None:
    kept = Outputs(tmp_path)
    whole = b"".join(b"line %d\n" % n for n in range(10_000))
    pieces = [whole[at : at + 3000] for at in range(0, len(whole), 3000)]
    shown = kept.show(captured(tmp_path, *pieces), "count")
    assert shown.text.startswith("line 0\nline 1\n")
    assert shown.text.endswith("line 9999\n")
    assert f"of {len(whole)} bytes are left out here" in shown.text
    assert len(shown.text) < 17_000
    assert (shown.size, shown.cut) == (len(whole), True)
    assert shown.resource is not None
    assert kept.read(shown.resource) == whole
    (listed,) = kept.all()
    assert (listed.title, listed.size, listed.said) == ("count", len(whole), len(whole))
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    kept.close()


def test_what_is_no_text_is_kept_however_short(tmp_path: Path) -> None:
    kept = Outputs(tmp_path)
    shown = kept.show(captured(tmp_path, b"\x00\xff\x01"), "x")
    assert (shown.text, shown.cut) == ("\x00\ufffd\x01", False)
    assert shown.resource is not None
    assert kept.read(shown.resource) == b"\x00\xff\x01"


def test_an_output_without_end_takes_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "KEPT_OF_ONE", 100_000)
    kept = Outputs(tmp_path)
    capture = captured(tmp_path, *[b"y\n" * 5000] * 100)
    assert (capture.size, capture.kept) == (1_000_000, 100_000)
    shown = kept.show(capture, "yes")
    assert shown.resource is not None
    assert len(kept.read(shown.resource) or b"") == 100_000
    kept.close()


def test_the_oldest_outputs_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "KEPT_IN_ALL", 100_000)
    kept = Outputs(tmp_path)
    uris = [kept.show(captured(tmp_path, b"z" * 40_000), "x").resource for _ in range(3)]
    assert [each.uri for each in kept.all()] == uris[1:]
    assert uris[0] is not None
    assert kept.read(uris[0]) is None
    kept.close()
    assert kept.all() == []


def test_the_last_line_so_far_is_told(tmp_path: Path) -> None:
    assert captured(tmp_path).last_line() == ""
    assert captured(tmp_path, b"one\ntwo\n\n").last_line() == "two"
    with closing(captured(tmp_path, b"x" * 20_000, b"\nlast")) as long:
        assert long.last_line() == "last"


def test_a_character_at_the_cut_is_left_out_whole(tmp_path: Path) -> None:
    with closing(captured(tmp_path, "ü".encode() * 20_000)) as long:
        text, cut = long.text()
    assert cut is True
    assert "\ufffd" not in text
