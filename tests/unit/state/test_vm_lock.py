from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.host.files import try_lock
from tachikoma.model.errors import HostError, VmBusyError
from tachikoma.model.events import Event, Notice, silent
from tachikoma.model.names import VmName
from tachikoma.state.vm_lock import Holder, busy, held

VM = VmName("tachikoma-repo-main")
ME = Holder(pid=os.getpid(), purpose="spawn", since=5.0)


async def test_the_file_says_who_holds_it_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "vm.lock"
    async with held(path, VM, ME, clock=FakeClock(), report=silent, deadline_s=1):
        said = json.loads(path.read_text())
        assert said == {"pid": os.getpid(), "purpose": "spawn", "since": 5.0}
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == []


async def test_a_file_that_a_killed_holder_left_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "vm.lock"
    path.write_text(
        '{"pid": 1, "purpose": "spawn of long ago, and longer than the next", "since": 1}'
    )
    seen: list[Event] = []
    async with held(path, VM, ME, clock=FakeClock(), report=seen.append, deadline_s=0):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert seen == []


async def test_a_lock_on_a_file_whose_name_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    """The holder removes the name before it lets go; who opened it before must look again."""
    path = tmp_path / "vm.lock"
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    assert try_lock(opened)
    path.unlink()
    try:
        async with held(path, VM, ME, clock=FakeClock(), report=silent, deadline_s=0):
            assert os.fstat(opened).st_ino != path.stat().st_ino
    finally:
        os.close(opened)


async def test_a_file_put_in_the_place_of_ours_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "vm.lock"
    async with held(path, VM, ME, clock=FakeClock(), report=silent, deadline_s=0):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
async def test_a_holder_that_has_not_said_who_it_is_yet_is_still_waited_for(
    tmp_path: Path, said: bytes
) -> None:
    path = tmp_path / "vm.lock"
    path.write_bytes(said)
    holding = os.open(path, os.O_RDWR)
    assert try_lock(holding)
    seen: list[Event] = []
    try:
        with pytest.raises(VmBusyError, match="in use by another command"):
            async with held(path, VM, ME, clock=FakeClock(), report=seen.append, deadline_s=1):
                pass
    finally:
        os.close(holding)
    assert seen == []


async def test_each_holder_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "vm.lock"
    path.write_text('{"pid": 7, "purpose": "halt", "since": 1}')
    holding = os.open(path, os.O_RDWR)
    assert try_lock(holding)
    seen: list[Event] = []
    try:
        with pytest.raises(VmBusyError):
            async with held(path, VM, ME, clock=FakeClock(), report=seen.append, deadline_s=30):
                pass
    finally:
        os.close(holding)
    assert seen == [Notice(f"{VM}: waiting for process 7 (halt)")]


async def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "vm.lock").symlink_to(target)
    with pytest.raises(HostError, match=r"vm\.lock"):
        async with held(
            tmp_path / "vm.lock", VM, ME, clock=FakeClock(), report=silent, deadline_s=1
        ):
            pass
    assert target.read_text() == "precious"


def test_the_error_names_the_holder_its_purpose_and_how_long() -> None:
    error = busy(VM, Holder(pid=7, purpose="spawn feature/x", since=100.0), now=142.4)
    assert error.message == f"{VM} is in use by process 7 (spawn feature/x, for 42 s)"
    assert "kill 7" in error.hint
