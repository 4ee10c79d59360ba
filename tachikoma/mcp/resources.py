"""What clients can read: the list of VMs, the console log of each, and long outputs.

Log files and outputs come from guests: they are data, sent as they are and never interpreted.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import mcp_types as types

from tachikoma.host import files
from tachikoma.mcp.desk import Desk
from tachikoma.mcp.outputs import SCHEME as OUTPUTS
from tachikoma.mcp.shapes import Vm, Vms
from tachikoma.model.errors import VmNotFoundError
from tachikoma.model.events import silent
from tachikoma.vm.requests import StatusRequest, SurveyRequest

VMS = "tachikoma://vms"
LONGEST_LOG = 1 << 20
"""Bytes of a log that are given: its end, which is what one looks for."""
_LOG = re.compile(r"tachikoma://vms/([a-z0-9][a-z0-9-]{0,62})/log")

TEMPLATES = (
    types.ResourceTemplate(
        name="log",
        title="The log of a VM",
        uri_template=f"{VMS}/{{vm_name}}/log",
        description="What was done to the VM, and its console; the last MiB",
        mime_type="text/plain",
    ),
)


class Library:
    """Lists and reads the resources of one server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def listed(self) -> list[types.Resource]:
        """Give all that can be read now."""
        vms = await self._vms()
        outputs = self._desk.outputs.all()
        return [
            types.Resource(
                name="vms", title="The VMs", uri=VMS, mime_type="application/json"
            ),
            *(
                types.Resource(
                    name=f"log of {vm.name}",
                    title=f"The log of {vm.name}",
                    uri=log_uri(vm.name),
                    mime_type="text/plain",
                )
                for vm in vms
            ),
            *(
                types.Resource(name=kept.uri.removeprefix("tachikoma://"), title=kept.title,
                               uri=kept.uri, size=kept.size)
                for kept in outputs
            ),
        ]  # fmt: skip

    async def read(self, uri: str) -> types.TextResourceContents | types.BlobResourceContents:
        """Give the contents of one resource.

        Raises:
            VmNotFoundError: there is no such resource, or not for this server.
        """
        if uri == VMS:
            text = Vms(vms=await self._vms()).model_dump_json()
            return types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
        if found := _LOG.fullmatch(uri):
            ends = [_end_of(log) for log in await self._logs(found[1])]
            return _contents(uri, b"".join(ends)[-LONGEST_LOG:], "text/plain")
        if uri.startswith(OUTPUTS) and (data := self._desk.outputs.read(uri)) is not None:
            return _contents(uri, data, None)
        raise VmNotFoundError(
            f"there is no resource {uri[:200]}", hint="resources/list shows what there is"
        )

    async def mark(self, uri: str) -> str:
        """Give a text that changes whenever the resource does; "" while it is not there."""
        if uri == VMS:
            text = Vms(vms=await self._vms()).model_dump_json()
            return hashlib.sha256(text.encode()).hexdigest()
        if found := _LOG.fullmatch(uri):
            try:
                return " ".join(map(_looks, await self._logs(found[1])))
            except VmNotFoundError:
                return ""
        return ""

    async def names(self) -> Sequence[str]:
        """Give the names of the VMs, whose logs are resources."""
        return [vm.name for vm in await self._vms()]

    async def _vms(self) -> list[Vm]:
        runtime = await self._desk.runtime(None)
        at = runtime.cwd if self._desk.confined else None
        outcome = await runtime.orchestrator.survey(SurveyRequest(repository_at=at), silent)
        return [Vm.of(one) for one in outcome.vms]

    async def _logs(self, vm_name: str) -> list[Path]:
        """Give the journal of what was done to a VM, and what its console said."""
        runtime, target = await self._desk.vm(vm_name, None)
        outcome = await runtime.orchestrator.status(StatusRequest(target), silent)
        return [runtime.journal.path(outcome.vm.name), Path(outcome.log)]


def log_uri(vm_name: str) -> str:
    """Give the address of a VM's log."""
    return f"{VMS}/{vm_name}/log"


def _looks(log: Path) -> str:
    try:
        seen = log.stat()
    except OSError:
        return "-"
    return f"{seen.st_ino} {seen.st_size} {seen.st_mtime_ns}"


def _end_of(log: Path) -> bytes:
    if not log.exists():
        return b""  # a VM that has never been started
    with files.translated(log), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LONGEST_LOG))
        return file.read(LONGEST_LOG)


def _contents(
    uri: str, data: bytes, mime_type: str | None
) -> types.TextResourceContents | types.BlobResourceContents:
    """Give text as text; a log is text whatever it holds, other things are not bent."""
    if mime_type is not None:
        text = data.decode("utf-8", "replace")
        return types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        blob = base64.b64encode(data).decode("ascii")
        return types.BlobResourceContents(uri=uri, mime_type="application/octet-stream", blob=blob)
    return types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)
