"""The settings of one command, parsed once and frozen. Loading them is ``config``'s job.

The field names are the keys of the TOML files. A default of None means that the engine or the
place decides; ``config.load`` says where each value came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HypervisorChoice = Literal["auto", "qemu", "tart", "synthetic"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Every configuration key with its default (seed 003, plus the keys marked as ours).

    ``base_image`` and ``credential_proxy_bind`` hold the seed's defaults, which are Tart's; an
    engine with other needs puts its own in their place where the user has set neither
    (``explicit`` names the keys that some layer has set).
    """

    base_image: str = "ubuntu"
    vm_cpus: int = 4
    vm_memory: int = 8192
    vm_display: str = "none"
    ssh_user: str = "admin"
    ssh_port: int = 22
    worktree_dir: Path | None = None
    provision_scripts: tuple[str, ...] = ()
    claude_flags: tuple[str, ...] = ()
    boot_timeout_secs: int = 120
    prune_after_days: int = 30
    credential_command: str | None = None
    api_key_command: str | None = None
    sync_gh_auth: bool = False
    share_claude_dirs: tuple[str, ...] = ("rules", "agents", "plugins", "skills")
    sync_mcp_servers: bool = True
    credential_proxy: bool = True
    credential_proxy_port: int = 19280
    credential_proxy_bind: str = "192.168.64.1"
    credential_proxy_ttl_secs: int = 300
    hypervisor: HypervisorChoice = "auto"
    """Ours: which engine runs the VMs; auto takes Tart on macOS and QEMU on Linux."""
    network: Literal["proxy", "open"] | None = None
    """Ours: what a VM can reach; None takes the engine's default (proxy on QEMU)."""
    instant_spawn: bool = True
    """Ours: new VMs go on from a memory snapshot of a booted one, where the engine can."""
    strict_secrets: bool = False
    """Ours: nothing secret enters a VM, whatever the other keys say."""
    egress_allow: tuple[str, ...] = ()
    """Ours: what VMs reach through the proxy besides the API; only the user's own file sets it."""
    budget_usd: float | None = None
    """Ours: what the model calls of one VM may cost, by ``prices``; None is without limit."""
    budget_tokens: int | None = None
    """Ours: how many tokens the model calls of one VM may take; None is without limit."""
    prices: tuple[str, ...] = ()
    """Ours: rows of MODEL INPUT OUTPUT [CACHE_WRITE CACHE_READ], in USD for a million tokens."""
    explicit: frozenset[str] = field(default_factory=frozenset)
