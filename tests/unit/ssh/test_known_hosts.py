from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tachikoma.model.errors import SshError
from tachikoma.model.names import VmName
from tachikoma.ssh.known_hosts import forget, lines_for, pin, pinned

VM = VmName("tachikoma-repo-x")
BLOB = f"AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
KEY = f"ssh-ed25519 {BLOB}"


def test_keys_stand_under_the_name_of_the_vm_without_their_comments() -> None:
    assert lines_for(VM, [f"{KEY} root@guest\n", "", KEY]) == [f"{VM} {KEY}"] * 2


@pytest.mark.parametrize(
    "line",
    ["nonsense", "ssh-ed25519", "ssh-ed25519 AAAA", f"ssh-rsa {BLOB}", f"ssh-x\n* {BLOB}", "* *"],
)
def test_what_is_no_host_key_is_refused(line: str) -> None:
    with pytest.raises(SshError) as caught:
        lines_for(VM, [KEY, line])
    assert caught.value.hint


def test_what_was_pinned_is_found_again(tmp_path: Path) -> None:
    path = pin(tmp_path / "known", VM, [KEY])
    assert pinned(path, VM) == {"ssh-ed25519": {BLOB}}
    assert pinned(path, VmName("tachikoma-repo-y")) == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pinning_again_replaces(tmp_path: Path) -> None:
    pin(tmp_path, VM, [KEY])
    other = KEY[:-4] + "BBBB"
    assert pinned(pin(tmp_path, VM, [other]), VM) == {"ssh-ed25519": {other.split()[1]}}


def test_forgetting_is_for_good_and_repeatable(tmp_path: Path) -> None:
    path = pin(tmp_path, VM, [KEY])
    forget(tmp_path, VM)
    forget(tmp_path, VM)
    assert pinned(path, VM) == {}
