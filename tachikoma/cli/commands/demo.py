"""``tachikoma demo``: the main job from beginning to end, with proof."""

from __future__ import annotations

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.render import Style
from tachikoma.cli.verb import Verb
from tachikoma.demo.play import DemoOutcome, demonstrate

_EXAMPLES = """\b
Examples:
  tachikoma demo            a scripted model on this machine; needs no account
  tachikoma demo --online   the real API, with your own credential
"""


@click.command("demo", cls=Verb, epilog=_EXAMPLES)
@click.option("--online", is_flag=True, help="Use the real API, with your own credential.")
@click.pass_obj
def command(door: Door, *, online: bool) -> int:
    """Give a scratch branch a VM, let Claude Code change a file there and commit, prove what
    happened, and remove everything.

    The exit status is 0 only if every claim holds. Without --online the model is a scripted
    stand-in: Claude Code, the VM, the proxy and git are real.
    """
    runtime = door.runtime
    outcome = door.run(
        lambda _: demonstrate(
            runtime.environ, online=online, clock=runtime.clock, report=door.screen.report
        ),
        settled=False,
    )
    door.screen.give(encoded(outcome), told(outcome, door.screen.style))
    return 0 if outcome.proved else 1


def encoded(outcome: DemoOutcome) -> dict[str, object]:
    """Give the outcome to a machine."""
    return {
        "proved": outcome.proved,
        "online": outcome.online,
        "said": outcome.said,
        "checks": [
            {"claim": check.claim, "holds": check.holds, "evidence": list(check.evidence)}
            for check in outcome.checks
        ],
    }


def told(outcome: DemoOutcome, style: Style) -> list[str]:
    """Give the outcome to a person."""
    lines = ["", style("Claude Code says", "bold")]
    lines += [f"    {words.clean(line)}" for line in outcome.said.splitlines()]
    for check in outcome.checks:
        sign = style("proved", "green") if check.holds else style("NOT SO", "red")
        lines += ["", f"{sign}  {style(check.claim, 'bold')}"]
        lines += [f"    {words.clean(line)}" for line in check.evidence]
    return [*lines, ""]
