"""``tachikoma completions bash|zsh|fish``."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from tachikoma.cli.door import Door
from tachikoma.cli.verb import COMPLETING, Verb

_EXAMPLES = """\b
Examples:
  echo 'eval "$(tachikoma completions bash)"' >> ~/.bashrc
  echo 'eval "$(tachikoma completions zsh)"' >> ~/.zshrc
  tachikoma completions fish > ~/.config/fish/completions/tachikoma.fish
"""


@click.command("completions", cls=Verb, epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
def command(door: Door, *, shell: str) -> int:
    """Print what makes SHELL complete commands, options, branches, VMs and keys at Tab.

    bash 4.4 or later, zsh, or fish. The shell asks `tachikoma` itself, so what it offers is
    always of today.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = _script(kind)
    door.screen.give({"shell": shell, "script": script}, script.splitlines())
    return 0


def _script(kind: type[ShellComplete]) -> str:
    """Give click's own script, without the question for bash's version that it asks before."""
    completion = kind(click.Command("tachikoma"), {}, "tachikoma", COMPLETING)
    return (completion.source_template % completion.source_vars()).strip()
