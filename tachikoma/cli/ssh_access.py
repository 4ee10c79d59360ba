"""What ``~/.ssh/config`` is told about the VMs, and keeping it so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tachikoma.cli.door import Door
from tachikoma.model.errors import TachikomaError
from tachikoma.model.events import Notice
from tachikoma.runtime import Runtime
from tachikoma.ssh.config_file import Access, ConfigFile


def config_file(runtime: Runtime) -> ConfigFile:
    """Give the user's ssh configuration."""
    return ConfigFile(
        path=runtime.paths.home / ".ssh" / "config", lock=runtime.paths.config / "ssh-config.lock"
    )


def access(runtime: Runtime) -> Access:
    """Say how ssh gets to the VMs. The settings are loaded."""
    return Access(
        vms=sorted(runtime.store.read().vms),
        user=runtime.settings.ssh_user,
        key=runtime.paths.ssh_key,
        known_hosts=runtime.paths.known_hosts,
        connect=(*program(), "ssh", "connect"),
    )


def program() -> tuple[str, ...]:
    """Give the argv that calls this tachikoma from anywhere.

    With -P where there is no script beside Python: nothing is imported from the directory in
    which ssh is called, which a guest may write to.
    """
    script = Path(sys.executable).with_name("tachikoma")
    if os.access(script, os.X_OK):
        return (str(script),)
    return (sys.executable, "-P", "-m", "tachikoma")


def keep_fresh(door: Door) -> None:
    """Have the block name the VMs that there are now; a failure is only told."""
    try:
        config_file(door.runtime).refresh(access(door.runtime))
    except TachikomaError as error:
        door.screen.report(Notice(f"~/.ssh/config was not refreshed: {error.message}"))
