from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.hypervisor.tart.probe import checks, leases, macos
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_tool import DoubleTool, program_of

LEASE = "\tlease=0x7fffffff\n"


@pytest.fixture
def tool(own_home: Path) -> DoubleTool:
    return DoubleTool(Store({"HOME": str(own_home)}))


async def test_tart_and_softnet_are_looked_at(
    tool: DoubleTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tool.store.set(version="2.33.0")
    tart, softnet = (await checks(program_of(tool)))[:2]
    assert (tart.name, tart.ok, tart.found, tart.required) == ("tart", True, "2.33.0", True)
    assert (softnet.ok, softnet.found, softnet.required) == (False, "missing", False)
    assert "brew install" in softnet.fix


async def test_a_softnet_that_may_do_nothing_is_told(
    tool: DoubleTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "softnet"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    tool.store.set(version="SNAPSHOT")
    softnet = (await checks(program_of(tool)))[1]
    assert not softnet.ok
    assert softnet.fix == f"sudo chown root {program} && sudo chmod u+s {program}"


async def test_a_missing_or_old_tart_fails_the_check(tool: DoubleTool) -> None:
    tool.store.set(version="2.0.0")
    old = (await checks(program_of(tool)))[0]
    assert (old.ok, "2.0.0 is too old" in old.found) == (False, True)
    tool.missing = True
    missing = (await checks(program_of(tool)))[0]
    assert (missing.ok, missing.found) == (False, "Tart is not installed")


async def test_a_tart_that_wastes_a_processor_is_only_a_warning(tool: DoubleTool) -> None:
    wasteful = (await checks(program_of(tool)))[1]
    assert (wasteful.name, wasteful.ok, wasteful.required) == ("tart exec", False, False)
    assert wasteful.fix == "brew upgrade tart"


def test_an_old_macos_is_told() -> None:
    assert [macos(release).ok for release in ("13.6.1", "14.0", "26.1")] == [False, True, True]


def test_leased_addresses_are_counted_where_there_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "leases"
    assert leases(file, 0.0) == []
    for number, ok in ((3, True), (253, False)):
        file.write_text(LEASE * number)
        (check,) = leases(file, 0.0)
        assert (check.ok, check.found) == (ok, f"{number} leased")
