from __future__ import annotations

import io
import stat
from collections.abc import Iterator

import pytest

from tachikoma.makima.client.account import account_file
from tests.unit.cli.crew import at_work
from tests.unit.cli.stand import CommandLine
from tests.unit.makima.server.stage import Team

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def crew() -> Iterator[Team]:
    with at_work() as made:
        yield made


def test_a_key_is_tried_and_kept(
    line: CommandLine, crew: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = account_file(line.home / ".config" / "tachikoma")
    line.stdin = 0
    monkeypatch.setattr("sys.stdin", io.StringIO("mku_wrong\n"))
    refused = line("makima", "login", crew.base, "--json")
    assert refused.envelope["error"]["code"] == "makima.request"
    assert not file.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{crew.user_key}\n"))
    ran = line("makima", "login", f"{crew.base}/")
    assert ran.status == 0, ran.err
    assert crew.user_key not in ran.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert line("makima", "login", "--show").out.splitlines() == [crew.base, crew.user_key]


def test_what_is_no_url_is_told(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.stdin = 0
    monkeypatch.setattr("sys.stdin", io.StringIO("mku_x\n"))
    assert line("makima", "login", "ftp://x").status == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert line("makima", "login").status == 2
