"""The supervisor as a service of the user: texts for systemd and launchd (pure)."""

from __future__ import annotations

import plistlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.model.errors_fleet import PERMANENT
from tachikoma.supervisor.supervisor import GRACE_S

UNIT = "tachikoma-daemon.service"
LABEL = "dev.tachikoma.daemon"
KEPT_VARIABLES = (
    "PATH",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "SSH_AUTH_SOCK",
)
"""What the service takes over of the shell that installs it: nothing secret, and no settings."""
_RETRY_S = 10
_MARGIN_S = 15


@dataclass(frozen=True, slots=True)
class Service:
    """What is run at login: ``argv`` in ``directory``, with ``environ`` added.

    ``secrets`` is a file of ``NAME=value`` lines that may be there; ``log`` is for what launchd
    would throw away.
    """

    argv: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    secrets: Path
    log: Path


def kept(environ: Mapping[str, str]) -> dict[str, str]:
    """Give what a service takes over of an environment."""
    return {name: environ[name] for name in KEPT_VARIABLES if environ.get(name)}


def unit_file(home: Path, config_home: Path | None) -> Path:
    """Say where systemd looks for a user's unit."""
    return (config_home or home / ".config") / "systemd" / "user" / UNIT


def agent_file(home: Path) -> Path:
    """Say where launchd looks for a user's agent."""
    return home / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def unit(service: Service) -> str:
    """Give the systemd unit.

    Only the supervisor itself is told to end: it ends its workers, and the VMs that they started
    go on, as they do after any command.
    """
    environ = "".join(
        f"Environment={_quoted(f'{name}={value}')}\n" for name, value in service.environ.items()
    )
    return (
        "# Written by `tachikoma daemon install`; `tachikoma daemon uninstall` removes it.\n"
        "[Unit]\n"
        "Description=tachikoma's supervisor\n"
        "StartLimitIntervalSec=0\n"
        "\n"
        "[Service]\n"
        "Type=exec\n"
        f"ExecStart={' '.join(_quoted(word, in_command=True) for word in service.argv)}\n"
        f"WorkingDirectory={_escaped(str(service.directory))}\n"
        f"{environ}"
        f"EnvironmentFile=-{_escaped(str(service.secrets))}\n"
        "Restart=on-failure\n"
        f"RestartSec={_RETRY_S}\n"
        f"RestartPreventExitStatus={PERMANENT}\n"
        "KillMode=process\n"
        f"TimeoutStopSec={GRACE_S + _MARGIN_S:.0f}\n"
        "\n"
        "[Install]\n"
        "WantedBy=default.target\n"
    )


def agent(service: Service) -> bytes:
    """Give the launchd agent. A shell reads the file of secrets, as launchd has no way to.

    Nobody keeps what it says small, so that goes nowhere: the supervisor has a log of its own.
    """
    read = 'if [ -r "$0" ]; then set -a; . "$0"; set +a; fi; exec "$@"'
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": ["/bin/sh", "-c", read, str(service.secrets), *service.argv],
            "WorkingDirectory": str(service.directory),
            "EnvironmentVariables": dict(service.environ),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": _RETRY_S,
            "ExitTimeOut": int(GRACE_S + _MARGIN_S),
            "AbandonProcessGroup": True,
            "StandardOutPath": "/dev/null",
            "StandardErrorPath": str(service.log),
        }
    )


def enable_argv() -> list[list[str]]:
    """Give the commands that have systemd start the unit now and at each login."""
    return [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", UNIT],
    ]


def restart_argv() -> list[list[str]]:
    """Give the command that has systemd take up a unit that was changed while it ran."""
    return [["systemctl", "--user", "restart", UNIT]]


def disable_argv() -> list[list[str]]:
    """Give the command that stops the unit and has it start no more."""
    return [["systemctl", "--user", "disable", "--now", UNIT]]


def load_argv(file: Path, uid: int) -> list[list[str]]:
    """Give the command that has launchd start the agent."""
    return [["launchctl", "bootstrap", f"gui/{uid}", str(file)]]


def unload_argv(uid: int) -> list[list[str]]:
    """Give the command that ends the agent."""
    return [["launchctl", "bootout", f"gui/{uid}/{LABEL}"]]


def shown(commands: Sequence[Sequence[str]]) -> str:
    """Give commands as a person types them."""
    return " && ".join(shlex.join(each) for each in commands)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str, *, in_command: bool = False) -> str:
    """Give a word as systemd takes it literally (``systemd.service(5)``, "Command lines")."""
    plain = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain.replace("$", "$$") if in_command else plain}"'
