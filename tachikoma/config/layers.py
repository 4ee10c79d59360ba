"""The table of the keys: what each accepts, what it means, and who may set it.

The names and defaults are the fields of ``Settings``; this table drives the parsing, the example
file and ``tachikoma config``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tachikoma.model.settings import HypervisorChoice
from tachikoma.model.vm import Network

Value = bool | int | float | str | Path | tuple[str, ...]


class MismatchError(Exception):
    """A value is not what its key accepts."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of settings. ``base`` is what its relative paths start from.

    A file ``in_repository`` may come from anybody who can write there, a guest among them.
    """

    file: Path
    base: Path
    home: Path
    in_repository: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value must be: in words, and as a check that gives the value as ``Settings`` has it.

    ``check`` raises ``MismatchError``.
    """

    expected: str
    check: Callable[[object, Layer], Value]


Guard = Callable[[Value, Value | None, Layer], str]
"""Says why a file in a repository may not set this value; "" if it may.

It is asked only where the value differs from the second argument, the user's own: what the global
file or else the default gives. So a repository can narrow what the user gives, never widen it.
"""


def anybody(_value: Value, _own: Value | None, _layer: Layer) -> str:
    """Let every layer set it."""
    return ""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``sample`` and ``unset`` show and explain it where the default is None."""

    name: str
    kind: Kind
    explanation: str
    guard: Guard = anybody
    sample: str = ""
    unset: str = ""


def whole(least: int, most: int) -> Kind:
    """Accept a whole number; true and false are none."""

    def check(value: object, _layer: Layer) -> Value:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise MismatchError

    return Kind(f"a whole number from {least} to {most}", check)


def amount(most: float) -> Kind:
    """Accept a number that is not negative, with a fraction or without."""

    def check(value: object, _layer: Layer) -> Value:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
            return float(value)
        raise MismatchError

    return Kind(f"a number from 0 to {most:g}", check)


def boolean() -> Kind:
    """Accept true and false; 0 and 1 are neither."""

    def check(value: object, _layer: Layer) -> Value:
        if isinstance(value, bool):
            return value
        raise MismatchError

    return Kind("true or false", check)


def text(expected: str, pattern: str) -> Kind:
    """Accept a string that matches ``pattern`` as a whole."""

    def check(value: object, _layer: Layer) -> Value:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise MismatchError

    return Kind(expected, check)


def one_of(*choices: str) -> Kind:
    """Accept one of some words."""
    return text("one of " + ", ".join(f'"{each}"' for each in choices), "|".join(choices))


def texts(expected: str, pattern: str) -> Kind:
    """Accept a list of strings that each match ``pattern`` as a whole."""
    one = text(expected, pattern)

    def check(value: object, layer: Layer) -> Value:
        if isinstance(value, list):
            return tuple(str(one.check(each, layer)) for each in value)
        raise MismatchError

    return Kind(f"a list, each entry {expected}", check)


def ip_address() -> Kind:
    """Accept an IPv4 or IPv6 address."""

    def check(value: object, _layer: Layer) -> Value:
        import ipaddress  # only who sets an address pays for it

        try:
            return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
        except ValueError as error:
            raise MismatchError from error

    return Kind("an IP address", check)


def path() -> Kind:
    """Accept a path; ``~`` is the home directory, a relative one starts from the layer's base."""

    def check(value: object, layer: Layer) -> Value:
        if isinstance(value, str) and value.isprintable() and value:
            return _path(value, layer)
        raise MismatchError

    return Kind('a path ("~/" is your home directory)', check)


def paths() -> Kind:
    """Accept a list of paths; gives them whole, as text."""
    one = path()

    def check(value: object, layer: Layer) -> Value:
        if isinstance(value, list):
            return tuple(str(one.check(each, layer)) for each in value)
        raise MismatchError

    return Kind(f"a list, each entry {one.expected}", check)


def _path(value: str, layer: Layer) -> Path:
    first, _, rest = value.partition("/")
    if first == "~":
        return layer.home / rest.lstrip("/")
    if first.startswith("~"):
        raise MismatchError
    return Path(os.path.normpath(layer.base / value)) if ".." in value else layer.base / value


def never(why: str) -> Guard:
    """Let no file in a repository set it."""
    return lambda _value, _own, _layer: why


def only(allowed: str, why: str) -> Guard:
    """Let a file in a repository set it to nothing but ``allowed`` (as TOML writes it)."""
    return lambda value, _own, _layer: "" if str(value).lower() == allowed else why


def part_of_own(value: Value, own: Value | None, _layer: Layer) -> str:
    """Let a file in a repository take entries away, not add any."""
    assert isinstance(value, tuple)
    assert isinstance(own, tuple)
    more = ", ".join(sorted(set(value) - set(own)))
    return f"it would show the VM more of your ~/.claude ({more})" if more else ""


def inside(value: Value, _own: Value | None, layer: Layer) -> str:
    """Let a file in a repository name only what lies in that repository, links resolved."""
    root = os.path.realpath(layer.base)
    for each in value if isinstance(value, tuple) else (str(value),):
        if not Path(os.path.realpath(each)).is_relative_to(root):
            return f"{each!r} is outside the repository"
    return ""


_RUNS = never("it would run a command on this host")
_SPENDS = never("it would change what a VM may spend")
_PRICE = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"
_HOST = r"(?:\*\.)?[^\s*@/:?#\[\]]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?"
_GROUP = "@apt|@pip|@npm|@cargo|@go|@git"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_LINE = r"[^\x00-\x1f\x7f]+"

KEYS: tuple[Key, ...] = (
    Key(
        "base_image",
        text(
            "the name of an image",
            rf"{_WORD}(?::[0-9]+)?(?:/{_WORD})*(?::{_WORD})?(?:@{_WORD}:{_WORD})?",
        ),
        "Image that new VMs are made from; on QEMU it is what `tachikoma image build` makes.",
    ),
    Key("vm_cpus", whole(1, 1024), "Virtual CPUs of a VM, applied at its next start."),
    Key("vm_memory", whole(512, 1 << 24), "Memory of a VM in MiB, applied at its next start."),
    Key("vm_display", text("a word", r"[a-z0-9-]{1,32}"), 'Display of a VM; "none" is without.'),
    Key(
        "ssh_user",
        text("a POSIX user name", r"[a-z_][a-z0-9_-]{0,31}"),
        "User inside the VM.",
    ),
    Key("ssh_port", whole(1, 65535), "Port on which the VM's SSH server listens."),
    Key(
        "worktree_dir",
        path(),
        "Directory that holds the worktrees of branches.",
        guard=inside,
        sample='"~/worktrees"',
        unset="the directory that the repository lies in",
    ),
    Key(
        "provision_scripts",
        paths(),
        "Scripts on the host that run in a VM once it is provisioned, in this order, each one"
        " time, as the VM's user in the worktree. One that fails, fails the spawn.",
        guard=never("it would run a script that you have not looked at with what your VMs hold"),
    ),
    Key(
        "claude_flags",
        texts("a text without NUL", r"[^\x00]*"),
        "Further arguments for `claude` in the VM.",
    ),
    Key("boot_timeout_secs", whole(1, 86_400), "Seconds a VM may take to become reachable."),
    Key(
        "prune_after_days",
        whole(1, 36_500),
        "Days unused after which `prune` removes a VM.",
    ),
    Key(
        "credential_command",
        text("a shell command on one line", _LINE),
        "Shell command that prints an OAuth token.",
        guard=_RUNS,
        sample='"pass show claude/oauth"',
        unset="no such command",
    ),
    Key(
        "api_key_command",
        text("a shell command on one line", _LINE),
        "Shell command that prints an API key.",
        guard=_RUNS,
        sample='"pass show anthropic/api-key"',
        unset="no such command",
    ),
    Key(
        "sync_gh_auth",
        boolean(),
        "Whether a VM gets the GitHub login of the host's `gh`, as GH_TOKEN and for `git push`.",
        guard=only("false", "it would give your GitHub login to the VM"),
    ),
    Key(
        "share_claude_dirs",
        texts("a directory name of letters, digits, _ and -", r"[a-zA-Z0-9_-]+"),
        "Directories of ~/.claude that a VM sees, and cannot change; with any of them it also"
        " sees what Claude Code remembers of the project.",
        guard=part_of_own,
    ),
    Key(
        "sync_mcp_servers",
        boolean(),
        "Whether a VM gets the host's MCP servers and their environment variables, which may be"
        " secrets: a spawn names them.",
        guard=only("false", "it would give the environment of your MCP servers to the VM"),
    ),
    Key(
        "credential_proxy",
        boolean(),
        "Whether VMs use the credential proxy; without it the credential itself enters the VM.",
        guard=only("true", "it would put your credential into the VM"),
    ),
    Key("credential_proxy_port", whole(1, 65535), "Port of the credential proxy."),
    Key(
        "credential_proxy_bind",
        ip_address(),
        "Address the credential proxy listens on; QEMU's own default is 127.0.0.1.",
        guard=never("it would open a port of this host"),
    ),
    Key(
        "credential_proxy_ttl_secs",
        whole(1, 86_400),
        "Seconds for which the proxy keeps a credential before it asks the sources again.",
    ),
    Key(
        "hypervisor",
        one_of(*get_args(HypervisorChoice)),
        'Engine that runs the VMs; "auto" takes Tart on macOS and QEMU on Linux.',
    ),
    Key(
        "network",
        one_of(*Network),
        'What a VM reaches: "proxy" is the credential proxy only, "open" the host\'s network.',
        guard=only(Network.PROXY, "it would open the network to the VM"),
        sample='"proxy"',
        unset="what the engine recommends (QEMU: proxy)",
    ),
    Key(
        "instant_spawn",
        boolean(),
        "Start new VMs from a memory snapshot of a booted one, where the engine can.",
    ),
    Key(
        "strict_secrets",
        boolean(),
        "Whether to keep everything secret out of VMs, whatever the other keys say: MCP servers"
        " with their variables, the GitHub login, and the credential itself.",
        guard=only("true", "it would let secrets of yours into the VM"),
    ),
    Key(
        "egress_allow",
        texts(
            "a host, *.domain or address, with :PORT or not, or one of @apt, @pip, @npm, @cargo,"
            " @go, @git (what this host is set up to use)",
            f"{_GROUP}|{_HOST}",
        ),
        "What VMs reach through the proxy besides the API; `tachikoma egress` does it for one VM.",
        guard=never("it would let a VM reach more of the network than you do"),
    ),
    Key(
        "budget_usd",
        amount(1e9),
        "What the model calls of one VM may cost in USD, by the prices given here.",
        guard=_SPENDS,
        sample="25.0",
        unset="no limit",
    ),
    Key(
        "budget_tokens",
        whole(0, 1 << 53),
        "How many tokens the model calls of one VM may take, those of the cache included.",
        guard=_SPENDS,
        sample="50000000",
        unset="no limit",
    ),
    Key(
        "prices",
        texts(
            "MODEL INPUT OUTPUT [CACHE_WRITE CACHE_READ], * in MODEL being any text",
            rf"\S+(?: +{_PRICE}){{2}}(?:(?: +{_PRICE}){{2}})?",
        ),
        "Prices of models in USD for a million tokens; the first row that fits a model counts.",
        guard=_SPENDS,
    ),
)
