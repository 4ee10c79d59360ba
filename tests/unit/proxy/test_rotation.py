from __future__ import annotations

from pathlib import Path

from tachikoma.proxy.rotation import rotate


def test_a_small_or_missing_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "log"
    rotate(file, largest=3)
    file.write_text("123")
    rotate(file, largest=3)
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_a_large_file_pushes_the_older_ones_on_and_the_oldest_out(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for number in range(5):
        file.write_text(str(number))
        rotate(file, largest=0)
    told = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert told == {"log.1": "4", "log.2": "3", "log.3": "2"}
