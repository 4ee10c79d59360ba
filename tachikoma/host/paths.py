"""Where tachikoma keeps things. Everything is made on first use, readable by its user only."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tachikoma.model.errors import PermissionDeniedError


@dataclass(frozen=True, slots=True)
class Paths:
    """The directories of one user.

    ``config`` (``~/.config/tachikoma``) holds settings, state, locks and the proxy's PID file;
    ``data`` (``~/.local/share/tachikoma``) images and VM disks; ``cache`` what can be fetched
    again; ``runtime`` sockets, with a path short enough for any of them (see ``unix(7)``).
    """

    home: Path
    config: Path
    data: Path
    cache: Path
    runtime: Path

    @property
    def state_file(self) -> Path:
        """The record of which VM belongs to which branch."""
        return self.config / "state.json"

    @property
    def locks(self) -> Path:
        """One lock file for each VM that somebody works on."""
        return self.config / "locks"

    @property
    def logs(self) -> Path:
        """Logs of the proxy; those of a VM are with its disk."""
        return self.config / "logs"

    @property
    def known_hosts(self) -> Path:
        """One known_hosts file for each VM, named like it."""
        return self.config / "known_hosts"

    @property
    def ssh_key(self) -> Path:
        """The private key that opens the VMs; the public one is beside it, with ``.pub``."""
        return self.home / ".ssh" / "tachikoma"


def paths_from(environ: Mapping[str, str]) -> Paths:
    """Work out the directories from HOME and the XDG variables; makes nothing."""
    home = Path(environ.get("HOME") or Path.home())
    config = _xdg(environ, "XDG_CONFIG_HOME", home / ".config") / "tachikoma"
    return Paths(
        home=home,
        config=config,
        data=_xdg(environ, "XDG_DATA_HOME", home / ".local" / "share") / "tachikoma",
        cache=_xdg(environ, "XDG_CACHE_HOME", home / ".cache") / "tachikoma",
        runtime=_runtime(environ, config),
    )


def private_dir(path: Path) -> Path:
    """Make ``path`` (and its parents) if need be, mode 0700, and give it back.

    Raises:
        PermissionDeniedError: it cannot be made, is no directory, or belongs to another user.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = path.lstat()
    except OSError as error:
        raise PermissionDeniedError(
            f"the directory {path} cannot be made: {error.strerror}",
            hint="check who owns its parent directory, and that the disk is not full",
        ) from error
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise PermissionDeniedError(
            f"{path} is not a directory of this user",
            hint="remove it, or let the variable that names it point elsewhere",
        )
    if stat.S_IMODE(seen.st_mode) & 0o077:
        path.chmod(0o700)
    return path


def _xdg(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else default


def _runtime(environ: Mapping[str, str], config: Path) -> Path:
    """A short path, its own for each configuration directory so that two never meet."""
    own = hashlib.sha256(os.fsencode(config)).hexdigest()[:8]
    base = environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/") and len(base) < 40 and Path(base).is_dir():
        return Path(base) / f"tachikoma-{own}"
    # Not tempfile.gettempdir(): that module takes 10 ms to import, at the start of every command.
    temporary = _xdg(environ, "TMPDIR", Path("/tmp"))  # noqa: S108 - private_dir refuses others'
    return temporary / f"tachikoma-{os.geteuid()}-{own}"
