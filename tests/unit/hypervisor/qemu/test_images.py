"""Whole builds; the programs that they take are stand-ins, found first on PATH."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.qemu import images_root
from tachikoma.hypervisor.qemu.images import DebianImages, contents_of
from tachikoma.hypervisor.qemu.images_claude import Package
from tachikoma.model.errors import (
    DiskFullError,
    ImageBuildFailed,
    ImageInUseError,
    ImageNotFoundError,
    MissingToolError,
    UnsupportedError,
)
from tachikoma.model.events import Event, StepEnded, StepProgress, StepStarted, silent
from tachikoma.model.names import VmName

VM = VmName("tachikoma-app-main")
STATUS = "Package: git\nStatus: ok\nVersion: 1:2.39\n\nPackage: nano\nVersion: 7\n"
# Sets up a root file system at its last argument; "runs" counts how often.
MMDEBSTRAP = f"""\
for root; do :; done
echo run >> "$OUT/runs"
mkdir -p "$root/boot" "$root/etc" "$root/usr/lib/modules/6.1" "$root/usr/local/bin"
mkdir -p "$root/var/lib/dpkg"
echo 12.9 > "$root/etc/debian_version"
printf '%s' '{STATUS}' > "$root/var/lib/dpkg/status"
date +%N > "$root/boot/vmlinuz-6.1"
echo initrd > "$root/boot/initrd.img-6.1"
echo "Setting up git (2.39) ..."
cp "$TACHIKOMA_SETUP" "$OUT/setup"
cp -R "$TACHIKOMA_FILES/." "$root/"
"""
PROGRAMS = {
    "mmdebstrap": MMDEBSTRAP,
    "npm": 'while [ "$1" != --pack-destination ]; do shift; done; cp "$OUT/archive" "$2/a.tgz"',
    "mke2fs": 'cat "$5/usr/local/bin/claude" "$5/etc/hostname" > "${12}"',
    "qemu-img": 'cp "${10}" "${11}"',
    "apt-config": "echo 'Acquire::http::Proxy \"http://proxy.example\";'",
    "newuidmap": "exit 1",
}


class Host:
    """A host with scripted programs, and the images on it."""

    def __init__(self, base: Path, home: Path) -> None:
        self.base = base
        self.bin = base / "bin"
        self.data = home / 'a "data" dir'
        self.bin.mkdir()
        self.data.mkdir()
        for name, script in PROGRAMS.items():
            self.program(name, script)
        package = self._archive(b"the binary")
        self.images = DebianImages(
            data=self.data,
            cache=base / "cache",
            clock=SystemClock(),
            environ={"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(home)},
            claude_code=package,
        )

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        text = script.replace("$OUT", str(self.base))
        path.write_text(f"#!/bin/sh\nset -e\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def runs(self) -> int:
        path = self.base / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.data / "images").iterdir())

    def _archive(self, binary: bytes) -> Package:
        with tarfile.open(self.base / "archive", "w:gz") as tar:
            info = tarfile.TarInfo("package/claude")
            info.size = len(binary)
            tar.addfile(info, io.BytesIO(binary))
        digest = hashlib.sha512((self.base / "archive").read_bytes()).digest()
        return Package("@scope/claude", "9.9.9", f"sha512-{base64.b64encode(digest).decode()}")


@pytest.fixture
def host(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Host(tmp_path, own_home)


def _why_no_builds() -> str:
    if not images_root.KEYRING.exists():
        return f"{images_root.KEYRING} is not there"
    return "" if os.geteuid() == 0 else "only root needs no newuidmap, which is a stand-in here"


builds = [
    pytest.mark.live,
    pytest.mark.skipif(bool(_why_no_builds()), reason=_why_no_builds() or "-"),
]


def marked(test: Callable[..., object]) -> Callable[..., object]:
    for mark in builds:
        test = mark(test)
    return test


@marked
async def test_a_build_makes_an_image_and_tells_how_far_it_is(host: Host) -> None:
    said: list[Event] = []
    info = await host.images.build("debian", rebuild=False, report=said.append)
    assert info.contents == {
        "debian": "12.9",
        "kernel": "6.1",
        "git": "1:2.39",
        "claude-code": "9.9.9",
    }
    assert await host.images.images() == [info]
    names = [(type(event), getattr(event, "name", "")) for event in said]
    assert [pair for pair in names if pair[0] is not StepProgress] == [
        (kind, name)
        for name in ("packages", "claude-code", "disk")
        for kind in (StepStarted, StepEnded)
    ]
    assert StepProgress("setting up git", 1 / 400) in said
    base = host.data / "images" / "debian"
    assert (base / "disk.qcow2").read_bytes() == b"the binarytachikoma\n"
    assert (base / "initrd.img").read_bytes() == b"initrd\n"
    about = json.loads((base / "image.json").read_text())
    assert about["kernel_cmdline"].startswith("root=/dev/vda rw ")
    assert host.left() == [".lock", ".store", "debian"]


@marked
async def test_an_image_that_is_there_is_not_built_again(host: Host) -> None:
    first = await host.images.build("debian", rebuild=False, report=silent)
    assert await host.images.build("debian", rebuild=False, report=silent) == first
    assert host.runs() == 1


@marked
async def test_a_rebuild_leaves_the_old_one_to_its_vms(host: Host) -> None:
    first = await host.images.build("debian", rebuild=False, report=silent)
    old = (host.data / "images" / "debian").resolve()
    (host.data / "vms" / VM).mkdir(parents=True)
    (host.data / "vms" / VM / "machine.json").write_text(json.dumps({"base": str(old)}))
    second = await host.images.build("debian", rebuild=True, report=silent)
    assert second.digest != first.digest
    assert (old / "disk.qcow2").exists()
    assert (host.data / "images" / "debian").resolve() != old


@marked
async def test_two_builds_at_once_make_one_image(host: Host) -> None:
    infos = await asyncio.gather(
        *(host.images.build("debian", rebuild=rebuild, report=silent) for rebuild in (True, False))
    )
    assert infos[0] == infos[1]
    assert host.runs() == 1


@marked
async def test_a_failed_build_keeps_its_last_words_and_leaves_nothing(host: Host) -> None:
    host.program("mmdebstrap", 'for root; do :; done; mkdir "$root"; echo "E: no mirror"; exit 25')
    with pytest.raises(ImageBuildFailed) as raised:
        await host.images.build("debian", rebuild=False, report=silent)
    assert "E: no mirror" in raised.value.details
    assert host.left() == [".lock", ".store"]
    assert await host.images.images() == []


@marked
async def test_a_failed_rebuild_keeps_the_image(host: Host) -> None:
    info = await host.images.build("debian", rebuild=False, report=silent)
    host.program("qemu-img", "exit 1")
    with pytest.raises(ImageBuildFailed):
        await host.images.build("debian", rebuild=True, report=silent)
    assert await host.images.images() == [info]


@marked
@pytest.mark.parametrize("program", ["mmdebstrap", "mke2fs", "qemu-img"])
async def test_a_disk_that_fills_up_is_called_so_and_nothing_is_left(
    host: Host, program: str
) -> None:
    host.program(program, f"echo '{program}: write: No space left on device' >&2; exit 1")
    with pytest.raises(DiskFullError):
        await host.images.build("debian", rebuild=False, report=silent)
    assert host.left() == [".lock", ".store"]


@marked
async def test_what_a_killed_build_left_is_removed_by_the_next(host: Host) -> None:
    left = host.data / "images" / ".build-0123"
    (left / "root" / "etc").mkdir(parents=True)
    unfinished = host.data / "images" / ".store" / "0123"
    unfinished.mkdir(parents=True)
    await host.images.build("debian", rebuild=False, report=silent)
    assert not left.exists()
    assert not unfinished.exists()


@marked
async def test_a_cancelled_build_ends_its_programs_and_leaves_nothing(host: Host) -> None:
    host.program(
        "mmdebstrap",
        'for root; do :; done; mkdir "$root"; echo "Setting up git (1) ..."; exec sleep 600',
    )
    moving = asyncio.Event()

    def report(event: Event) -> None:
        if isinstance(event, StepProgress):
            moving.set()

    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        build = tasks.create_task(host.images.build("debian", rebuild=False, report=report))
        await moving.wait()
        build.cancel()
    assert host.left() == [".lock", ".store"]


@marked
async def test_without_npm_nothing_is_begun(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.bin / "npm").unlink()
    (tmp_path / "few").mkdir()
    for name in ("unshare", "setpriv", "apt-get", "true", "sh", "rm"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "few" / name).symlink_to(found)
    monkeypatch.setenv("PATH", f"{host.bin}:{tmp_path / 'few'}")
    with pytest.raises(MissingToolError, match="npm"):
        await host.images.build("debian", rebuild=False, report=silent)
    assert host.runs() == 0


@marked
async def test_an_image_is_deleted_unless_vms_stand_on_it(host: Host) -> None:
    await host.images.build("debian", rebuild=False, report=silent)
    (host.data / "vms" / VM).mkdir(parents=True)
    machine = host.data / "vms" / VM / "machine.json"
    machine.write_text(json.dumps({"base": str((host.data / "images" / "debian").resolve())}))
    with pytest.raises(ImageInUseError, match=f"image debian: other, {VM}"):
        await host.images.delete_image("debian", used_by=[VmName("other")])
    machine.unlink()
    await host.images.delete_image("debian", used_by=[])
    assert await host.images.images() == []
    assert list((host.data / "images" / ".store").iterdir()) == []


async def test_deleting_what_is_not_there_is_an_error(host: Host) -> None:
    with pytest.raises(ImageNotFoundError):
        await host.images.delete_image("debian", used_by=[])


async def test_images_are_neither_fetched_nor_sent_and_it_is_said_what_makes_one(
    host: Host,
) -> None:
    with pytest.raises(UnsupportedError) as refused:
        await host.images.pull("debian", report=silent)
    assert "image build" in refused.value.hint
    with pytest.raises(UnsupportedError, match="cannot be sent to ghcr"):
        await host.images.push("debian", "ghcr.io/me/debian", report=silent)


def test_contents_are_read_from_the_root_file_system(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/modules/6.1").mkdir(parents=True)
    with pytest.raises(ImageBuildFailed, match="0 files modules/"):
        contents_of(tmp_path / "nothing")
    assert contents_of(tmp_path) == {"debian": "", "kernel": "6.1"}
