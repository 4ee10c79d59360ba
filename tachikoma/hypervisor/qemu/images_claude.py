"""Claude Code for the guest: one native binary out of its pinned npm package.

npm fetches the package, because it knows the user's registry, proxy and certificates; that it
is the right one is checked here, against the digest below.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.host import files, process
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import CommandFailed, ImageBuildFailed, MissingToolError

# Newer ones work as well; up to 2.1.329 they need half as much time again for a turn where the
# processor is emulated.
VERSION = "2.1.300"
_FETCH_S = 1200.0
_CHUNK = 1 << 20
_MEMBER = "package/claude"
# Beside npm's own settings: where proxies and certificates are told to every program.
_HANDED_ON = re.compile(
    r"npm_config_.*|(https?|all|no)_proxy|node_extra_ca_certs|ssl_cert_(file|dir)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package and the SHA-512 of its archive as npm writes it."""

    name: str
    version: str
    integrity: str

    @property
    def file_name(self) -> str:
        """The name of its archive."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"


PACKAGES = {
    "amd64": Package(
        "@anthropic-ai/claude-code-linux-x64",
        VERSION,
        "sha512-oW4/i4gBd0Y7vqKToK+RaO/fZm4oZWAA81CJ1s0afg+bP+OH9QJdOXKDDwQ9eizcV78a44mQAbce5WYsN18CAw==",
    ),
    "arm64": Package(
        "@anthropic-ai/claude-code-linux-arm64",
        VERSION,
        "sha512-LGxXJ2ibRUHG4BVUPWG1S7OQ+H6ctf98Jd/d5XByy3/sm2fG6k7u0892Dc1bF+wJYwb0FvOqRKdOtNj+zUCTuA==",
    ),
}


def cached(package: Package, cache: Path) -> Path | None:
    """Give the archive if it was fetched before and is whole."""
    path = cache / package.file_name
    return path if path.is_file() and is_genuine(path, package) else None


async def fetch(
    package: Package, *, cache: Path, scratch: Path, environ: Mapping[str, str]
) -> Path:
    """Fetch the archive into ``cache``; ``scratch`` is an empty directory for npm.

    Raises:
        MissingToolError: npm is not installed.
        ImageBuildFailed: npm failed, or what it brought is not the package that is pinned.
    """
    # A package.json makes this directory the project, so that no .npmrc above it counts as one.
    (scratch / "package.json").write_text("{}", encoding="utf-8")
    try:
        await process.run(
            pack_argv(package, scratch),
            deadline_s=_FETCH_S,
            cwd=scratch,
            env=npm_environment(environ),
        )
    except MissingToolError as error:
        raise missing_npm() from error
    except CommandFailed as error:
        raise ImageBuildFailed(
            f"npm could not fetch {package.name} {package.version}",
            hint="see what npm says; `npm config list` shows the registry it asks",
            details=error.details,
        ) from error
    archives = list(scratch.glob("*.tgz"))
    if len(archives) != 1 or not is_genuine(archives[0], package):
        raise ImageBuildFailed(
            f"what npm fetched as {package.name} {package.version} is not that package",
            hint="its digest is wrong: check the registry that `npm config get registry` names",
        )
    private_dir(cache)
    for old in cache.glob(f"{package.name.rpartition('/')[2]}-*"):
        old.unlink()
    return _moved(archives[0], cache / package.file_name)


def missing_npm() -> MissingToolError:
    """Give the error for a host without npm."""
    return MissingToolError(
        "the program npm is not installed; it fetches Claude Code for the image",
        hint="install it: `apt-get install npm`",
    )


def pack_argv(package: Package, scratch: Path) -> list[str]:
    """Give the command that puts the archive into ``scratch`` and nothing anywhere else."""
    return [
        *("npm", "pack", f"{package.name}@{package.version}"),
        *("--pack-destination", str(scratch)),
        *("--cache", str(scratch / "cache")),
        *("--ignore-scripts", "--loglevel=error", "--no-update-notifier"),
    ]


def npm_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Choose what npm gets of the environment: its settings and what its npmrc refers to."""
    wanted = {name: value for name, value in environ.items() if _HANDED_ON.fullmatch(name)}
    named_there = (environ.get(name) for name in ("NPM_CONFIG_USERCONFIG", "npm_config_userconfig"))
    npmrc = next(filter(None, named_there), f"{environ.get('HOME', '')}/.npmrc")
    try:
        text = Path(npmrc).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return wanted
    named = re.findall(r"\$\{(\w+)\??\}", text)
    return wanted | {name: environ[name] for name in named if name in environ}


def is_genuine(path: Path, package: Package) -> bool:
    """Tell whether the file has the digest of the package."""
    digest = hashlib.sha512()
    with files.translated(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"sha512-{base64.b64encode(digest.digest()).decode()}" == package.integrity


def unpack(archive: Path, binary: Path) -> None:
    """Put the binary of the archive at ``binary``, executable.

    Raises:
        ImageBuildFailed: the archive has none.
        DiskFullError: no space.
    """
    try:
        with (
            files.translated(binary),
            tarfile.open(archive, "r|gz") as tar,
            binary.open("wb") as out,
        ):
            for member in tar:
                source = tar.extractfile(member) if member.name == _MEMBER else None
                if source is None:
                    continue
                while chunk := source.read(_CHUNK):
                    out.write(chunk)
                binary.chmod(0o755)
                return
    except tarfile.TarError as error:
        raise _no_binary(archive) from error
    raise _no_binary(archive)


def _no_binary(archive: Path) -> ImageBuildFailed:
    return ImageBuildFailed(
        f"{archive} holds no {_MEMBER}", hint="remove that file and build the image again"
    )


def _moved(source: Path, target: Path) -> Path:
    """Move a file, perhaps to another file system, so that no half of it is ever at ``target``."""
    with files.translated(target):
        try:
            return source.replace(target)
        except OSError:
            beside = target.with_suffix(".partial")
            with source.open("rb") as read, beside.open("wb") as write:
                while chunk := read.read(_CHUNK):
                    write.write(chunk)
            return beside.replace(target)
