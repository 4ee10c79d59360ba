"""The provisioning plan: settings and site in, one guest script out (pure).

The script is ``guest.py``, sent as it is, with the plan as JSON on its standard input. It runs as
the guest's root, in one exec through the engine's agent, at every start and whenever the plan
changes. On its standard output it says where it is::

    @tachikoma step <name>               a step begins
    @tachikoma hostkey <type> <base64>   an SSH host key of this VM
    @tachikoma ready <digest>            the last line: everything is done
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tachikoma.model.errors import WorktreeError

MARK = "@tachikoma"
READY_FILE = "/run/tachikoma/ready"
"""Holds the digest of the plan that this boot has been provisioned with."""

_INTERPRETER = ("/usr/bin/python3", "-I", "-S", "-c")
_APPROVED_TAIL = 20
"""Claude Code knows an approved API key by its last 20 characters."""

_NEVER_BELOW = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys"}
)
_NEVER_AT = frozenset({"home", "media", "mnt", "opt", "root", "srv", "tmp", "usr", "var"})
"""Directories of the guest's own, over which a worktree must not be mounted."""

_ENVIRONMENT = {
    "TACHIKOMA": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
    "CLAUDE_CODE_TMPDIR": "/var/tmp/cc",  # noqa: S108 - in the guest, which has one user
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_INSTALLATION_CHECKS": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_UPDATES": "1",
    "MCP_CONNECTION_NONBLOCKING": "0",
    "MCP_CONNECT_TIMEOUT_MS": "30000",
    "MCP_TIMEOUT": "30000",
}
"""What Claude Code is told in every VM: nothing but model calls leaves it, and no updates."""

_BEHIND_PROXY = {"CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1"}
"""No settings file in a repository can send the agent elsewhere, and a 401 fails at once."""


@dataclass(frozen=True, slots=True)
class Site:
    """All that a plan depends on, apart from the token.

    ``mounts`` are (tag, host path) as the VM was started with. ``identity`` is the user's git
    name and e-mail. ``proxy_url`` is "" for a VM without the proxy. ``share_name`` is where in
    the root of a share's mount its directory is ("": it is the root). ``public_host_keys``
    asks for SSH host keys of this VM's own in place of those that the image came with, and
    ``claude_version`` for that Claude Code if the image has none.
    """

    user: str
    hostname: str
    branch: str
    worktree: Path
    mounts: tuple[tuple[str, Path], ...]
    public_key: str
    identity: tuple[str, str] | None
    proxy_url: str
    claude_flags: tuple[str, ...]
    share_name: str = ""
    public_host_keys: bool = False
    claude_version: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run in the guest. ``digest`` stands for all of it, ``token_hash`` for the token."""

    argv: tuple[str, ...]
    stdin: bytes
    digest: str
    token_hash: str


def mounts_for(worktree: Path, git_dir: Path) -> tuple[tuple[str, Path], ...]:
    """Say what a VM must see of the host: its worktree, and the git directory if that is
    elsewhere. A directory comes before what lies inside it.

    Raises:
        WorktreeError: a VM has something of its own at that path.
    """
    _, *parts = worktree.parts
    if not parts or parts[0] in _NEVER_BELOW or (len(parts) == 1 and parts[0] in _NEVER_AT):
        raise WorktreeError(
            f"a VM cannot show a worktree at {worktree}: it has something of its own there",
            hint="set worktree_dir to a directory below your home directory",
        )
    if git_dir.is_relative_to(worktree):
        return (("code", worktree),)
    both = (("code", worktree), ("dotgit", git_dir))
    return tuple(sorted(both, key=lambda mount: len(mount[1].parts)))


def make_plan(site: Site, *, token: str, now: float) -> Plan:
    """Write the plan for ``site``; ``token`` is what the VM shows to the proxy, if it has one.

    ``now`` is the time of this host: the clock of a VM that has slept is set by it.
    """
    token_hash = hashlib.sha256(token.encode()).hexdigest()
    digest = plan_digest(site, token_hash)
    argv = (*_INTERPRETER, guest_script())
    return Plan(argv, _encode(site, token, digest, now), digest, token_hash)


def plan_digest(site: Site, token_hash: str) -> str:
    """Give the digest of the plan for ``site`` with the token of that hash."""
    parts = (guest_script().encode(), _encode(site, "", "", 0.0), token_hash.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _encode(site: Site, token: str, digest: str, now: float) -> bytes:
    """Give the plan as ``guest.py`` reads it."""
    plan = {
        "digest": digest,
        "now": now,
        "user": site.user,
        "hostname": site.hostname,
        "worktree": str(site.worktree),
        "public_key": site.public_key,
        "identity": site.identity,
        "share_name": site.share_name,
        "public_host_keys": site.public_host_keys,
        "claude_version": site.claude_version,
        "mounts": [(tag, str(path)) for tag, path in site.mounts],
        "environment": _environment(site, token),
        "first_run": _first_run(site, token),
        "settings": _SETTINGS,
        "claude_wrapper": _wrapper(site.claude_flags),
    }
    return json.dumps(plan).encode("ascii")


def _environment(site: Site, token: str) -> str:
    variables = _ENVIRONMENT | {"TACHIKOMA_BRANCH": site.branch}
    if site.proxy_url:
        host = site.proxy_url.removeprefix("http://").rpartition(":")[0]
        variables |= _BEHIND_PROXY | {
            "ANTHROPIC_BASE_URL": site.proxy_url,
            "ANTHROPIC_API_KEY": token,
            "NO_PROXY": host,
            "no_proxy": host,
        }
    return "".join(f"export {key}={shlex.quote(text)}\n" for key, text in variables.items())


def _first_run(site: Site, token: str) -> dict[str, object]:
    """What ~/.claude.json must say for the first screen to be a prompt."""
    trusted = {"hasTrustDialogAccepted": True}
    return {
        "hasCompletedOnboarding": True,
        "customApiKeyResponses": {"approved": [token[-_APPROVED_TAIL:]], "rejected": []},
        "projects": {"/": trusted, str(site.worktree): trusted},
    }


_SETTINGS = {"skipDangerousModePermissionPrompt": True, "skipWebFetchPreflight": True}


def _wrapper(flags: tuple[str, ...]) -> str:
    """With flags, a program of two lines stands before the real one on the user's PATH."""
    return f'#!/bin/sh\nexec /usr/local/bin/claude {shlex.join(flags)} "$@"\n' if flags else ""


@cache
def guest_script() -> str:
    """Give the program that carries out a plan in the guest."""
    return Path(__file__).with_name("guest.py").read_text(encoding="utf-8")
