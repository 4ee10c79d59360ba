from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu import images_claude as claude
from tachikoma.model.errors import ImageBuildFailed, MissingToolError

NPM = """\
#!/bin/sh
set -e
printf '%s\\n' "$@" > "$OUT/argv"
env > "$OUT/environ"
pwd > "$OUT/cwd"
while [ "$1" != --pack-destination ]; do shift; done
cp "$OUT/archive" "$2/some.tgz"
"""


def archive(path: Path, *members: str) -> bytes:
    with tarfile.open(path, "w:gz") as tar:
        for name in members:
            info = tarfile.TarInfo(name)
            info.size = 6
            tar.addfile(info, io.BytesIO(b"binary"))
    return path.read_bytes()


def package_of(data: bytes) -> claude.Package:
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    return claude.Package("@scope/the-package", "1.2.3", f"sha512-{digest}")


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for what the stand-in of npm is given and tells; it goes before the real one."""
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(NPM.replace("$OUT", str(tmp_path)), encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "scratch").mkdir()
    return tmp_path


def test_each_architecture_has_a_pinned_package() -> None:
    assert set(claude.PACKAGES) == {"amd64", "arm64"}
    for package in claude.PACKAGES.values():
        assert package.version == claude.VERSION
        assert len(base64.b64decode(package.integrity.removeprefix("sha512-"))) == 64


@pytest.mark.live
async def test_a_fetched_package_is_kept_and_found_again(out: Path) -> None:
    package = package_of(archive(out / "archive", "package/claude"))
    cache = out / "cache"
    assert claude.cached(package, cache) is None
    cache.mkdir()
    (cache / "the-package-1.0.0.tgz").write_bytes(b"an older release")
    path = await claude.fetch(
        package, cache=cache, scratch=out / "scratch", environ={"HOME": "/home/u"}
    )
    assert path == cache / "the-package-1.2.3.tgz"
    assert claude.cached(package, cache) == path
    assert [entry.name for entry in cache.iterdir()] == [path.name]
    assert (out / "cwd").read_text().strip() == str(out / "scratch")
    assert "@scope/the-package@1.2.3" in (out / "argv").read_text().splitlines()


@pytest.mark.live
async def test_a_package_with_another_digest_is_refused(out: Path) -> None:
    package = package_of(b"something else")
    archive(out / "archive", "package/claude")
    with pytest.raises(ImageBuildFailed, match="is not that package"):
        await claude.fetch(package, cache=out / "cache", scratch=out / "scratch", environ={})
    assert not (out / "cache").exists()


@pytest.mark.live
async def test_what_npm_says_when_it_fails_is_kept(out: Path) -> None:
    (out / "bin" / "npm").write_text("#!/bin/sh\necho E404 not there >&2\nexit 1\n")
    with pytest.raises(ImageBuildFailed) as raised:
        await claude.fetch(
            package_of(b""), cache=out / "cache", scratch=out / "scratch", environ={}
        )
    assert "E404 not there" in raised.value.details


@pytest.mark.live
async def test_a_host_without_npm_is_told_how_to_get_it(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(out / "scratch"))
    with pytest.raises(MissingToolError) as raised:
        await claude.fetch(
            package_of(b""), cache=out / "cache", scratch=out / "scratch", environ={}
        )
    assert raised.value.hint == "install it: `apt-get install npm`"


def test_a_damaged_archive_in_the_cache_is_not_used(tmp_path: Path) -> None:
    data = archive(tmp_path / "the-package-1.2.3.tgz", "package/claude")
    package = package_of(data)
    assert claude.cached(package, tmp_path) is not None
    (tmp_path / "the-package-1.2.3.tgz").write_bytes(data[:-1])
    assert claude.cached(package, tmp_path) is None


def test_the_binary_is_unpacked_executable(tmp_path: Path) -> None:
    archive(tmp_path / "a.tgz", "package/README.md", "package/claude")
    claude.unpack(tmp_path / "a.tgz", tmp_path / "claude")
    assert (tmp_path / "claude").read_bytes() == b"binary"
    assert (tmp_path / "claude").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("members", [(), ("package/README.md",)])
def test_an_archive_without_the_binary_is_an_error(
    tmp_path: Path, members: tuple[str, ...]
) -> None:
    archive(tmp_path / "a.tgz", *members)
    with pytest.raises(ImageBuildFailed, match="holds no package/claude"):
        claude.unpack(tmp_path / "a.tgz", tmp_path / "claude")


def test_no_archive_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"<html>sign in first</html>")
    with pytest.raises(ImageBuildFailed):
        claude.unpack(tmp_path / "a.tgz", tmp_path / "claude")


def test_npm_gets_its_settings_and_no_other_secret(own_home: Path) -> None:
    (own_home / ".npmrc").write_text(
        "//mirror.example/:_authToken=${MIRROR_TOKEN}\nca=${ABSENT?}\n", encoding="utf-8"
    )
    given = {
        "HOME": str(own_home),
        "npm_config_registry": "https://mirror.example",
        "NPM_CONFIG_CAFILE": "/ca.pem",
        "HTTPS_PROXY": "http://proxy.example",
        "NODE_EXTRA_CA_CERTS": "/ca.pem",
        "MIRROR_TOKEN": "token",
        "ANTHROPIC_API_KEY": "secret",
    }
    assert claude.npm_environment(given) == {
        name: value for name, value in given.items() if name not in {"HOME", "ANTHROPIC_API_KEY"}
    }
