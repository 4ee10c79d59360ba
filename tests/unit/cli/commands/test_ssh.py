from __future__ import annotations

from tachikoma.ssh.config_file import BEGIN
from tests.unit.cli.stand import CommandLine


def test_the_block_comes_and_goes_and_the_rest_stays(line: CommandLine) -> None:
    file = line.home / ".ssh" / "config"
    file.parent.mkdir()
    file.write_bytes(b"Host mine\n\tUser me")
    line("spawn")
    assert line("ssh", "install").out == "the block is in ~/.ssh/config\n"
    assert line("ssh", "install").out == "the block was in ~/.ssh/config already\n"
    text = file.read_bytes()
    assert text.startswith(BEGIN)
    assert b"Host tachikoma-box-main tachikoma-*\n" in text
    assert text.endswith(b"\nHost mine\n\tUser me")
    assert line("ssh", "uninstall", "--json").data == {"file": str(file), "changed": True}
    assert line("ssh", "uninstall").out == "there was no block in ~/.ssh/config\n"
    assert file.read_bytes() == b"Host mine\n\tUser me"


def test_spawn_and_destroy_keep_the_names_in_it(line: CommandLine) -> None:
    file = line.home / ".ssh" / "config"
    line("spawn")
    assert not file.exists()
    line("ssh", "install")
    line("spawn", "feature/x")
    assert b"Host tachikoma-box-feature-x tachikoma-box-main tachikoma-*\n" in file.read_bytes()
    line("destroy", "feature/x", "--yes")
    assert b"Host tachikoma-box-main tachikoma-*\n" in file.read_bytes()
    assert line("ssh", "refresh").out == "nothing to do in ~/.ssh/config\n"


def test_a_damaged_block_fails_the_command_but_not_a_spawn(line: CommandLine) -> None:
    file = line.home / ".ssh" / "config"
    file.parent.mkdir()
    file.write_bytes(BEGIN + b"\n")
    assert line("ssh", "install", "--json").error["code"] == "ssh.failed"
    ran = line("spawn")
    assert (ran.status, "was not refreshed" in ran.err) == (0, True)
    assert file.read_bytes() == BEGIN + b"\n"


def test_a_connection_to_a_vm_that_rests_is_refused_with_what_starts_it(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    ran = line("ssh", "connect", "tachikoma-box-main")
    assert (ran.status, "tachikoma spawn" in ran.err, ran.out) == (1, True, "")
