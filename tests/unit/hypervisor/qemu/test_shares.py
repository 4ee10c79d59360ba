from __future__ import annotations

import os
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu.shares import (
    GUEST_USER_ID,
    find_virtiofsd,
    first_lent,
    id_maps,
    share_socket,
    share_specs,
)
from tachikoma.model.errors import HypervisorError, MissingToolError, UnsupportedError
from tachikoma.model.vm import Mount

TABLE = (
    "# a comment\nalice:100000:65536\nbroken\nbob:x:1\n1002:300000:10\nalice:900000:1\nnil:5:0\n"
)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("alice", "1001"), 100000),
        (("carol", "1002"), 300000),
        (("bob",), None),
        (("nil",), None),
        (("nobody",), None),
    ],
)
def test_the_first_id_that_is_lent(names: tuple[str, ...], first: int | None) -> None:
    assert first_lent(TABLE, names) == first


@pytest.mark.skipif(os.geteuid() != 0, reason="says what holds for root")
def test_root_needs_no_tools_to_map_its_ids() -> None:
    maps = id_maps()
    assert not maps.tools
    assert maps.uid[1] == [GUEST_USER_ID, 0, 1]
    assert maps.uid[0][0] == 0
    assert maps.uid[0][1] != 0


def test_no_mounts_need_no_daemon(tmp_path: Path) -> None:
    assert share_specs((), tmp_path) == []


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(HypervisorError, match="gone cannot be shared with the VM"):
        share_specs((Mount("code", gone),), tmp_path)


def test_too_many_mounts_are_refused(tmp_path: Path) -> None:
    many = tuple(Mount(f"m{n}", tmp_path) for n in range(21))
    with pytest.raises(UnsupportedError, match="room for 20 shared directories, not 21"):
        share_specs(many, tmp_path)


def test_each_mount_has_a_daemon_and_a_socket_of_its_own(tmp_path: Path) -> None:
    try:
        daemon = find_virtiofsd()
    except MissingToolError:
        pytest.skip("virtiofsd is not installed")
    odd = tmp_path / "a, 'b'"
    odd.mkdir()
    first, second = share_specs((Mount("a", odd), Mount("b", tmp_path, read_only=True)), tmp_path)
    assert first["socket"] == str(share_socket(tmp_path, 0))
    assert first["directory"] == str(odd)
    assert not first["read_only"]
    assert first["argv"][0] == daemon.program
    assert str(odd) not in " ".join(first["argv"])
    assert second["socket"] != first["socket"]
    assert second["mountpoint"] != first["mountpoint"]
    assert second["read_only"]
