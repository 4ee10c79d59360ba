from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.model.errors import PermissionDeniedError, SshError
from tachikoma.ssh.keys import decode_public, ensure_pair


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "ho me" / ".ssh" / "tachikoma"


def ensure(private: Path) -> str:
    return ensure_pair(private, lock=private.parent.parent / "config" / "lock")


def public_of(private: Path) -> str:
    key = serialization.load_ssh_private_key(private.read_bytes(), None)
    encoding, kind = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(encoding, kind).decode()


def test_a_pair_is_made_for_its_user_alone(private: Path) -> None:
    line = ensure(private)
    assert line == f"{public_of(private)} tachikoma"
    assert private.with_name("tachikoma.pub").read_text() == f"{line}\n"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert sorted(p.name for p in private.parent.iterdir()) == ["tachikoma", "tachikoma.pub"]


def test_a_pair_that_is_there_stays(private: Path) -> None:
    line = ensure(private)
    before = private.read_bytes()
    assert ensure(private) == line
    assert private.read_bytes() == before


@pytest.mark.parametrize("wrong", [None, "", "ssh-ed25519 AAAA somebody\n"])
def test_a_missing_or_wrong_public_half_is_made_again(private: Path, wrong: str | None) -> None:
    line = ensure(private)
    public = private.with_name("tachikoma.pub")
    public.unlink() if wrong is None else public.write_text(wrong)
    assert ensure(private) == line
    assert public.read_text() == f"{line}\n"


def test_a_private_key_that_others_can_read_is_taken_from_them(private: Path) -> None:
    ensure(private)
    private.chmod(0o644)
    ensure(private)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_a_directory_that_is_there_keeps_its_mode(private: Path) -> None:
    private.parent.mkdir(parents=True)
    private.parent.chmod(0o755)
    ensure(private)
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o755


def test_many_at_once_make_one_pair(private: Path) -> None:
    lines: list[str] = []
    threads = [threading.Thread(target=lambda: lines.append(ensure(private))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert lines == [f"{public_of(private)} tachikoma"] * 6


def test_a_key_with_a_passphrase_is_refused_with_the_way_out(private: Path) -> None:
    private.parent.mkdir(parents=True)
    private.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(SshError, match="passphrase") as caught:
        ensure(private)
    assert "ssh-keygen -p" in caught.value.hint
    assert not private.with_name("tachikoma.pub").exists()


@pytest.mark.parametrize("content", ["", "garbage", "-----BEGIN OPENSSH PRIVATE KEY-----\n"])
def test_garbage_is_refused_and_left_alone(private: Path, content: str) -> None:
    private.parent.mkdir(parents=True)
    private.write_text(content)
    with pytest.raises(SshError, match="not an OpenSSH private key") as caught:
        ensure(private)
    assert f"mv {private}" in caught.value.hint
    assert private.read_text() == content


def test_a_key_cut_short_is_refused(private: Path) -> None:
    ensure(private)
    lines = private.read_text().splitlines()
    private.write_text("\n".join([lines[0], lines[1], lines[-1]]) + "\n")
    with pytest.raises(SshError, match=r"cut short|private part"):
        ensure(private)


def test_a_private_key_that_is_a_directory_cannot_be_read(private: Path) -> None:
    private.mkdir(parents=True)
    with pytest.raises(Exception, match="directory") as caught:
        ensure(private)
    assert not isinstance(caught.value, PermissionDeniedError | OSError)


@given(st.text(), st.binary())
def test_nothing_but_a_key_is_taken_for_one(text: str, blob: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text of it will do
        decode_public(text)
    with pytest.raises(ValueError):  # noqa: PT011 - any text of it will do
        decode_public(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n"
            + blob.hex()
            + "\n-----END OPENSSH PRIVATE KEY-----\n"
        )
