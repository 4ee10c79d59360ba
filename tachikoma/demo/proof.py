"""The proof: what must be true after the agent's errand, each with the evidence for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.demo.scene import git
from tachikoma.model.names import VmName
from tachikoma.offline.demo import FILE, LINE
from tachikoma.offline.server import Seen
from tachikoma.runtime import Runtime
from tachikoma.vm.requests import SpawnOutcome

_CREDENTIAL = "sk-ant-[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_-]{20,}"
_SEARCH = f"""
places="/home /root /etc /run /tmp /var /opt /srv /usr/local/etc"
found=$(grep -rlaE '{_CREDENTIAL}' $places /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null)
set -- /proc/[0-9]*
echo "$(find $places -xdev -type f 2>/dev/null | wc -l) files and $# processes searched"
[ -z "$found" ] || {{ echo "$found"; exit 1; }}
"""
"""What looks like a credential of Anthropic's, in the guest's files (the mounts are the host's)
and in the environment and arguments of its processes."""


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, whether it holds, and what shows it."""

    claim: str
    holds: bool
    evidence: tuple[str, ...]


async def committed(worktree: Path, before: str) -> Check:
    """The host's git sees a commit that was made in the VM."""
    after = await git(worktree, "rev-parse", "HEAD")
    shown = await git(worktree, "log", "-1", "--stat", "--format=%h %an: %s")
    text = (worktree / FILE).read_text(encoding="utf-8", errors="replace")
    clean = await git(worktree, "status", "--porcelain") == ""
    holds = after != before and LINE in text.splitlines() and clean
    return Check("the commit made in the VM, as the host's git shows it", holds, _lines(shown))


def proxied(log: Path, vm: VmName) -> Check:
    """The model calls of the VM went through the proxy."""
    calls = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        entry = json.loads(line)
        if entry["vm"] == vm and entry["method"] == "POST":
            calls.append(entry)
    good = [each for each in calls if each["status"] == 200 and each["verdict"] == "forwarded"]
    evidence = tuple(
        f"{each['method']} {each['path']}  {each['status']}  {each['sent']} bytes"
        f"  {each['duration_s'] * 1000:.0f} ms"
        for each in calls
    )
    return Check("the VM's requests, as the proxy saw them", len(good) > 1, evidence)


def credential_added(requests: Sequence[Seen], secret_sha256: str, token_sha256: str) -> Check:
    """The credential that the API got is the host's, and not what the VM holds."""
    calls = [seen for seen in requests if seen.method == "POST"]
    right = [s for s in calls if s.status == 200 and s.credential_sha256 == secret_sha256]
    leaked = [s for s in calls if s.credential_sha256 == token_sha256]
    holds = bool(right) and len(right) == len(calls) and not leaked
    evidence = (f"{len(right)} of {len(calls)} model calls carried the host's credential",)
    return Check("the API got the host's credential, added by the proxy", holds, evidence)


async def no_credential_inside(runtime: Runtime, vm: SpawnOutcome) -> Check:
    """Nothing in the VM looks like a credential of Anthropic's."""
    said = bytearray()
    status = await runtime.shell.run(
        vm.login,
        ["sudo", "sh", "-c", _SEARCH],
        directory="/",
        stdin=None,
        on_stdout=said.extend,
        on_stderr=said.extend,
    )
    evidence = _lines(said.decode("utf-8", "replace"))
    return Check("no credential in the VM", status == 0, evidence)


async def nothing_left(runtime: Runtime, vm: SpawnOutcome, answer: int) -> Check:
    """VM, record and token are gone; ``answer`` is what the proxy said to the token."""
    left = [info.name for info in await runtime.hypervisor.vms() if info.name == vm.name]
    recorded = vm.name in runtime.store.read().vms
    evidence = (
        f"virtual machines of that name: {len(left)}",
        f"record: {'still there' if recorded else 'gone'}",
        f"the proxy's answer to its token: {answer}",
    )
    return Check("the VM is gone", not left and not recorded and answer == 401, evidence)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
