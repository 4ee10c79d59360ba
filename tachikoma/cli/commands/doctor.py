"""``tachikoma doctor``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tachikoma.cli import words
from tachikoma.cli.checks import Check, Verdict, features_of, look_all
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.model.errors import TachikomaError

_MARKS = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARN: ("!", "yellow"),
    Verdict.FAIL: ("✗", "red"),
}


_EXAMPLES = """\b
Examples:
  tachikoma doctor
  tachikoma doctor --hypervisor qemu --json
"""


@click.command("doctor", cls=Verb, epilog=_EXAMPLES)
@click.pass_obj
def command(door: Door) -> int:
    """Check that this machine has what it takes: each thing with what it is good for, and what
    mends it. Exit status 1 if spawn could not work.

    With --json also a map of what the chosen engine can do, and why not.
    """
    checks = door.run(look_all, settled=False)
    failed = sum(check.verdict is Verdict.FAIL for check in checks)
    data: dict[str, object] = {
        "ready": failed == 0,
        "checks": encoded(checks),
        "features": _features(door),
    }
    door.screen.give(data, [*lines_of(door, checks), "", _summary(failed)])
    return 1 if failed else 0


def encoded(checks: Sequence[Check]) -> list[dict[str, object]]:
    """Give checks as JSON has them."""
    return [
        {
            "name": check.name,
            "verdict": check.verdict.value,
            "found": check.found,
            "why": check.why,
            "hint": check.hint,
        }
        for check in checks
    ]


def lines_of(door: Door, checks: Sequence[Check]) -> list[str]:
    """Give checks as lines for people."""
    columns = max(len(check.name) for check in checks) + 2
    return [line for check in checks for line in _lines(door, check, columns)]


def _lines(door: Door, check: Check, columns: int) -> list[str]:
    mark, colour = _MARKS[check.verdict]
    screen, indent = door.screen, columns + 2
    first, *more = screen.wrapped(check.found, indent=indent)
    lines = [f"{screen.style(mark, colour)} {words.pad(check.name, columns)}{first}"]
    lines += [" " * indent + line for line in more]
    if check.verdict is Verdict.OK:
        return lines
    told = filter(None, (check.why and f"it {check.why}", check.hint))
    hints = [line for text in told for line in screen.wrapped(text, indent=indent)]
    return lines + [" " * indent + screen.style(line, "dim") for line in hints]


def _features(door: Door) -> dict[str, object] | None:
    """Give what the chosen engine can do; None where it cannot be had at all."""
    try:
        return features_of(door.runtime.hypervisor.features)
    except TachikomaError:
        return None


def _summary(failed: int) -> str:
    if not failed:
        return "ready: `tachikoma spawn` can work here"
    return f"{words.count(failed, 'problem')} to solve before `tachikoma spawn` can work"
