"""``tachikoma makima down``."""

from __future__ import annotations

import click

from tachikoma.cli import supervision
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.runtime import Runtime
from tachikoma.supervisor.control import Standing

_EXAMPLES = """\b
Examples:
  tachikoma makima down
"""


@click.command("down", cls=Verb, epilog=_EXAMPLES)
@click.pass_obj
def command(door: Door) -> int:
    """Stop what `tachikoma makima up` runs; it is the same as `tachikoma daemon stop`. Tasks and
    keys stay, and tasks at work go on when it is up again.
    """

    async def work(runtime: Runtime) -> bool:
        control = supervision.control(runtime)
        found = control.look()
        await control.stop(found)
        return found.standing is Standing.RUNNING

    stopped = door.run(work, settled=False)
    said = "makima is down" if stopped else "makima was not up"
    door.screen.give({"was_running": stopped}, [said])
    return 0
