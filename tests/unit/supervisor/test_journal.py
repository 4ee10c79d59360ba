from __future__ import annotations

from pathlib import Path

from tachikoma.host.clock import FakeClock
from tachikoma.supervisor.journal import RotatingLog

AT = "2023-11-14T22:13:20Z"


def test_a_line_has_its_time_and_no_credential(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "daemon.log"
    log = RotatingLog(path, clock=FakeClock())
    log.add("[makima] x-api-key: sk-ant-api03-secret")
    log.add("half a character \udcff")
    assert path.read_text() == (
        f"{AT} [makima] x-api-key: [redacted]\n{AT} half a character \\udcff\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_files_stay_small_and_three_old_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    log = RotatingLog(path, clock=FakeClock(), largest=100)
    for number in range(30):
        log.add(f"line {number}")
    found = {each.name: each.read_text().split()[-1] for each in tmp_path.iterdir()}
    assert found == {
        "daemon.log": "29",
        "daemon.log.1": "26",
        "daemon.log.2": "23",
        "daemon.log.3": "20",
    }
    assert all(each.stat().st_size <= 100 for each in tmp_path.iterdir())


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    RotatingLog(tmp_path / "file" / "daemon.log", clock=FakeClock()).add("lost")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    RotatingLog(tmp_path / "link", clock=FakeClock()).add("lost")
    assert not (tmp_path / "elsewhere").exists()
