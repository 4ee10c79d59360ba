"""Real images: what a full disk leaves of them, and what a guest made of one can do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.qemu.engine import Qemu
from tachikoma.hypervisor.qemu.images_claude import VERSION
from tachikoma.model.errors import DiskFullError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint, GuestCommand, Launch

pytestmark = pytest.mark.live_qemu

VM = VmName("tachikoma-images-test")
OTHER = VmName("tachikoma-images-other")
_BOOT_S = 180.0
_COMMAND_S = 60.0
BUILD = """\
import asyncio, os, sys
from pathlib import Path
from tachikoma.host.clock import SystemClock
from tachikoma.hypervisor.qemu.images import DebianImages
images = DebianImages(
    data=Path(sys.argv[1]), cache=Path(sys.argv[2]), clock=SystemClock(), environ=os.environ
)
info = asyncio.run(
    images.build("debian", rebuild=False, report=lambda event: print(event, flush=True))
)
print(info.digest)
"""


@pytest.fixture(scope="module")
def cache(live_image_data: Path) -> Path:
    """Where Claude Code has been fetched to."""
    return live_image_data.parent / "cache"


@pytest.fixture
async def qemu(live_image_data: Path, own_home: Path) -> AsyncIterator[Qemu]:
    """An engine without VMs, and without any afterwards."""
    data = own_home / "data"
    data.mkdir()
    (data / "images").symlink_to(live_image_data / "images")
    engine = Qemu(data=data, runtime=own_home.parent / "run", clock=SystemClock())
    yield engine
    for vm in (VM, OTHER):
        await engine.stop(vm, grace_s=0)
        await engine.delete(vm)


async def boot(engine: Qemu, vm: VmName) -> None:
    await engine.clone("debian", vm)
    await engine.configure(vm, cpus=2, memory_mib=1024)
    await engine.start(vm, Launch())
    async for _ in attempts(SystemClock(), deadline_s=_BOOT_S):
        if await engine.agent_ready(vm):
            return
    raise AssertionError(Path(engine.log_of(vm)).read_text(errors="replace"))


async def inside(engine: Qemu, vm: VmName, script: str, user: str = "admin") -> str:
    """Run a shell script by the agent; it must succeed."""
    command = GuestCommand(("sh", "-ec", script), user=user, deadline_s=_COMMAND_S)
    done = await engine.execute(vm, command)
    assert done.status == 0, done
    return done.stdout.decode().strip()


def ssh_argv(endpoint: Endpoint, key: Path, known_hosts: Path, command: str) -> list[str]:
    return [
        *("ssh", "-F", "none", "-i", str(key), "-p", str(endpoint.port)),
        *("-o", f'UserKnownHostsFile="{known_hosts}"', "-o", "BatchMode=yes"),
        *("-o", "ConnectTimeout=5", "-o", "StrictHostKeyChecking=yes"),
        *(f"admin@{endpoint.host}", command),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk that is too small")
@pytest.mark.parametrize("options", ["size=64M", "size=8G,nr_inodes=3000"])
def test_a_full_disk_is_named_and_nothing_is_left(
    tmp_path: Path, cache: Path, options: str, real_environ: dict[str, str]
) -> None:
    script = (
        'mount -t tmpfs -o "$1" none "$2"; if "$3" -c "$4" "$2" "$5"; then exit 9; fi;'
        ' find "$2" -mindepth 2 ; exit 0'
    )
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", script, "-"),
            *(options, str(tmp_path), sys.executable, BUILD, str(cache)),
        ],
        env=real_environ,
        text=True,
        capture_output=True,
        timeout=200,
        check=False,
    )
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0
    assert DiskFullError.__name__ in done.stderr
    left = {Path(line).name for line in done.stdout.splitlines() if line.startswith(str(tmp_path))}
    assert left <= {".lock", ".store"}


async def test_a_guest_has_what_an_agent_expects(qemu: Qemu) -> None:
    await boot(qemu, VM)
    assert (
        await inside(qemu, VM, "id -u; id -g; echo ~; sudo -n id -u")
        == "1000\n1000\n/home/admin\n0"
    )
    assert await inside(qemu, VM, "claude --version") == f"{VERSION} (Claude Code)"
    tools = "bash curl git jq less make nano patch python3 rg rsync ssh tmux unzip xz zstd"
    await inside(qemu, VM, f"for tool in {tools}; do command -v $tool; done")
    await inside(qemu, VM, "git init -q ~/r && cd ~/r && git status --short")
    assert await inside(qemu, VM, "getent hosts $(hostname)") != ""
    await inside(qemu, VM, "modprobe virtiofs", user="root")
    async for _ in attempts(SystemClock(), deadline_s=_BOOT_S):
        state = await qemu.execute(VM, GuestCommand(("systemctl", "is-system-running")))
        if state.stdout not in {b"initializing\n", b"starting\n"}:
            break
    assert await inside(qemu, VM, "systemctl is-system-running", user="root") == "running"
    kept = "find /var/lib/apt/lists /var/cache/apt -type f -size +0"
    assert await inside(qemu, VM, kept, user="root") == ""


async def test_the_first_login_by_ssh_succeeds_as_soon_as_sshd_answers(
    qemu: Qemu, tmp_path: Path
) -> None:
    await boot(qemu, VM)
    key, known_hosts = tmp_path / "key", tmp_path / "known hosts"
    await process.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], deadline_s=_COMMAND_S
    )
    public = key.with_suffix(".pub").read_text().strip()
    await inside(qemu, VM, f"mkdir -m 700 ~/.ssh; echo '{public}' > ~/.ssh/authorized_keys")
    wait = "until [ -s $k ]; do sleep 0.1; done; cat $k"
    host_key = await inside(qemu, VM, f"k=/etc/ssh/ssh_host_ed25519_key.pub; {wait}", user="root")
    endpoint = await qemu.address(VM)
    assert endpoint is not None
    known_hosts.write_text(f"[{endpoint.host}]:{endpoint.port} {host_key}\n")
    await answers(endpoint)
    done = await process.run(
        ssh_argv(endpoint, key, known_hosts, "echo $USER $LANG"), deadline_s=_COMMAND_S
    )
    assert done.text == "admin C.UTF-8"
    assert done.stderr == b""


async def answers(endpoint: Endpoint) -> None:
    """Wait for the banner of sshd."""
    async for _ in attempts(SystemClock(), deadline_s=_BOOT_S):
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                line = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            continue
        if line.startswith(b"SSH-2.0"):
            return
    raise AssertionError("sshd does not answer")


async def test_two_guests_of_one_image_share_no_identity(qemu: Qemu) -> None:
    await asyncio.gather(boot(qemu, VM), boot(qemu, OTHER))
    script = (
        "k=/etc/ssh/ssh_host_ed25519_key.pub; until [ -s $k ]; do sleep 0.1; done;"
        " cat $k /etc/machine-id; ls /etc/ssh/ssh_host_*"
    )
    one, other = [await inside(qemu, vm, script, user="root") for vm in (VM, OTHER)]
    assert one.splitlines()[0] != other.splitlines()[0]
    assert one.splitlines()[1] != other.splitlines()[1]
    assert one.splitlines()[2:] == [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
    ]
