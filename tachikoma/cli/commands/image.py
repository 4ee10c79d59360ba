"""``tachikoma image build|warm|pull|push|list|delete``."""

from __future__ import annotations

import click

from tachikoma.cli import encode, words
from tachikoma.cli.door import Door
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.model.errors import (
    DiskFullError,
    HypervisorError,
    ImageNotFoundError,
    UnsupportedError,
)
from tachikoma.model.events import Notice
from tachikoma.model.names import VmName
from tachikoma.model.vm import ImageInfo

_COLUMNS = (
    Column("NAME", least=16),
    Column("SIZE", right=True),
    Column("SNAPSHOT", right=True),
    Column("BUILT"),
    Column("CONTENTS", least=20, drop=1),
)
_EXAMPLES = """\b
Examples:
  tachikoma image build
  tachikoma image list
"""
_BUILD_EXAMPLES = """\b
Examples:
  tachikoma image build
  tachikoma image build --rebuild
"""
_WARM_EXAMPLES = """\b
Examples:
  tachikoma image warm
"""
_LIST_EXAMPLES = """\b
Examples:
  tachikoma image list
"""
_PULL_EXAMPLES = """\b
Examples:
  tachikoma image pull
  tachikoma image pull ghcr.io/cirruslabs/ubuntu:24.04
"""
_PUSH_EXAMPLES = """\b
Examples:
  tachikoma image push my-base ghcr.io/acme/base:1
"""
_DELETE_EXAMPLES = """\b
Examples:
  tachikoma image delete debian --yes
"""


@click.group("image", cls=VerbGroup, no_args_is_help=False, epilog=_EXAMPLES)
def command() -> None:
    """Base images: what the VMs' disks start from. `spawn` builds or fetches the one it needs."""


@command.command("build", cls=Verb, epilog=_BUILD_EXAMPLES)
@click.argument("name", required=False)
@click.option("--rebuild", is_flag=True, help="Build it anew even if it is there.")
@click.pass_obj
def build(door: Door, *, name: str | None, rebuild: bool) -> int:
    """Build the image NAME (default: the one that `spawn` uses). All or nothing.

    Ends with the snapshot that new VMs start from, as `image warm` makes it.
    """
    info = door.run(lambda _: _build(door, name, rebuild=rebuild))
    size = words.size(info.size_bytes)
    inside = door.screen.wrapped(contents(info), indent=2)
    door.screen.give(
        encode.image(info), [f"{info.name}  {size}", *(f"  {line}" for line in inside)]
    )
    return 0


@command.command("warm", cls=Verb, epilog=_WARM_EXAMPLES)
@click.argument("name", required=False)
@click.pass_obj
def warm(door: Door, *, name: str | None) -> int:
    """Make the memory snapshot from which new VMs of the image NAME start, if there is none.

    It is of a booted machine with as many CPUs and as much memory as the settings say.
    """
    info = door.run(lambda _: _warm(door, name))
    said = words.size(info.snapshot_bytes)
    door.screen.give(encode.image(info), [f"{info.name}  snapshots of {said}"])
    return 0


@command.command("pull", cls=Verb, epilog=_PULL_EXAMPLES)
@click.argument("name", required=False)
@click.pass_obj
def pull(door: Door, *, name: str | None) -> int:
    """Fetch the image NAME (default: the one that `spawn` uses) from its registry.

    NAME is a short name (ubuntu, debian, fedora, rocky) or HOST/PATH:TAG. With Tart only: an
    engine that builds its images fetches none.
    """
    info = door.run(lambda _: _pull(door, name))
    door.screen.give(encode.image(info), [f"{info.name}  {words.size(info.size_bytes)}"])
    return 0


@command.command("push", cls=Verb, epilog=_PUSH_EXAMPLES)
@click.argument("name")
@click.argument("target", metavar="HOST/PATH:TAG")
@click.pass_obj
def push(door: Door, *, name: str, target: str) -> int:
    """Send the image NAME to a registry as HOST/PATH:TAG. With Tart only.

    The VM of a branch is no image and is never sent; `tart clone` makes an image of it.
    """
    door.run(lambda _: door.runtime.images.push(name, target, report=door.screen.report))
    door.screen.give({"name": name, "target": target}, [f"{name} is at {target}"])
    return 0


@command.command("list", cls=Verb, epilog=_LIST_EXAMPLES)
@click.pass_obj
def list_images(door: Door) -> int:
    """List the images."""
    found = door.run(lambda runtime: runtime.images.images())
    data = {"images": [encode.image(info) for info in found]}
    if not found:
        door.screen.give(data)
        pulls = door.runtime.hypervisor.features.pull_images.available
        makes = "pull` fetches" if pulls else "build` makes"
        door.screen.note(f"no images yet; `tachikoma image {makes} one, and so does `spawn`")
        return 0
    now = door.runtime.clock.now()
    rows = [
        [
            info.name,
            words.size(info.size_bytes),
            words.size(info.snapshot_bytes) if info.snapshot_bytes else "-",
            words.age(info.created, now),
            contents(info),
        ]
        for info in found
    ]
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    return 0


@command.command("delete", cls=Verb, epilog=_DELETE_EXAMPLES)
@click.argument("name")
@click.option("-y", "--yes", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(door: Door, *, name: str, yes: bool) -> int:
    """Remove the image NAME. Refused while VMs stand on it."""
    if not yes and not door.confirm(f"Delete the image {name}?"):
        door.screen.note("nothing was deleted")
        return 1
    door.run(lambda _: _delete(door, name))
    door.screen.give({"name": name}, [f"{name} deleted"])
    return 0


async def _build(door: Door, name: str | None, *, rebuild: bool) -> ImageInfo:
    runtime = door.runtime
    wanted = name or runtime.ports.image
    info = await runtime.images.build(wanted, rebuild=rebuild, report=door.screen.report)
    if not runtime.settings.instant_spawn:
        return info
    try:
        return await _warm(door, wanted)
    except (HypervisorError, DiskFullError) as error:
        door.screen.report(Notice(f"new VMs start by booting: {error.message}"))
        return info


async def _warm(door: Door, name: str | None) -> ImageInfo:
    runtime, settings = door.runtime, door.runtime.settings
    wanted = name or runtime.ports.image
    can = runtime.hypervisor.features.instant_spawn
    if not can.available:
        raise UnsupportedError("this engine has no snapshots to start VMs from", hint=can.why)
    await runtime.hypervisor.warm(
        wanted,
        cpus=settings.vm_cpus,
        memory_mib=settings.vm_memory,
        report=door.screen.report,
    )
    return next(info for info in await runtime.images.images() if info.name == wanted)


async def _pull(door: Door, name: str | None) -> ImageInfo:
    runtime = door.runtime
    return await runtime.images.pull(name or runtime.ports.image, report=door.screen.report)


async def _delete(door: Door, name: str) -> None:
    images = await door.runtime.images.images()
    if name not in {info.name for info in images}:
        raise ImageNotFoundError(
            f"there is no image {name}", hint="`tachikoma image list` shows what there is"
        )
    ledger = door.runtime.store.read()
    used_by: list[VmName] = [record.name for record in ledger.vms.values() if record.image == name]
    await door.runtime.images.delete_image(name, used_by=used_by)


def contents(info: ImageInfo) -> str:
    """Say what is inside."""
    return ", ".join(f"{name} {version}" for name, version in info.contents.items())
