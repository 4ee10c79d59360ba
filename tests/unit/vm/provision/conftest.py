"""A made-up guest, and what carries a plan out in it."""

from __future__ import annotations

import io
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.vm.provision import guest
from tachikoma.vm.provision.plan import make_plan
from tests.unit.vm.provision.test_plan import SITE

HOST_KEY = "ssh-ed25519 AAAAC3 root@guest\n"
SOCKETS = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
LISTENER = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n"
LISTENER_6 = f"   0: {'0' * 32}:0016 {'0' * 32}:0000 0A 00000000:00000000 00:00000000 00000000\n"
CONNECTION = "   1: 0F02000A:0016 0202000A:C350 01 00000000:00000000 00:00000000 00000000\n"
OTHER = "   2: 00000000:1600 00000000:0016 0A 00000000:00000000 00:00000000 00000000\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest's file system as far as the script touches it, and a user of it who is us."""
    user = pwd.struct_passwd(
        ("admin", "x", os.geteuid(), os.getegid(), "", "/home/admin", "/bin/sh")
    )
    for directory in (
        "etc/ssh",
        "home/admin",
        "proc/net",
        "proc/sys/kernel",
        "usr/local/bin",
        "var/tmp",
        "run",
    ):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/hostname").write_text("tachikoma\n")
    (tmp_path / "proc/filesystems").write_text("nodev\tvirtiofs\n")
    (tmp_path / "proc/net/tcp").write_text(SOCKETS + LISTENER)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 tachikoma\n")
    (tmp_path / "etc/ssh/ssh_host_ed25519_key.pub").write_text(HOST_KEY)
    (tmp_path / "usr/local/bin/claude").touch(mode=0o755)
    monkeypatch.setattr(guest, "ROOT", str(tmp_path))
    monkeypatch.setattr(guest, "owner_of", lambda _plan: user)
    monkeypatch.setattr(guest, "mount", lambda *_what: 0)
    monkeypatch.setattr(guest, "become", lambda _owner: None)
    return tmp_path


def carry_out(monkeypatch: pytest.MonkeyPatch, **changes: object) -> int:
    plan = make_plan(replace(SITE, **changes), token="tachikoma-token", now=0.0)  # type: ignore[arg-type]  # names of Site
    monkeypatch.setattr("sys.stdin", io.StringIO(plan.stdin.decode()))
    return guest.main()
