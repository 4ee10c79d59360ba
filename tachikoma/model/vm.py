"""What is said about VMs between the heart and the engines: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from tachikoma.model.names import VmName


class VmState(StrEnum):
    """What an engine says about a VM."""

    RUNNING = "running"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class Network(StrEnum):
    """What a VM can reach: only the credential proxy, or whatever the host's network gives."""

    PROXY = "proxy"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP endpoint: where a VM answers, or where a proxy listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Give ``host:port``, with brackets round an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory shared with the guest by virtiofs under ``tag``."""

    tag: str
    path: Path
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a start needs to know.

    ``proxy`` is where the credential proxy listens on the host (None: none is used); the engine
    makes it reachable for the guest at ``Hypervisor.proxy_endpoint()``.
    """

    mounts: tuple[Mount, ...] = ()
    network: Network = Network.PROXY
    proxy: Endpoint | None = None
    display: str = "none"


@dataclass(frozen=True, slots=True)
class VmInfo:
    """One VM as its engine sees it. ``disk_bytes`` is what it takes up on the host's disk."""

    name: VmName
    state: VmState
    image: str
    cpus: int
    memory_mib: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A named restore point of a VM's disk. ``created`` is seconds since the epoch."""

    label: str
    created: float


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One base image. ``created`` is seconds since the epoch; ``contents`` says what is inside.

    ``snapshot_bytes`` is what the snapshots take from which its VMs start; 0 if there are none.
    """

    name: str
    size_bytes: int
    created: float
    digest: str
    contents: dict[str, str] = field(default_factory=dict)
    snapshot_bytes: int = 0


Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class GuestCommand:
    """A command for the guest's agent: argv as it is, no shell, run as ``user``."""

    argv: tuple[str, ...]
    user: str = "root"
    stdin: bytes = b""
    deadline_s: float = 60.0


@dataclass(frozen=True, slots=True)
class GuestExit:
    """How a guest command ended: exit status (128+N for signal N) and its whole output."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Feature:
    """Whether an engine can do something, and why not (or on what condition)."""

    available: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Features:
    """What an engine can do, as data: doctor, help texts and the heart read it."""

    engine: str
    suspend: Feature
    instant_spawn: Feature
    checkpoints: Feature
    proxy_network: Feature
    build_images: Feature
    default_network: Network
    default_image: str
    forwards_ssh: bool
    """Whether a VM's SSH port is at this host's loopback: no network lies in between."""
    proxy_bind: str
    """The host address to which the credential proxy binds unless the user says otherwise."""
    pull_images: Feature = Feature(available=False, why="its images are built: see `image build`")
    share_name: str = ""
    """Where in the root of a share's mount the host's directory is; "" where it is the root."""
    public_host_keys: bool = False
    """Whether images come with SSH host keys inside, which everybody has who has the image."""
    claude_version: str = ""
    """Which Claude Code a VM installs whose image has none; "" where every image comes with it."""
