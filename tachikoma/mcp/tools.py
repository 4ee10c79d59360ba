"""The tools: each a typed function over the orchestrator. Its signature is its schema, and its
docstring is what a model reads about it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field

from tachikoma.git.remotes import shown
from tachikoma.mcp import guest_files
from tachikoma.mcp.call import Call
from tachikoma.mcp.command import argv_of, run, within
from tachikoma.mcp.logs import SourceName, last_lines, sources
from tachikoma.mcp.shapes import (
    Checkpoints,
    Destroyed,
    FileRead,
    FileWritten,
    Halted,
    Log,
    Logs,
    Looked,
    Proposed,
    Ran,
    Saved,
    Spawned,
    Usage,
    Vm,
    Vms,
)
from tachikoma.model.errors import BadArgumentError, GuestFileError
from tachikoma.model.events import Notice
from tachikoma.runtime import Runtime
from tachikoma.vm.proposing import ProposeRequest
from tachikoma.vm.requests import (
    CheckpointRequest,
    CheckpointsRequest,
    DestroyRequest,
    HaltRequest,
    ReachOutcome,
    ReachRequest,
    SpawnRequest,
    StatusRequest,
    SurveyRequest,
    Target,
)

_FILE_DEADLINE_S = 120.0
_LONGEST_DEADLINE_S = 24 * 3600.0

Name = Annotated[str, Field(description="A VM's name, or a branch of the repository at cwd")]
Cwd = Annotated[
    str | None,
    Field(
        description="A directory of the repository that a branch belongs to (absolute; default: "
        "where this server was started)"
    ),
]
GuestPath = Annotated[
    str, Field(description="A path in the VM; a relative one starts at the worktree")
]


async def spawn(
    call: Call,
    *,
    cwd: Annotated[str, Field(description="A directory of the repository (absolute)")],
    branch: Annotated[
        str | None,
        Field(description="The branch, made if it does not exist (default: the one at cwd)"),
    ] = None,
) -> Spawned:
    """Give a branch its VM, made or started if need be, and wait until it is ready.

    The branch's worktree is in the VM at the same path. Safe to repeat: a VM that is ready is
    given back at once. The first VM on a machine takes minutes, for its image is built then.
    """
    runtime = await call.desk.runtime(cwd)
    for warning in runtime.warnings:
        call.report(Notice(warning))
    request = SpawnRequest(cwd=runtime.cwd, branch=branch)
    outcome = await runtime.orchestrator.spawn(request, call.report)
    ssh = runtime.shell.attach_argv(outcome.login, directory=str(outcome.worktree))
    return Spawned.of(outcome, ssh=ssh, notices=call.voice.notices)


async def run_command(  # noqa: PLR0913 - they are the arguments of the tool
    call: Call,
    *,
    vm_name: Name,
    command: Annotated[
        str | list[str],
        Field(description="A line for bash, or a program with its arguments exactly as given"),
    ],
    cwd: Cwd = None,
    workdir: Annotated[
        str | None,
        Field(description="The working directory in the VM (default: the worktree)"),
    ] = None,
    env: Annotated[
        dict[str, str] | None, Field(description="Variables added to the environment")
    ] = None,
    deadline_s: Annotated[
        float,
        Field(gt=0, le=_LONGEST_DEADLINE_S, description="Seconds after which it is ended"),
    ] = 600,
) -> Ran:
    """Run a command in a running VM and give its exit status and both outputs.

    A status other than 0 is no error of this tool. Standard input is empty. A long output is
    shown shortened, with its length, and is whole in a resource. At its deadline, or when the
    call is cancelled, the command is ended with all that it started.
    """
    argv = argv_of(command, env or {})
    runtime, vm = await _reach(call, vm_name, cwd)
    return await run(call, runtime, vm, argv, workdir=workdir, deadline_s=deadline_s)


async def list_vms(
    call: Call,
    *,
    cwd: Annotated[
        str | None,
        Field(description="Only the VMs of the repository in this directory (default: all)"),
    ] = None,
) -> Vms:
    """List the VMs with their branches, states and what they take up."""
    runtime = await call.desk.runtime(cwd)
    at = runtime.cwd if cwd is not None or call.desk.confined else None
    outcome = await runtime.orchestrator.survey(SurveyRequest(repository_at=at), call.report)
    return Vms(vms=[Vm.of(one) for one in outcome.vms])


async def status(call: Call, *, vm_name: Name, cwd: Cwd = None) -> Looked:
    """Look closely at one VM: its phase, its address, its mounts, where its log is."""
    runtime, target = await call.desk.vm(vm_name, cwd)
    return Looked.seen(await runtime.orchestrator.status(StatusRequest(target), call.report))


async def halt(
    call: Call,
    *,
    vm_name: Name,
    cwd: Cwd = None,
    force: Annotated[
        bool, Field(description="Switch it off without waiting for the guest to end")
    ] = False,
) -> Halted:
    """Stop a VM and keep its disk. spawn starts it again. Safe to repeat."""
    runtime, target = await call.desk.vm(vm_name, cwd)
    request = HaltRequest(target, force=force)
    return Halted.of(await runtime.orchestrator.halt(request, call.report))


async def destroy(
    call: Call,
    *,
    vm_name: Name,
    cwd: Cwd = None,
    force: Annotated[
        bool,
        Field(
            description="Do not ask the user, who wants it so, and do not wait for the guest to end"
        ),
    ] = False,
) -> Destroyed:
    """Remove a VM with its disk. Its branch, worktree and every commit made in it stay.

    The user is asked first; where the client cannot ask, force is needed.
    """
    runtime, target = await call.desk.vm(vm_name, cwd)
    if not force:
        found = await runtime.orchestrator.status(StatusRequest(target), call.report)
        branch = f" (branch {found.vm.branch})" if found.vm.branch else ""
        await call.confirm(
            f"Destroy the VM {found.vm.name}{branch} with its disk?",
            otherwise="where nobody can be asked and the user wants it gone: force: true",
        )
    request = DestroyRequest(target, force=force)
    return Destroyed.of(await runtime.orchestrator.destroy(request, call.report))


async def checkpoint(
    call: Call,
    *,
    vm_name: Name,
    action: Literal["save", "list", "restore", "delete"],
    label: Annotated[str, Field(description="Its name; list needs none")] = "",
    cwd: Cwd = None,
    force: Annotated[bool, Field(description="Restore without asking the user")] = False,
) -> Checkpoints:
    """Save the disk of a VM as it is now, go back to such a state, or list and delete them.

    A restore gives up what was written to the disk since and stops a VM that runs; spawn starts it
    again. The user is asked first; where the client cannot ask, force is needed. The worktree is
    on the host and is no part of it.
    """
    runtime, target = await call.desk.vm(vm_name, cwd)
    keeping, request = runtime.keeping, CheckpointRequest(target, label)
    halted = False
    match action:
        case "save":
            await keeping.save(request, call.report)
        case "delete":
            await keeping.delete(request, call.report)
        case "restore":
            if not force:
                await call.confirm(
                    f"Give up what was written to the disk of {vm_name} since {label}?",
                    otherwise="where nobody can be asked and the user wants it so: force: true",
                )
            halted = (await keeping.restore(request, call.report)).halted
        case "list":
            pass
    found = await keeping.all(CheckpointsRequest(target), call.report)
    return Checkpoints(
        name=found.name,
        branch=found.branch,
        halted=halted,
        checkpoints=[Saved(label=each.label, created=each.created) for each in found.checkpoints],
    )


async def pr(
    call: Call,
    *,
    cwd: Annotated[str, Field(description="A directory of the repository (absolute)")],
    vm_name: Annotated[
        str | None, Field(description="A branch or a VM (default: the branch at cwd)")
    ] = None,
    title: Annotated[
        str, Field(description="Title of the pull request (default: as the newest commit)")
    ] = "",
) -> Proposed:
    """Commit what is uncommitted, push the branch from the host, and open a pull request.

    It goes to the repository's remote. Where that was not known before a VM could change it, the
    user is asked first. Safe to repeat: an open pull request gets the new commits.
    """
    if vm_name is not None and call.desk.confined:
        runtime, target = await call.desk.vm(vm_name, cwd)
    else:
        runtime = await call.desk.runtime(cwd)
        target = Target(runtime.cwd, vm_name)
    request = ProposeRequest(target=target, title=title)
    destination = await runtime.proposer.destination(request)
    if not destination.vouched:
        await call.confirm(
            f"Push to {shown(destination.remote.url)}?",
            otherwise="the user can do it: `tachikoma pr`",
        )
    return Proposed.of(await runtime.proposer.propose(request, call.report))


async def logs(
    call: Call,
    *,
    vm_name: Name,
    cwd: Cwd = None,
    source: Annotated[
        SourceName | None,
        Field(
            description="setup: its making; console: its kernel and services; proxy: its requests "
            "to the credential proxy (default: all)"
        ),
    ] = None,
    lines: Annotated[int, Field(ge=1, le=1000, description="Of each log, the last ones")] = 50,
) -> Logs:
    """Show what was said about a VM: while it was set up, on its console, by the proxy."""
    runtime, target = await call.desk.vm(vm_name, cwd)
    found = await runtime.orchestrator.status(StatusRequest(target), call.report)
    vm = found.vm.name
    return Logs(
        name=vm,
        logs=[
            Log(source=each.name, path=str(each.path), lines=last_lines(each, lines))
            for each in sources(runtime, vm, found.log)
            if source in (None, each.name)
        ],
    )


async def usage(call: Call, *, vm_name: Name, cwd: Cwd = None) -> Usage:
    """Show what the model calls of a VM took since it was made: tokens, and their cost by the
    user's price table.
    """
    from tachikoma.proxy.prices import parse_prices  # the server does not wait for them to load
    from tachikoma.proxy.usage import totals

    runtime, target = await call.desk.vm(vm_name, cwd)
    vm = (await runtime.orchestrator.status(StatusRequest(target), call.report)).vm
    sums = await asyncio.to_thread(runtime.usage_book.of_vm, vm.name, since=vm.created or 0.0)
    found = totals(sums, parse_prices(runtime.settings.prices))
    return Usage.of(vm.name, found[0] if found else None)


async def read_file(
    call: Call,
    *,
    vm_name: Name,
    path: GuestPath,
    cwd: Cwd = None,
    offset: Annotated[int, Field(ge=0, description="The first byte to read")] = 0,
    length: Annotated[
        int, Field(ge=1, le=guest_files.LONGEST_PART, description="How many bytes at most")
    ] = 32_768,
) -> FileRead:
    """Read a file in a running VM, or a part of it; next_offset says where to go on.

    Text comes as it is, anything else as base64.
    """
    _check_path(path)
    runtime, vm = await _reach(call, vm_name, cwd)
    async with within(_FILE_DEADLINE_S, GuestFileError, f"{path} in {vm.name} cannot be read"):
        return await guest_files.read(runtime.shell, vm, path, offset=offset, length=length)


async def write_file(
    call: Call,
    *,
    vm_name: Name,
    path: GuestPath,
    content: str,
    cwd: Cwd = None,
    encoding: Annotated[
        Literal["utf-8", "base64"], Field(description="base64: content holds bytes that way")
    ] = "utf-8",
) -> FileWritten:
    """Write a file in a running VM, whole or not at all; directories are made as needed.

    What is in the worktree can as well be written on the host: it is the same directory.
    """
    _check_path(path)
    data = _bytes(content, encoding)
    runtime, vm = await _reach(call, vm_name, cwd)
    async with within(_FILE_DEADLINE_S, GuestFileError, f"{path} in {vm.name} cannot be written"):
        await guest_files.write(runtime.shell, vm, path, data)
    return FileWritten(vm_name=vm.name, path=path, size=len(data))


async def _reach(call: Call, vm_name: str, cwd: str | None) -> tuple[Runtime, ReachOutcome]:
    runtime, target = await call.desk.vm(vm_name, cwd)
    return runtime, await runtime.orchestrator.reach(ReachRequest(target), call.report)


def _check_path(path: str) -> None:
    if not path or "\0" in path:
        raise BadArgumentError("path is empty or holds a NUL character", hint="name a file")


def _bytes(content: str, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            return base64.b64decode(content, validate=True)
        return content.encode("utf-8")
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BadArgumentError(
            f"content is not {encoding}: {error}", hint='bytes need encoding: "base64"'
        ) from error
