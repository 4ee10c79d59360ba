"""What the synthetic engine knows: its VMs and images, in memory or in a JSON file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tachikoma.host import files
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName
from tachikoma.model.vm import (
    Checkpoint,
    Endpoint,
    ImageInfo,
    Launch,
    Mount,
    Network,
    VmInfo,
    VmState,
)

_LOCK_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class SyntheticVm:
    """One VM. ``boot`` tells its boots apart; ``booted`` is when the last one began."""

    name: VmName
    image: str
    port: int
    state: VmState = VmState.STOPPED
    cpus: int = 1
    memory_mib: int = 512
    boot: str = ""
    booted: float = 0.0
    launch: Launch | None = None
    checkpoints: tuple[Checkpoint, ...] = ()

    def info(self, disk_bytes: int) -> VmInfo:
        """Give what the port says of it."""
        return VmInfo(
            name=self.name,
            state=self.state,
            image=self.image,
            cpus=self.cpus,
            memory_mib=self.memory_mib,
            disk_bytes=disk_bytes,
        )


@dataclass(slots=True)
class World:
    """All VMs and images. Copied before a change, so that an error changes nothing."""

    vms: dict[VmName, SyntheticVm] = field(default_factory=dict)
    images: dict[str, ImageInfo] = field(default_factory=dict)

    def copy(self) -> World:
        """Give a world that changes on its own; what is in it is frozen."""
        return World(dict(self.vms), dict(self.images))

    def free_port(self, first: int) -> int:
        """Give the lowest port from ``first`` on that no VM has."""
        taken = {each.port for each in self.vms.values()}
        return next(port for port in range(first, 65536) if port not in taken)


class Keeper:
    """Keeps a world: in memory, or in ``file`` where every later command finds it."""

    def __init__(self, *, file: Path | None, first: World) -> None:
        self._file = file
        self._world = first

    def read(self) -> World:
        """Give a copy of the world as it is now.

        Raises:
            HypervisorError: the file cannot be understood.
            HostError: it cannot be read.
        """
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError):
                return self._decoded(self._file)
        return self._world.copy()

    @contextlib.contextmanager
    def edit(self) -> Iterator[World]:
        """Let the block change the world. An error changes nothing."""
        with self._locked():
            world = self.read()
            before = world.copy()
            yield world
            if world == before:
                return
            if self._file is None:
                self._world = world
            else:
                files.write_atomically(self._file, json.dumps(_encoded(world), indent=1).encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._file is not None:
                lock = self._file.with_name(f"{self._file.name}.lock")
                try:
                    stack.enter_context(files.locked(lock, deadline_s=_LOCK_DEADLINE_S))
                except TimeoutError as error:
                    raise HypervisorError(
                        f"{lock} stayed locked for {_LOCK_DEADLINE_S:g} s",
                        hint="another tachikoma hangs; end it",
                    ) from error
            yield

    def _decoded(self, file: Path) -> World:
        try:
            return _decoded(json.loads(file.read_bytes()))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise files.from_os_error(error, file) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HypervisorError(
                f"{file} is not what the synthetic engine wrote",
                hint=f"remove it: `rm '{file}'`; the VMs in it were never real",
            ) from error


def _encoded(world: World) -> dict[str, Any]:
    return {
        "vms": [_encoded_vm(each) for each in world.vms.values()],
        "images": [
            {
                "name": each.name,
                "size_bytes": each.size_bytes,
                "created": each.created,
                "digest": each.digest,
                "contents": each.contents,
            }
            for each in world.images.values()
        ],
    }


def _encoded_vm(vm: SyntheticVm) -> dict[str, Any]:
    return {
        "name": vm.name,
        "image": vm.image,
        "port": vm.port,
        "state": vm.state,
        "cpus": vm.cpus,
        "memory_mib": vm.memory_mib,
        "boot": vm.boot,
        "booted": vm.booted,
        "launch": None if vm.launch is None else _encoded_launch(vm.launch),
        "checkpoints": [[each.label, each.created] for each in vm.checkpoints],
    }


def _encoded_launch(launch: Launch) -> dict[str, Any]:
    return {
        "mounts": [
            {"tag": each.tag, "path": str(each.path), "read_only": each.read_only}
            for each in launch.mounts
        ],
        "network": launch.network,
        "proxy": None if launch.proxy is None else [launch.proxy.host, launch.proxy.port],
        "display": launch.display,
    }


def _decoded(said: dict[str, Any]) -> World:
    vms = [_decoded_vm(each) for each in said["vms"]]
    images = [ImageInfo(**each) for each in said["images"]]
    return World({each.name: each for each in vms}, {each.name: each for each in images})


def _decoded_vm(said: dict[str, Any]) -> SyntheticVm:
    launch = said["launch"]
    return SyntheticVm(
        **{
            **said,
            "state": VmState(said["state"]),
            "launch": None if launch is None else _decoded_launch(launch),
            "checkpoints": tuple(Checkpoint(*each) for each in said.get("checkpoints", ())),
        }
    )


def _decoded_launch(said: dict[str, Any]) -> Launch:
    proxy = said["proxy"]
    return Launch(
        mounts=tuple(
            Mount(tag=each["tag"], path=Path(each["path"]), read_only=each["read_only"])
            for each in said["mounts"]
        ),
        network=Network(said["network"]),
        proxy=None if proxy is None else Endpoint(host=proxy[0], port=proxy[1]),
        display=said["display"],
    )
