"""What a VM gets of the user's own things, decided and ready for the plan (pure values)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the VM's shells that may be a secret."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Carried:
    """Something in a VM that may be a secret: a variable or a header of an MCP server.

    ``setting`` is the key that lets it in, ``origin`` whose it is.
    """

    name: str
    setting: str
    origin: str


@dataclass(frozen=True, slots=True)
class Luggage:
    """All of it. Nothing here is of a VM; two VMs of a project get the same.

    ``settings`` is for ~/.claude/settings.json, ``mcp_servers`` for ~/.claude.json. ``scripts``
    are name and content. ``api_key`` is the credential itself where it is an API key and enters
    the VM, else "". ``carried`` names every part that may be a secret; ``told`` are sentences that
    the user has to see when it is put into a VM.
    """

    variables: tuple[Variable, ...] = ()
    settings: dict[str, object] = field(default_factory=dict)
    mcp_servers: dict[str, dict[str, object]] = field(default_factory=dict, repr=False)
    scripts: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    api_key: str = field(default="", repr=False)
    carried: tuple[Carried, ...] = ()
    told: tuple[str, ...] = ()
