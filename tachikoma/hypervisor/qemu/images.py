"""Debian images for QEMU: what `tachikoma image build` makes on Linux.

A build installs packages into a directory, lays our files over it, adds Claude Code, makes a
disk of it and gives the result its name; each step is in a module of its own beside this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import platform
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tachikoma.host import files, process
from tachikoma.host.clock import Clock
from tachikoma.host.paths import private_dir
from tachikoma.hypervisor.qemu import images_claude as claude
from tachikoma.hypervisor.qemu import images_guest as guest
from tachikoma.hypervisor.qemu import images_root as rootfs
from tachikoma.hypervisor.qemu import images_sources as sources
from tachikoma.hypervisor.qemu.images_store import DISK, INITRD, KERNEL, ImageStore, seal
from tachikoma.model.errors import (
    CommandFailed,
    DiskFullError,
    HostError,
    ImageBuildFailed,
    ImageError,
    ImageInUseError,
    ImageNotFoundError,
    MissingToolError,
    UnsupportedError,
)
from tachikoma.model.events import Report, StepEnded, StepProgress, StepStarted
from tachikoma.model.names import VmName
from tachikoma.model.vm import ImageInfo

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LOCK_S = 3600.0
_QUICK_S = 20.0
_MIB = 1 << 20
_NEEDED_MIB = 2560
_ARCHIVE_MIB = 400
_NO_SPACE = os.strerror(errno.ENOSPC)
_APT = Path("/etc/apt")
_PARTS = ("git", "openssh-server", "python3", "qemu-guest-agent", "systemd")


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What one build is made of; ``archive`` is None until npm has fetched the package."""

    architecture: str
    package: claude.Package
    archive: Path | None


class DebianImages:
    """Images below ``data``; see ``Images`` for what its methods promise.

    ``cache`` keeps the archive of Claude Code. ``environ`` is the user's environment, of which
    apt and npm get what concerns the network. ``packages`` are installed besides our own;
    ``claude_code`` is another release of it than ours.
    """

    def __init__(
        self,
        *,
        data: Path,
        cache: Path,
        clock: Clock,
        environ: Mapping[str, str],
        packages: tuple[str, ...] = (),
        claude_code: claude.Package | None = None,
    ) -> None:
        self._data = data
        self._cache = cache / "claude-code"
        self._clock = clock
        self._environ = dict(environ)
        self._packages = packages
        self._claude_code = claude_code
        self._store = ImageStore(data=data, clock=clock)
        self._namespace = rootfs.Namespace(environ=environ)

    async def images(self) -> list[ImageInfo]:
        """List them by name."""
        return self._store.all()

    async def build(self, name: str, *, rebuild: bool, report: Report) -> ImageInfo:
        """Build the image ``name``, or give what is there already unless ``rebuild``.

        Raises besides what the port says:
            PermissionDeniedError: the system does not let this user build images.
        """
        if not rebuild and (found := self._store.find(name)) is not None:
            return found
        before = self._store.find(name)
        async with self._locked(report):
            found = self._store.find(name)
            if found is not None and (not rebuild or found != before):
                return found  # made by whom we waited for
            architecture = host_architecture()
            package = self._claude_code or claude.PACKAGES[architecture]
            archive = await asyncio.to_thread(claude.cached, package, self._cache)
            await self._namespace.enter()
            self._check_tools(archive)
            await self._sweep()
            self._check_space(archive)
            with _translated(self._data):
                info = await self._build(name, _Recipe(architecture, package, archive), report)
            self._store.collect()
            return info

    async def pull(self, name: str, *, report: Report) -> ImageInfo:
        """Refuse: an image for QEMU is built on the machine that uses it."""
        del report
        raise UnsupportedError(
            f"the image {name} cannot be fetched: images for QEMU are built on this machine",
            hint="`tachikoma image build` makes the one that `spawn` uses",
        )

    async def push(self, name: str, target: str, *, report: Report) -> None:
        """Refuse: there is no registry for images of QEMU."""
        del report
        raise UnsupportedError(
            f"the image {name} cannot be sent to {target}: images for QEMU stay on this machine",
            hint="every machine builds its own: `tachikoma image build`",
        )

    async def delete_image(self, name: str, *, used_by: Sequence[VmName]) -> None:
        """Remove the image unless somebody uses it."""
        async with self._locked(lambda _: None):
            info = self._store.find(name)
            if info is None:
                raise ImageNotFoundError(
                    f"there is no image {name}", hint="`tachikoma image list` shows what there is"
                )
            users = sorted({*used_by, *self._store.users(info.digest)})
            if users:
                raise ImageInUseError(
                    f"VMs stand on the image {name}: {', '.join(users)}",
                    hint="destroy them first: `tachikoma destroy BRANCH`",
                )
            self._store.unlink(name)
            self._store.collect()

    async def _build(self, name: str, recipe: _Recipe, report: Report) -> ImageInfo:
        directory = self._store.new_directory()
        try:
            root = directory / "root"
            await self._fill(root, directory, recipe, report)
            about: dict[str, Any] = {
                "created": self._clock.now(),
                "architecture": recipe.architecture,
                "kernel_cmdline": guest.kernel_cmdline(recipe.architecture),
                "contents": contents_of(root) | {"claude-code": recipe.package.version},
            }
            with self._step(report, "disk", "making the disk"):
                image = await self._make_disk(root, directory)
                about["digest"] = await asyncio.to_thread(seal, image)
                return self._store.publish(name, image, about)
        finally:
            with contextlib.suppress(CommandFailed):  # the next build removes what is left
                await asyncio.shield(self._namespace.remove(directory))

    async def _fill(self, root: Path, directory: Path, recipe: _Recipe, report: Report) -> None:
        """Install packages and Claude Code into ``root``; the latter comes in the meantime."""
        text = f"adding Claude Code {recipe.package.version}"
        try:
            async with asyncio.TaskGroup() as tasks:
                coming = tasks.create_task(self._archive(recipe, directory))
                with self._step(report, "packages", "installing Debian packages"):
                    await self._install(root, directory, recipe.architecture, report)
                with self._step(report, "claude-code", text):
                    archive = await coming
                    binary = root / "usr/local/bin/claude"
                    await asyncio.to_thread(claude.unpack, archive, binary)
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

    async def _archive(self, recipe: _Recipe, directory: Path) -> Path:
        if recipe.archive is not None:
            return recipe.archive
        scratch = private_dir(directory / "npm")
        archive = await claude.fetch(
            recipe.package, cache=self._cache, scratch=scratch, environ=self._environ
        )
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        return archive

    async def _install(
        self, root: Path, directory: Path, architecture: str, report: Report
    ) -> None:
        early, over = private_dir(directory / "early"), private_dir(directory / "files")
        setup, options, mirrors = (
            directory / name for name in ("setup.sh", "apt.conf", "sources.list")
        )
        early.chmod(0o755)
        over.chmod(0o755)
        guest.lay(early, guest.EARLY_FILES)
        guest.lay(over, guest.files())
        setup.write_text(guest.SETUP, encoding="utf-8")
        options.write_text(await _apt_options(), encoding="utf-8")
        mirrors.write_text(host_mirrors(), encoding="utf-8")
        unpacking = rootfs.Unpacking()

        def hear(line: str) -> None:
            if (progress := unpacking.hear(line)) is not None:
                report(StepProgress(*progress))

        packages = guest.packages(architecture, self._packages)
        try:
            await self._namespace.stream(
                rootfs.mmdebstrap_argv(root, packages, options=options),
                env={
                    "TACHIKOMA_EARLY": str(early),
                    "TACHIKOMA_FILES": str(over),
                    "TACHIKOMA_SETUP": str(setup),
                    "TACHIKOMA_SOURCES": str(mirrors),
                },
                on_line=hear,
            )
        except CommandFailed as error:
            if unpacking.no_space:
                raise _full(self._data) from error
            raise

    async def _make_disk(self, root: Path, directory: Path) -> Path:
        """Make the files of the image out of ``root``, which is gone afterwards."""
        image, raw = private_dir(directory / "image"), directory / "disk.raw"
        shutil.copyfile(_only(root / "boot", "vmlinuz-*"), image / KERNEL)
        shutil.copyfile(_only(root / "boot", "initrd.img-*"), image / INITRD)
        await self._namespace.run(rootfs.disk_argv(root, raw))
        await self._namespace.remove(root)
        await self._namespace.run(rootfs.convert_argv(raw, image / DISK))
        raw.unlink()
        return image

    @contextlib.asynccontextmanager
    async def _locked(self, report: Report) -> AsyncIterator[None]:
        def waiting() -> None:
            report(StepProgress("waiting for another command that builds an image"))

        async with self._store.locked(deadline_s=_LOCK_S, waiting=waiting):
            yield

    async def _sweep(self) -> None:
        for leftover in self._store.leftovers():
            await self._namespace.remove(leftover)
        self._store.collect()

    def _check_space(self, archive: Path | None) -> None:
        needed = _NEEDED_MIB + (_ARCHIVE_MIB if archive is None else 0)
        free = shutil.disk_usage(self._data).free // _MIB
        if free < needed:
            raise DiskFullError(
                f"building an image takes {needed} MiB, and {self._data} has {free} MiB left",
                hint="free some space, or let XDG_DATA_HOME name a directory on a larger disk",
            )

    def _check_tools(self, archive: Path | None) -> None:
        if archive is None and process.which("npm") is None:
            raise claude.missing_npm()
        if not rootfs.KEYRING.exists():
            raise MissingToolError(
                "the keys that Debian signs its packages with are not installed",
                hint="install them: `apt-get install debian-archive-keyring`",
            )

    @contextlib.contextmanager
    def _step(self, report: Report, name: str, text: str) -> Iterator[None]:
        began = self._clock.monotonic()
        report(StepStarted(name, text))
        yield
        report(StepEnded(name, self._clock.monotonic() - began))


def host_architecture() -> str:
    """Give Debian's name for the architecture of this machine.

    Raises:
        UnsupportedError: no image can be built for it.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise UnsupportedError(
            f"images cannot be built for the processor {machine}",
            hint=f"use a machine with one of: {', '.join(_ARCHITECTURES)}",
        )
    return _ARCHITECTURES[machine]


def host_mirrors() -> str:
    """Give a sources.list with the Debian mirrors of this host; empty if it is no Debian."""
    release = sources.os_release(_text(Path("/etc/os-release")))
    if release.get("ID") != "debian":
        return ""
    parts = _APT / "sources.list.d"
    paths = [_APT / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    return sources.debian_mirrors(
        (_text(path) for path in paths),
        host_suite=release.get("VERSION_CODENAME", guest.SUITE),
        suite=guest.SUITE,
    )


def contents_of(root: Path) -> dict[str, str]:
    """Say what is inside a root file system, by name and version."""
    status = _text(root / "var/lib/dpkg/status")
    versions = dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", status, re.MULTILINE))
    return {
        "debian": _text(root / "etc/debian_version").strip(),
        "kernel": _only(root / "usr/lib/modules", "*").name,
    } | {part: versions[part] for part in _PARTS if part in versions}


async def _apt_options() -> str:
    dump = await process.run(["apt-config", "dump"], deadline_s=_QUICK_S)
    own = 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n'
    logins = _APT / "auth.conf.d"
    if logins.is_dir():
        own += f'Dir::Etc::netrcparts "{logins}/";\n'
    return own + sources.apt_options(dump.text)


def _only(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise ImageBuildFailed(
            f"the new root file system has {len(found)} files {directory.name}/{pattern}, not one",
            hint="build it again; if it stays so, report it",
        )
    return found[0]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _full(data: Path) -> HostError:
    return files.from_os_error(OSError(errno.ENOSPC, _NO_SPACE), data)


@contextlib.contextmanager
def _translated(data: Path) -> Iterator[None]:
    """Turn a failed command into a failed build, or into what a full disk is called."""
    try:
        with files.translated(data):
            yield
    except ImageError:
        raise
    except CommandFailed as error:
        if _NO_SPACE in error.stderr or shutil.disk_usage(data).free < _MIB:
            raise _full(data) from error
        raise ImageBuildFailed(
            "building the image failed",
            hint="its last words are above; `tachikoma doctor` tells what is missing",
            details=error.details,
        ) from error
