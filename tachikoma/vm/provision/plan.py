"""The provisioning plan: settings and site in, one guest script out (pure).

The script is ``guest.py``, sent as it is, with the plan as JSON on its standard input. It runs as
the guest's root, in one exec through the engine's agent, at every start and whenever the plan
changes. On its standard output it says where it is::

    @tachikoma step <name>               a step begins
    @tachikoma hostkey <type> <base64>   an SSH host key of this VM
    @tachikoma ready <digest>            the last line: everything is done
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tachikoma.model.errors import WorktreeError
from tachikoma.model.vm import Mount
from tachikoma.vm.provision.luggage import Luggage

MARK = "@tachikoma"
READY_FILE = "/run/tachikoma/ready"
"""Holds the digest of the plan that this boot has been provisioned with."""

_IMPORT = "from tachikoma.vm.provision.guest_values import decoded, git_quoted, merged, quoted\n"
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

_SUPPLIED_BY_HOST = {"CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1"}
"""No settings file in a repository can send the agent elsewhere, and a 401 fails at once."""

_WRITABLE = frozenset({"code", "dotgit"})
_LONGEST_TAG = 36
"""As virtiofs has it."""

# A login by ssh that nobody has given a directory begins in the worktree, as `enter` does.
_START = """\
if [ -n "$SSH_TTY" ] && [ "$SHLVL" = 1 ] && [ "$PWD" = "$HOME" ]; then cd -- {worktree} || :; fi
"""
_GITHUB = """\
[credential "https://github.com"]
	helper = "!f() { test \\"$1\\" = get && echo username=x-access-token && echo \\"password=$GH_TOKEN\\"; }; f"
"""  # noqa: E501 - one value of git's


_WAY_OUT = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""Where programs look for a proxy; the VM's token in it says whose request it is."""


@dataclass(frozen=True, slots=True)
class Site:
    """All that a plan depends on, apart from the token.

    ``mounts`` are (tag, host path) as the VM was started with. ``identity`` is the user's git
    name and e-mail. ``proxy_url`` is "" for a VM without the proxy; with ``only_by_proxy`` it is
    the VM's way to other hosts too. ``project`` is the repository's root, by which Claude Code
    knows all its worktrees; ``luggage`` what the VM gets of the user's.
    ``share_name`` is where in the root of a share's mount its directory is ("": it is the root).
    ``public_host_keys`` asks for SSH host keys of this VM's own in place of those that the image
    came with, and ``claude_version`` for that Claude Code if the image has none.
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
    project: Path
    luggage: Luggage = field(default_factory=Luggage)
    only_by_proxy: bool = False
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


def mounts_for(worktree: Path, git_dir: Path) -> tuple[Mount, ...]:
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
        return (Mount("code", worktree),)
    return by_depth((Mount("code", worktree), Mount("dotgit", git_dir)))


def by_depth(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Give the mounts in an order in which none hides another."""
    return tuple(sorted(mounts, key=lambda mount: len(mount.path.parts)))


def share_of_claude(path: Path) -> Mount:
    """Give the share of a directory of ~/.claude, or of the memory of a project."""
    tag = "memory" if path.parts[-3:-2] == ("projects",) else f"claude-{path.name}"
    if len(tag) > _LONGEST_TAG:
        tag = f"{tag[: _LONGEST_TAG - 9]}-{hashlib.sha256(tag.encode()).hexdigest()[:8]}"
    return Mount(tag, path, read_only=True)


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
    luggage = site.luggage
    plan = {
        "digest": digest,
        "now": now,
        "user": site.user,
        "hostname": site.hostname,
        "worktree": str(site.worktree),
        "public_key": site.public_key,
        "identity": site.identity,
        "git_config": _GITHUB if any(each.name == "GH_TOKEN" for each in luggage.variables) else "",
        "share_name": site.share_name,
        "public_host_keys": site.public_host_keys,
        "claude_version": site.claude_version,
        "mounts": [(tag, str(path), tag not in _WRITABLE) for tag, path in site.mounts],
        "links": [_link(tag, path) for tag, path in site.mounts if tag not in _WRITABLE],
        "environment": _environment(site, token),
        "secrets": [(each.name, _base64(each.value)) for each in luggage.variables],
        "first_run": _first_run(site, token),
        "settings": luggage.settings | _SETTINGS,
        "claude_wrapper": _wrapper(site.claude_flags),
        "scripts": [_script(name, content) for name, content in luggage.scripts],
    }
    return json.dumps(plan).encode("ascii")


def _environment(site: Site, token: str) -> str:
    variables = _ENVIRONMENT | {"TACHIKOMA_BRANCH": site.branch}
    if site.proxy_url or site.luggage.variables:
        variables |= _SUPPLIED_BY_HOST
    if site.proxy_url:
        host = site.proxy_url.removeprefix("http://").rpartition(":")[0]
        variables |= {
            "ANTHROPIC_BASE_URL": site.proxy_url,
            "ANTHROPIC_API_KEY": token,
            "NO_PROXY": f"{host},localhost,127.0.0.1,::1",
            "no_proxy": f"{host},localhost,127.0.0.1,::1",
        }
        if site.only_by_proxy:
            # Set whatever is allowed at the moment: that may change while the VM runs, and a
            # refusal that says why is better than a name that nobody resolves.
            way_out = f"http://vm:{token}@{site.proxy_url.removeprefix('http://')}"
            variables |= dict.fromkeys(_WAY_OUT, way_out)
    exports = (f"export {key}={shlex.quote(text)}\n" for key, text in variables.items())
    return "".join(exports) + _START.format(worktree=shlex.quote(str(site.worktree)))


def _link(tag: str, path: Path) -> tuple[str, str]:
    """Say where below the home directory Claude Code looks for a share, and where the share is."""
    if tag == "memory":
        return f".claude/projects/{path.parent.name}/memory", str(path)
    return f".claude/{path.name}", str(path)


def _script(name: str, content: bytes) -> tuple[str, str, str]:
    """Give a script's name, what it is told from other ones by, and itself."""
    digest = hashlib.sha256(content).hexdigest()[:32]
    return name, digest, base64.b64encode(content).decode("ascii")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")


def _first_run(site: Site, token: str) -> dict[str, object]:
    """What ~/.claude.json must say for the first screen to be a prompt, and the MCP servers."""
    key = token if site.proxy_url else site.luggage.api_key
    trusted = {"hasTrustDialogAccepted": True}
    includes = {"hasClaudeMdExternalIncludesApproved": True}
    here = {str(site.worktree): trusted, str(site.project): trusted | includes}
    first_run: dict[str, object] = {
        "hasCompletedOnboarding": True,
        "customApiKeyResponses": {
            "approved": [key[-_APPROVED_TAIL:]] if key else [],
            "rejected": [],
        },
        "projects": {"/": trusted, **here},
    }
    if site.luggage.mcp_servers:
        first_run["mcpServers"] = site.luggage.mcp_servers
    return first_run


_SETTINGS = {"skipDangerousModePermissionPrompt": True, "skipWebFetchPreflight": True}


def _wrapper(flags: tuple[str, ...]) -> str:
    """With flags, a program of two lines stands before the real one on the user's PATH."""
    return f'#!/bin/sh\nexec /usr/local/bin/claude {shlex.join(flags)} "$@"\n' if flags else ""


@cache
def guest_script() -> str:
    """Give the program that carries out a plan in the guest: ``guest`` with what it imports."""
    here = Path(__file__)
    program, values = (
        here.with_name(name).read_text(encoding="utf-8") for name in ("guest.py", "guest_values.py")
    )
    before, _, after = program.partition(_IMPORT)
    assert after
    return before + values + after
