"""What the tools give back: each class is a tool's output schema.

Field names are those of the JSON envelope of the command line. Paths and names are text, times
seconds since the epoch, sizes bytes, memory MiB.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tachikoma.git.remotes import shown
from tachikoma.model.vm import Endpoint
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.usage import Total
from tachikoma.vm.proposing import ProposeOutcome
from tachikoma.vm.requests import (
    DestroyOutcome,
    HaltOutcome,
    SpawnOutcome,
    StatusOutcome,
    VmReport,
)


class Shape(BaseModel):
    """A value that is made once and sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Address(Shape):
    """A TCP endpoint on the host."""

    host: str
    port: int


class StepTaken(Shape):
    """A step of a spawn and how long it took."""

    name: str
    seconds: float


class Secret(Shape):
    """Something of the user's own in the VM that may be a secret: its name, not its value."""

    name: str
    setting: str
    origin: str


class Spawned(Shape):
    """A VM that is ready to work in."""

    name: Annotated[str, Field(description="The VM's name, for the other tools")]
    branch: str
    repository: Annotated[str, Field(description="The git directory on the host")]
    worktree: Annotated[str, Field(description="The same path on the host and in the VM")]
    how: Literal["created", "started", "provisioned", "reconnected"]
    address: Address
    user: str
    ssh: Annotated[list[str], Field(description="The command that takes a person into the VM")]
    steps: list[StepTaken]
    carried: list[Secret]
    notices: Annotated[list[str], Field(description="What the user should know")]

    @classmethod
    def of(cls, outcome: SpawnOutcome, *, ssh: list[str], notices: list[str]) -> Spawned:
        """Give the outcome of a spawn."""
        return cls(
            name=outcome.name,
            branch=outcome.branch,
            repository=str(outcome.repository),
            worktree=str(outcome.worktree),
            how=outcome.how.value,
            address=_address(outcome.login.endpoint),
            user=outcome.login.user,
            ssh=ssh,
            steps=[StepTaken(name=name, seconds=round(s, 3)) for name, s in outcome.steps],
            carried=[
                Secret(name=each.name, setting=each.setting, origin=each.origin)
                for each in outcome.carried
            ],
            notices=notices,
        )


class Ran(Shape):
    """A command that ran in a VM. An output that was cut, or is no text, is whole in a resource."""

    vm_name: str
    status: Annotated[
        int | None,
        Field(description="The exit status, 128+N for signal N; null when the deadline passed"),
    ]
    timed_out: Annotated[bool, Field(description="The deadline passed and the command was ended")]
    seconds: float
    stdout: str
    stderr: str
    stdout_bytes: Annotated[int, Field(description="The length of the whole output")]
    stderr_bytes: int
    stdout_cut: Annotated[bool, Field(description="The middle of the output is not shown here")]
    stderr_cut: bool
    stdout_resource: Annotated[
        str | None, Field(description="The resource with the whole output, where it is not here")
    ]
    stderr_resource: str | None


class Vm(Shape):
    """One VM as recorded and as observed now."""

    name: str
    branch: str
    repository: str | None
    repository_name: str
    worktree: str | None
    engine: str
    image: str
    state: Annotated[
        Literal["running", "stopped", "suspended", "unknown"] | None,
        Field(description="null: there is a record, and no such VM any more"),
    ]
    cpus: int
    memory_mib: int
    disk_bytes: int
    created: float | None
    last_used: float | None
    orphan: Annotated[bool, Field(description="The engine or the record does not know it")]

    @classmethod
    def of(cls, report: VmReport) -> Vm:
        """Give one VM."""
        return cls.model_validate(_vm(report))


class Vms(Shape):
    """The VMs, by name."""

    vms: list[Vm]


class Mounted(Shape):
    """A directory of the host that the VM sees at the same path."""

    tag: str
    path: str


class Looked(Vm):
    """One VM seen closely."""

    phase: Annotated[str, Field(description="READY is ready to work in")]
    address: Address | None
    mounts: list[Mounted]
    log: Annotated[str, Field(description="The file on the host with the VM's console")]

    @classmethod
    def seen(cls, outcome: StatusOutcome) -> Looked:
        """Give one VM seen closely."""
        return cls.model_validate(
            {
                **_vm(outcome.vm),
                "phase": outcome.phase,
                "address": None if outcome.address is None else _address(outcome.address),
                "mounts": [Mounted(tag=tag, path=str(path)) for tag, path in outcome.mounts],
                "log": outcome.log,
            }
        )


class Halted(Shape):
    """A VM that is stopped."""

    name: str
    branch: str
    was_running: bool

    @classmethod
    def of(cls, outcome: HaltOutcome) -> Halted:
        """Give the outcome of a halt."""
        return cls(name=outcome.name, branch=outcome.branch, was_running=outcome.was_running)


class Usage(Shape):
    """What the model calls of a VM took. ``usd`` leaves out ``calls_without_price``."""

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    usd: float
    calls_without_price: int

    @classmethod
    def of(cls, name: str, total: Total | None) -> Usage:
        """Give an account; None where there was no call."""
        tokens = Tokens() if total is None else total.tokens
        return cls(
            name=name,
            calls=0 if total is None else total.calls,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cache_write_tokens=tokens.cache_write,
            cache_read_tokens=tokens.cache_read,
            usd=0.0 if total is None else round(total.usd, 6),
            calls_without_price=0 if total is None else total.unpriced,
        )


class Destroyed(Shape):
    """A VM that is gone; branch and worktree stay."""

    name: str
    branch: str
    worktree: str | None

    @classmethod
    def of(cls, outcome: DestroyOutcome) -> Destroyed:
        """Give the outcome of a destroy."""
        worktree = None if outcome.worktree is None else str(outcome.worktree)
        return cls(name=outcome.name, branch=outcome.branch, worktree=worktree)


class Saved(Shape):
    """A state of a VM's disk that can be gone back to."""

    label: str
    created: float


class Checkpoints(Shape):
    """The checkpoints of a VM after what was done, oldest first."""

    name: str
    branch: str
    halted: Annotated[bool, Field(description="The VM ran, and was stopped for the restore")]
    checkpoints: list[Saved]


class Log(Shape):
    """The end of one log about a VM."""

    source: Literal["setup", "console", "proxy"]
    path: Annotated[str, Field(description="The file on the host")]
    lines: list[str]


class Logs(Shape):
    """What was said about a VM, oldest lines first."""

    name: str
    logs: list[Log]


class Committed(Shape):
    """The message of a commit."""

    subject: str
    body: str


class Proposed(Shape):
    """What became of a branch that was proposed."""

    branch: str
    base: str
    remote: Annotated[str, Field(description="Where it was pushed to")]
    ended: Annotated[
        Literal["nothing_to_do", "updated", "opened", "by_hand"],
        Field(description="by_hand: it is pushed, and a person opens the pull request"),
    ]
    committed: Annotated[
        Committed | None, Field(description="The commit that was made of uncommitted changes")
    ]
    pushed: bool
    url: Annotated[str | None, Field(description="The pull request")]
    next_step: Annotated[str | None, Field(description="What a person has to do")]

    @classmethod
    def of(cls, outcome: ProposeOutcome) -> Proposed:
        """Give the outcome of a proposal."""
        made = outcome.committed
        return cls(
            branch=outcome.branch,
            base=outcome.base,
            remote=shown(outcome.remote.url),
            ended=outcome.ended.value,
            committed=None if made is None else Committed(subject=made.subject, body=made.body),
            pushed=outcome.pushed,
            url=outcome.url or None,
            next_step=outcome.next_step or None,
        )


class FileRead(Shape):
    """A part of a file in a VM."""

    vm_name: str
    path: str
    size: Annotated[int, Field(description="Bytes of the whole file")]
    offset: int
    encoding: Annotated[
        Literal["utf-8", "base64"], Field(description="base64 for what is no UTF-8 text")
    ]
    content: str
    next_offset: Annotated[int | None, Field(description="Where to go on; null at the end")]


class FileWritten(Shape):
    """A file that was written in a VM, whole."""

    vm_name: str
    path: str
    size: int


def _address(endpoint: Endpoint) -> Address:
    return Address(host=endpoint.host, port=endpoint.port)


def _vm(report: VmReport) -> dict[str, object]:
    return {
        "name": report.name,
        "branch": report.branch,
        "repository": None if report.repository is None else str(report.repository),
        "repository_name": report.repository_name,
        "worktree": None if report.worktree is None else str(report.worktree),
        "engine": report.engine,
        "image": report.image,
        "state": None if report.state is None else report.state.value,
        "cpus": report.cpus,
        "memory_mib": report.memory_mib,
        "disk_bytes": report.disk_bytes,
        "created": report.created,
        "last_used": report.last_used,
        "orphan": report.orphan,
    }
