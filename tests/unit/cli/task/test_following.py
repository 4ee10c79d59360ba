from __future__ import annotations

from typing import Any

from tachikoma.cli.task.following import Joined, dropped


def chunk(text: str, *, partial: bool = False) -> dict[str, Any]:
    return {"text": text, "partial": partial}


def test_pieces_become_lines() -> None:
    joined = Joined()
    assert [*joined.add(chunk("one"))] == ["one"]
    assert [*joined.add(chunk("tw", partial=True))] == []
    assert [*joined.add(chunk("o"))] == ["two"]
    assert [*joined.rest()] == []
    assert [*joined.add(chunk("three", partial=True))] == []
    assert [*joined.rest()] == ["three"]


def test_what_is_gone_is_told() -> None:
    assert dropped(8 << 20) == "8.0 MiB of older output are not kept any more"
