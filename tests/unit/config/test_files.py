from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.config.files import SettingsFiles
from tachikoma.config.load import load
from tachikoma.model.errors import BadValueError, ConfigError, UnknownKeyError
from tachikoma.model.settings import Settings


@pytest.fixture
def files(tmp_path: Path) -> SettingsFiles:
    (tmp_path / "repo").mkdir()
    return SettingsFiles(
        own=tmp_path / "config" / "config.toml", repository=tmp_path / "repo", home=tmp_path
    )


def test_a_repository_has_two_files(files: SettingsFiles, tmp_path: Path) -> None:
    assert files.shared == tmp_path / "repo" / ".tachikoma.toml"
    assert files.local == tmp_path / "repo" / ".tachikoma.local.toml"
    nowhere = SettingsFiles(own=files.own, repository=None, home=tmp_path)
    assert (nowhere.shared, nowhere.local) == (None, None)


@pytest.mark.parametrize(
    ("key", "values", "toml"),
    [
        ("vm_cpus", ["8"], "8"),
        ("credential_proxy", ["false"], "false"),
        ("base_image", ["debian"], '"debian"'),
        ("base_image", ["8"], '"8"'),
        ("base_image", ['"debian"'], '"debian"'),
        ("claude_flags", ["--x"], '["--x"]'),
        ("claude_flags", ["--x", "a b"], '["--x", "a b"]'),
        ("claude_flags", ['["--x"]'], '["--x"]'),
        ("claude_flags", ["[]"], "[]"),
        ("credential_command", ["pass show 'a'"], "\"pass show 'a'\""),
    ],
)
def test_what_is_typed_becomes_toml(
    files: SettingsFiles, key: str, values: list[str], toml: str
) -> None:
    assert files.understood(key, values, files.own) == toml


def test_what_a_key_does_not_accept_is_refused(files: SettingsFiles) -> None:
    with pytest.raises(BadValueError, match="whole number"):
        files.understood("vm_cpus", ["many"], files.own)
    with pytest.raises(UnknownKeyError):
        files.understood("vm_cpu", ["1"], files.own)
    with pytest.raises(BadValueError):
        files.understood("base_image", ["x\ny = 1"], files.own)


def test_a_change_makes_the_file_and_keeps_what_is_there(files: SettingsFiles) -> None:
    assert files.change(files.own, "vm_cpus", "2") is False
    assert files.change(files.own, "vm_cpus", "3") is True
    assert files.own.read_text() == "vm_cpus = 3\n"
    assert files.own.parent.stat().st_mode & 0o077 == 0
    assert files.change(files.own, "vm_cpus", None) is True
    assert files.change(files.own, "vm_cpus", None) is False
    assert files.own.read_text() == ""


def test_a_link_stays_a_link_and_a_mode_a_mode(files: SettingsFiles, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("vm_cpus = 1\n")
    real.chmod(0o640)
    assert files.shared is not None
    files.shared.symlink_to(real)
    files.change(files.shared, "vm_cpus", "2")
    assert files.shared.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("vm_cpus = 2\n", 0o640)


def test_a_broken_file_is_told_and_left(files: SettingsFiles) -> None:
    files.own.parent.mkdir()
    files.own.write_bytes(b"vm_cpus = \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        files.change(files.own, "vm_cpus", "1")
    files.own.write_text("vm_cpus = = 1\n")
    with pytest.raises(ConfigError, match="line 1"):
        files.change(files.own, "vm_cpus", "1")
    assert files.own.read_text() == "vm_cpus = = 1\n"


def test_a_file_that_is_made_explains_every_key_and_sets_none(files: SettingsFiles) -> None:
    files.ensure(files.own)
    assert "# vm_cpus = 4" in files.own.read_text()
    loaded = load(global_file=files.own, repository=None, home=files.home)
    assert loaded.settings == Settings()
    files.own.write_text("vm_cpus = 1\n")
    files.ensure(files.own)
    assert files.own.read_text() == "vm_cpus = 1\n"
