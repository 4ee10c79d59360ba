"""What the guest program does in images that are not ours."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from tachikoma.vm.provision import guest
from tests.unit.vm.provision.conftest import HOST_KEY, carry_out


def test_a_share_with_its_directory_below_its_root_is_mounted_aside_and_shown_in_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts: list[tuple[str, str]] = []

    def run(*argv: str) -> int:
        if argv[:2] == ("mount", "--bind"):
            mounts.append((argv[-2], argv[-1].removeprefix(str(root))))
        return 0

    def mount(tag: str, path: str, _flags: int) -> int:
        mounts.append((tag, path.removeprefix(str(root))))
        return 0

    monkeypatch.setattr(guest, "mount", mount)
    monkeypatch.setattr(guest, "run", run)
    assert carry_out(monkeypatch, share_name="share") == 0
    shares = f"{root}/run/tachikoma/shares"
    assert mounts == [
        ("code", "/run/tachikoma/shares/code"),
        (f"{shares}/code/share", "/home/u/app-topic"),
        ("dotgit", "/run/tachikoma/shares/dotgit"),
        (f"{shares}/dotgit/share", "/mnt/tachikoma/dotgit"),
    ]
    assert (root / "home/u/app/.git").readlink() == Path("/mnt/tachikoma/dotgit")


def test_a_share_that_cannot_be_shown_fails_its_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest, "run", lambda *argv: int("--bind" in argv))
    assert carry_out(monkeypatch, share_name="share") == 1
    assert "the share code cannot be shown at /home/u/app-topic" in capsys.readouterr().err


@pytest.mark.live
def test_host_keys_that_came_with_an_image_are_replaced_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ssh = root / "etc/ssh"
    (ssh / "ssh_host_rsa_key").write_text("public knowledge")
    (ssh / "ssh_host_ed25519_key.new").write_text("of a run that was killed")
    restarted: list[tuple[str, ...]] = []

    def run(*argv: str) -> int:
        if argv[0] == "ssh-keygen":
            return subprocess.run(argv, check=False, timeout=15).returncode
        restarted.append(argv)
        return 0

    monkeypatch.setattr(guest, "run", run)
    assert carry_out(monkeypatch, public_host_keys=True) == 0
    made = (ssh / "ssh_host_ed25519_key.pub").read_text()
    assert made.startswith("ssh-ed25519 ")
    assert made != HOST_KEY
    assert not (ssh / "ssh_host_rsa_key").exists()
    assert stat.S_IMODE((ssh / "ssh_host_ed25519_key").stat().st_mode) == 0o600
    assert f"@tachikoma hostkey {' '.join(made.split()[:2])}" in capsys.readouterr().out
    assert ("systemctl", "try-restart", "ssh.service", "sshd.service") in restarted
    assert carry_out(monkeypatch, public_host_keys=True) == 0
    assert (ssh / "ssh_host_ed25519_key.pub").read_text() == made


def test_without_ssh_keygen_the_public_keys_are_not_taken_for_good(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest, "run", lambda *argv: int(argv[0] == "ssh-keygen"))
    assert carry_out(monkeypatch, public_host_keys=True) == 1
    assert "ssh-keygen makes no host key" in capsys.readouterr().err
    assert (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text() == HOST_KEY
