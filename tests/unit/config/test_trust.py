from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.config.load import load
from tachikoma.config.trust import TrustedFiles

FILE = Path("/src/app/.tachikoma.toml")


@pytest.fixture
def trusted(tmp_path: Path) -> TrustedFiles:
    return TrustedFiles(file=tmp_path / "config" / "trust.json")


def test_nothing_is_trusted_at_first(trusted: TrustedFiles) -> None:
    assert not trusted.trusts(FILE, "a")
    assert not trusted.known(FILE)


def test_trust_holds_for_one_content_of_one_file(trusted: TrustedFiles) -> None:
    trusted.grant(FILE, "a")
    assert trusted.trusts(FILE, "a")
    assert not trusted.trusts(FILE, "b")
    assert not trusted.trusts(FILE.with_name("other"), "a")
    trusted.grant(FILE, "b")
    assert not trusted.trusts(FILE, "a")


def test_trust_is_revoked(trusted: TrustedFiles) -> None:
    trusted.grant(FILE, "a")
    trusted.revoke(FILE)
    trusted.revoke(FILE)
    assert not trusted.known(FILE)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"version": 2, "files": {"/src/app/.tachikoma.toml": "a"}}']
)
def test_a_record_that_cannot_be_understood_trusts_nothing_and_is_made_anew(
    tmp_path: Path, raw: bytes
) -> None:
    file = tmp_path / "trust.json"
    file.write_bytes(raw)
    trusted = TrustedFiles(file=file)
    assert not trusted.trusts(FILE, "a")
    trusted.grant(FILE, "b")
    assert json.loads(file.read_bytes()) == {"version": 1, "files": {str(FILE): "b"}}


def test_the_record_is_the_users_alone(trusted: TrustedFiles, tmp_path: Path) -> None:
    trusted.grant(FILE, "a")
    assert (tmp_path / "config" / "trust.json").stat().st_mode & 0o077 == 0


def test_what_a_repository_sets_holds_while_its_file_is_as_it_was_shown(
    trusted: TrustedFiles, tmp_path: Path
) -> None:
    file = tmp_path / ".tachikoma.toml"
    file.write_text('api_key_command = "pass show key"\nworktree_dir = "/srv"\nvm_cpus = 2\n')

    def loaded() -> tuple[str | None, Path | None, int]:
        found = load(
            global_file=tmp_path / "none",
            repository=tmp_path,
            home=tmp_path,
            trusts=trusted.trusts,
        )
        (seen,) = found.repository_files
        assert [each.key for each in seen.withheld] == ["api_key_command", "worktree_dir"]
        assert bool(found.warnings) is not seen.trusted
        settings = found.settings
        if not seen.trusted and settings.vm_cpus == 2:
            trusted.grant(seen.file, seen.digest)
        return settings.api_key_command, settings.worktree_dir, settings.vm_cpus

    assert loaded() == (None, None, 2)
    assert loaded() == ("pass show key", Path("/srv"), 2)
    file.write_text(file.read_text().replace("vm_cpus = 2", "vm_cpus = 3"))
    assert loaded() == (None, None, 3)
