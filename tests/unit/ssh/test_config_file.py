from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tachikoma.model.errors import SshError
from tachikoma.model.names import VmName
from tachikoma.ssh.config_file import (
    BEGIN,
    END,
    Access,
    ConfigFile,
    block,
    has_block,
    with_block,
    without_block,
)


def access(*vms: str) -> Access:
    return Access(
        vms=[VmName(each) for each in vms],
        user="admin",
        key=Path('/home/a "b" 100%/.ssh/tachikoma'),
        known_hosts=Path("/home/a b/known_hosts"),
        connect=("/opt/ta chi/tachikoma", "ssh", "connect"),
    )


MADE = block(access("tachikoma-app-x"))
TEXTS = st.lists(
    st.sampled_from(
        [b"Host *\n", b"  User me\r\n", b"# tachikoma\n", b"\n", b"\xff\x00\n", b"Match all", b"\r"]
    ),
    max_size=6,
).map(b"".join) | st.binary(max_size=40)


@given(text=TEXTS)
def test_install_and_uninstall_give_back_every_byte(text: bytes) -> None:
    assume(BEGIN not in text and END not in text)
    installed = with_block(text, MADE)
    assert installed == MADE + text
    assert has_block(installed)
    assert without_block(installed) == text


@given(before=TEXTS, after=TEXTS)
def test_wherever_its_user_moved_the_block_only_the_block_changes(
    before: bytes, after: bytes
) -> None:
    assume(BEGIN not in before + after and END not in before + after)
    before += b"\n"
    other = block(access())
    assert with_block(before + MADE + after, other) == before + other + after
    assert without_block(before + MADE + after) == before + after


@given(text=TEXTS)
def test_installing_again_changes_nothing(text: bytes) -> None:
    assume(BEGIN not in text and END not in text)
    once = with_block(text, MADE)
    assert with_block(once, MADE) == once


@pytest.mark.parametrize(
    "text",
    [BEGIN + b"\n", END + b"\n", END + b"\n" + BEGIN + b"\n", MADE + MADE, MADE + BEGIN + b"\n"],
)
def test_damaged_marks_are_told_and_nothing_is_guessed(text: bytes) -> None:
    for change in (without_block, has_block, lambda raw: with_block(raw, MADE)):
        with pytest.raises(SshError, match="are damaged"):
            change(text)


@pytest.fixture
def config(tmp_path: Path) -> ConfigFile:
    return ConfigFile(path=tmp_path / ".ssh" / "config", lock=tmp_path / "lock")


def test_a_missing_file_is_made_private(config: ConfigFile, tmp_path: Path) -> None:
    assert not config.installed()
    assert not config.refresh(access())
    assert not (tmp_path / ".ssh").exists()
    assert config.install(access("tachikoma-app-x"))
    assert not config.install(access("tachikoma-app-x"))
    file = tmp_path / ".ssh" / "config"
    assert (file.stat().st_mode & 0o777, file.read_bytes()) == (0o600, MADE)
    assert (tmp_path / ".ssh").stat().st_mode & 0o077 == 0
    assert config.refresh(access())
    assert config.uninstall()
    assert not config.uninstall()
    assert file.read_bytes() == b""


def test_a_link_to_dotfiles_and_its_mode_stay(config: ConfigFile, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles"
    real.write_bytes(b"Host a\r\n\tUser b")
    real.chmod(0o644)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").symlink_to(real)
    config.install(access())
    assert (tmp_path / ".ssh" / "config").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o644
    config.uninstall()
    assert real.read_bytes() == b"Host a\r\n\tUser b"


def test_what_a_killed_writer_left_is_swept(config: ConfigFile, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    left = tmp_path / ".ssh" / ".config.0011aabb.tmp"
    left.write_text("half")
    config.install(access())
    assert not left.exists()


@pytest.mark.live
def test_ssh_reads_the_block_as_it_is_meant_and_the_users_own_lines_still_hold(
    config: ConfigFile, tmp_path: Path
) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh")
    file = tmp_path / ".ssh" / "config"
    file.parent.mkdir()
    file.write_text("Compression yes\nHost *\n  User me\n  Port 2222\n  ForwardAgent yes\n")
    config.install(access("tachikoma-app-x"))

    def asked(host: str) -> dict[str, str]:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(file), host], capture_output=True, check=True, text=True
        )
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    for name in ("tachikoma-app-x", "tachikoma-made-later"):
        found = asked(name)
        wanted = {
            "user": "admin",
            "port": "22",
            "hostname": name,
            "forwardagent": "no",
            "stricthostkeychecking": "true",
            "identityfile": '/home/a "b" 100%%/.ssh/tachikoma',
            "proxycommand": "'/opt/ta chi/tachikoma' ssh connect '%h'",
            "proxyusefdpass": "yes",
            "compression": "yes",
        }
        assert {key: found[key] for key in wanted} == wanted
        assert found["userknownhostsfile"].endswith(("/home/a b/known_hosts/%h", name))
    other = asked("example.org")
    assert (other["user"], other["port"], other["compression"]) == ("me", "2222", "yes")
    assert "proxycommand" not in other


@pytest.mark.live
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """Killed at twenty moments of its work; what is there is one of the two, whole."""
    file = tmp_path / ".ssh" / "config"
    file.parent.mkdir()
    mine = b"Host mine\n  User me\n" * 2000
    file.write_bytes(mine)
    reading, writing = os.pipe()
    for moment in range(20):
        child = os.fork()
        if child == 0:
            _install_and_uninstall_for_ever(tmp_path, writing)
        os.read(reading, 1)  # it is at work
        subprocess.run(["sleep", f"0.0{moment:02}"], check=True)
        os.kill(child, 9)
        os.waitpid(child, 0)
        assert file.read_bytes() in (mine, MADE + mine)
    os.close(reading)
    os.close(writing)
    config = ConfigFile(path=file, lock=tmp_path / "lock")
    config.install(access())
    config.uninstall()
    assert [path.name for path in file.parent.iterdir()] == ["config"]
    assert file.read_bytes() == mine


def _install_and_uninstall_for_ever(base: Path, at_work: int) -> None:
    config = ConfigFile(path=base / ".ssh" / "config", lock=base / "lock")
    while True:
        config.install(access("tachikoma-app-x"))
        os.write(at_work, b".")
        config.uninstall()
