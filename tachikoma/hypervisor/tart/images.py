"""The base images of Tart: local VMs that are none of ours, and what came from registries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tachikoma.host.clock import Clock
from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.catalogue import CHECKPOINT, called, reference, source_of
from tachikoma.hypervisor.tart.output import Entry, decode_list, decode_percent
from tachikoma.hypervisor.tart.program import Program
from tachikoma.model.errors import (
    ImageInUseError,
    ImageNotFoundError,
    TachikomaError,
    UnsupportedError,
)
from tachikoma.model.events import Report, StepEnded, StepProgress, StepStarted
from tachikoma.model.names import PREFIX, VmName
from tachikoma.model.vm import ImageInfo

_TRANSFER_S = 4 * 3600.0
"""An image has gigabytes, and some lines are slow."""


class TartImages:
    """See ``Images`` for what its methods promise."""

    def __init__(self, *, program: Program, clock: Clock) -> None:
        self._program = program
        self._clock = clock

    async def images(self) -> list[ImageInfo]:
        """List what VMs can be made from."""
        entries = await self._entries()
        shown = [each for each in entries if not each.by_digest]
        found = await asyncio.gather(*(self._info(each, entries) for each in shown))
        return sorted(found, key=lambda info: info.name)

    async def build(self, name: str, *, rebuild: bool, report: Report) -> ImageInfo:
        """Refuse: Tart's images come ready from registries."""
        del rebuild, report
        raise UnsupportedError(
            f"the image {name} cannot be built here: Tart's images come ready from registries",
            hint=f"`tachikoma image pull {name}` fetches it",
        )

    async def pull(self, name: str, *, report: Report) -> ImageInfo:
        """Fetch an image, or what is new of it, from its registry."""
        full = reference(name)
        await self._program.prove()
        await self._transfer("pull", f"Fetching {full}", argv.pull_argv(full), report)
        entries = await self._entries()
        for each in entries:
            if each.remote and each.name == full:
                return await self._info(each, entries)
        raise ImageNotFoundError(
            f"Tart pulled {full} and does not list it", hint="see `tart list --source oci`"
        )

    async def push(self, name: str, target: str, *, report: Report) -> None:
        """Send an image that is here to a registry."""
        full = reference(target)
        await self._program.prove()
        source = source_of(name, await self._entries())
        if source is None:
            raise _no_image(name)
        await self._transfer(
            "push", f"Sending {name} to {full}", argv.push_argv(source, full), report
        )

    async def delete_image(self, name: str, *, used_by: Sequence[VmName]) -> None:
        """Remove an image that came from a registry. A local VM is its maker's to remove."""
        entries = await self._entries()
        source = source_of(name, entries)
        if source is None:
            raise _no_image(name)
        if used_by:
            raise ImageInUseError(
                f"VMs were made from the image {name}: {', '.join(used_by)}",
                hint="destroy them first: `tachikoma destroy BRANCH`",
            )
        if any(not each.remote and each.name == source for each in entries):
            raise UnsupportedError(
                f"{name} is a VM of Tart's own, which tachikoma has not made",
                hint=f"`tart delete {name}` removes it, with all that is in it",
            )
        await self._program.text(argv.delete_argv(source))

    async def _transfer(self, step: str, text: str, line: list[str], report: Report) -> None:
        def hear(said: str) -> None:
            fraction = decode_percent(said)
            if fraction is not None:
                report(StepProgress(text, fraction))
            elif said.strip():
                report(StepProgress(said.strip()))

        begun = self._clock.monotonic()
        report(StepStarted(step, text))
        await self._program.follow(line, hear, deadline_s=_TRANSFER_S)
        report(StepEnded(step, self._clock.monotonic() - begun))

    async def _entries(self) -> list[Entry]:
        entries = decode_list(await self._program.text(argv.list_argv()))
        return [
            each
            for each in entries
            if each.remote or not each.name.startswith((PREFIX, CHECKPOINT))
        ]

    async def _info(self, entry: Entry, entries: Sequence[Entry]) -> ImageInfo:
        digest = ""
        if entry.remote:
            digest = (await self._digest(entry.name)).partition("@")[2]
        name = called(entry, entries)
        return ImageInfo(
            name=name,
            size_bytes=entry.size_bytes,
            created=_since(self._place(entry), entry.accessed),
            digest=digest,
            contents=_contents(entry, name),
        )

    async def _digest(self, name: str) -> str:
        try:
            return await self._program.text(argv.fqn_argv(name))
        except TachikomaError:
            return ""  # it went meanwhile

    def _place(self, entry: Entry) -> Path:
        """Say where Tart keeps an image: its directory, or the link that a tag is."""
        if not entry.remote:
            return self._program.home / "vms" / entry.name
        path, _, tag = entry.name.rpartition(":")
        host, _, rest = path.partition("/")
        return self._program.home / "cache" / "OCIs" / host.replace(":", "%3A") / rest / tag


def _contents(entry: Entry, name: str) -> dict[str, str]:
    """Say what an image is: nobody tells what is inside."""
    if not entry.remote:
        return {"local": "VM of Tart"}
    return {"image": entry.name if name != entry.name else "from a registry"}


def _since(place: Path, otherwise: float) -> float:
    """Tell since when an image is here."""
    try:
        return place.lstat().st_mtime
    except OSError:
        return otherwise


def _no_image(name: str) -> ImageNotFoundError:
    return ImageNotFoundError(
        f"there is no image {name}", hint="`tachikoma image list` shows what there is"
    )
