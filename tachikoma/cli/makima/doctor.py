"""``tachikoma makima doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.checks import Check, Verdict
from tachikoma.cli.commands.doctor import encoded, lines_of
from tachikoma.cli.door import Door
from tachikoma.cli.makima.checks import Scene, look_all
from tachikoma.cli.makima.fleet import fleet
from tachikoma.cli.makima.loading import config_option, load
from tachikoma.cli.verb import Verb
from tachikoma.makima.probe import probe
from tachikoma.model.errors_fleet import MakimaConfigError

_EXAMPLES = """\b
Examples:
  tachikoma makima doctor
  tachikoma makima doctor --config fleet.toml --json
"""


@click.command("doctor", cls=Verb, epilog=_EXAMPLES)
@config_option
@click.pass_obj
def command(door: Door, *, config: Path | None) -> int:
    """Check that the daemon can work here: its configuration, the server, the database, and what
    agents take. Exit status 1 if it could not.

    The server is asked for a connection, but not told the key.
    """
    try:
        loaded = load(door, config)
    except MakimaConfigError as error:
        why = "says how the daemon works"
        checks = [Check("configuration", Verdict.FAIL, error.message, error.hint, why)]
    else:
        scene = Scene(door.runtime, fleet(door), loaded, probe)
        checks = door.run(lambda _: look_all(scene), settled=False)
    failed = sum(check.verdict is Verdict.FAIL for check in checks)
    summary = (
        f"{words.count(failed, 'problem')} to solve before the daemon can work"
        if failed
        else "ready: `makima-daemon` can work here"
    )
    data: dict[str, object] = {"ready": failed == 0, "checks": encoded(checks)}
    door.screen.give(data, [*lines_of(door, checks), "", summary])
    return 1 if failed else 0
