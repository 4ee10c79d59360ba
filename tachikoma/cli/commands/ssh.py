"""``tachikoma ssh install|uninstall|refresh``, and what ssh itself calls to get to a VM."""

from __future__ import annotations

import click

from tachikoma.cli import words
from tachikoma.cli.completing import vms
from tachikoma.cli.door import Door
from tachikoma.cli.ssh_access import access, config_file
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.ssh.descriptor import hand_over
from tachikoma.vm.requests import ReachRequest, Target

_EXAMPLES = """\b
Examples:
  tachikoma ssh install
  ssh tachikoma-app-feature-login
  rsync -a notes/ tachikoma-app-feature-login:notes/
"""
_INSTALL_EXAMPLES = """\b
Examples:
  tachikoma ssh install
  code --remote ssh-remote+tachikoma-app-main ~/code
"""
_UNINSTALL_EXAMPLES = """\b
Examples:
  tachikoma ssh uninstall
"""
_REFRESH_EXAMPLES = """\b
Examples:
  tachikoma ssh refresh
"""
_CONNECT_EXAMPLES = """\b
Examples:
  ssh -o ProxyUseFdpass=yes -o 'ProxyCommand=tachikoma ssh connect %h' tachikoma-app-main
"""


@click.group("ssh", cls=VerbGroup, no_args_is_help=False, epilog=_EXAMPLES)
def command() -> None:
    """Let plain `ssh`, `scp`, `rsync`, `git` and editors find the VMs by their names.

    `tachikoma ssh install` puts a block into ~/.ssh/config; the rest of that file stays byte for
    byte. A VM's port changes at each start: ssh asks tachikoma for it at each connection.
    """


@command.command("install", cls=Verb, epilog=_INSTALL_EXAMPLES)
@click.pass_obj
def install(door: Door) -> int:
    """Put tachikoma's block into ~/.ssh/config. Does nothing if it is there."""
    door.run(lambda runtime: runtime.load_settings())
    changed = config_file(door.runtime).install(access(door.runtime))
    return _tell(door, changed, "the block is in {file}", "the block was in {file} already")


@command.command("uninstall", cls=Verb, epilog=_UNINSTALL_EXAMPLES)
@click.pass_obj
def uninstall(door: Door) -> int:
    """Take tachikoma's block out of ~/.ssh/config. The rest stays byte for byte."""
    changed = config_file(door.runtime).uninstall()
    return _tell(door, changed, "the block is out of {file}", "there was no block in {file}")


@command.command("refresh", cls=Verb, epilog=_REFRESH_EXAMPLES)
@click.pass_obj
def refresh(door: Door) -> int:
    """Make the block anew: the VMs' names in it, for programs that list hosts.

    `spawn`, `destroy` and `prune` do it by themselves where the block is installed. Connections
    never need it.
    """
    door.run(lambda runtime: runtime.load_settings())
    changed = config_file(door.runtime).refresh(access(door.runtime))
    return _tell(door, changed, "the block in {file} is made anew", "nothing to do in {file}")


@command.command("connect", cls=Verb, hidden=True, epilog=_CONNECT_EXAMPLES)
@click.argument("name", shell_complete=vms)
@click.pass_obj
def connect(door: Door, *, name: str) -> int:
    """Hand a connection to the VM NAME over to the ssh that called this (ProxyUseFdpass)."""
    request = ReachRequest(Target(cwd=door.runtime.cwd, name=name))
    outcome = door.run(lambda runtime: runtime.orchestrator.reach(request, door.screen.report))
    hand_over(outcome.login.endpoint, door.terminal.out.fileno())
    return 0


def _tell(door: Door, changed: bool, done: str, nothing: str) -> int:  # noqa: FBT001 - from three
    file = door.runtime.paths.home / ".ssh" / "config"
    said = (done if changed else nothing).format(file=words.home(file, door.runtime.paths.home))
    door.screen.give({"file": str(file), "changed": changed}, [said])
    return 0
