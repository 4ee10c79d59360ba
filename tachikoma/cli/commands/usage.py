"""``tachikoma usage``."""

from __future__ import annotations

import asyncio
from typing import cast

import click

from tachikoma.cli import encode
from tachikoma.cli.door import Door
from tachikoma.cli.since import moment
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.proxy.prices import parse_prices
from tachikoma.proxy.usage import By, Total, totals
from tachikoma.runtime import Runtime

_NUMBERS = (
    Column("CALLS", right=True),
    Column("INPUT", right=True),
    Column("OUTPUT", right=True),
    Column("TO CACHE", drop=2, right=True),
    Column("FROM CACHE", drop=1, right=True),
    Column("COST", right=True),
)


_EXAMPLES = """\b
Examples:
  tachikoma usage
  tachikoma usage --by model --since 7d
  tachikoma usage --by day --json
"""


@click.command("usage", cls=Verb, epilog=_EXAMPLES)
@click.option(
    "--by",
    type=click.Choice(["vm", "branch", "model", "day"]),
    default="vm",
    help="What a line is about (vm).",
)
@click.option("--since", metavar="TIME", help="Only from then on: 12h, 7d, 2026-11-01.")
@click.pass_obj
def command(door: Door, *, by: str, since: str | None) -> int:
    """Show what the model calls of the VMs took, in tokens and by your price table.

    Prices are those of the setting `prices`. VMs that are gone are counted too.
    """

    async def work(runtime: Runtime) -> tuple[Total, ...]:
        begin = 0.0 if since is None else moment(since, runtime.clock.now())
        sums = await asyncio.to_thread(runtime.usage_book.sums, cast("By", by), since=begin)
        return totals(sums, parse_prices(runtime.settings.prices))

    found = door.run(work)
    data: encode.Data = {"by": by, "totals": [_data(total) for total in found]}
    if not found:
        door.screen.give(data)
        door.screen.note("no model call has been recorded" + (" since then" if since else ""))
        return 0
    everything = totals_of(found)
    rows = [_row(total) for total in (*found, *([everything] if len(found) > 1 else []))]
    columns = (Column(by.upper(), least=12), *_NUMBERS)
    door.screen.give(data, door.screen.table(columns, rows))
    if everything.unpriced:
        door.screen.note(
            f"{everything.unpriced} of {everything.calls} calls are of models without a price; "
            "the setting `prices` gives them one"
        )
    return 0


def totals_of(found: tuple[Total, ...]) -> Total:
    """Give all of it in one line."""
    first, *rest = found
    tokens = first.tokens
    for each in rest:
        tokens += each.tokens
    return Total(
        group="all",
        calls=sum(each.calls for each in found),
        tokens=tokens,
        usd=sum(each.usd for each in found),
        unpriced=sum(each.unpriced for each in found),
    )


def cost(total: Total) -> str:
    """Give the cost as people read it; ``-`` where nothing has a price."""
    return "-" if total.unpriced == total.calls else f"${total.usd:,.2f}"


def _row(total: Total) -> list[str]:
    tokens = total.tokens
    counts = (total.calls, tokens.input, tokens.output, tokens.cache_write, tokens.cache_read)
    return [total.group or "-", *(f"{count:,}" for count in counts), cost(total)]


def _data(total: Total) -> encode.Data:
    tokens = total.tokens
    return {
        "group": total.group,
        "calls": total.calls,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_write_tokens": tokens.cache_write,
        "cache_read_tokens": tokens.cache_read,
        "usd": round(total.usd, 6),
        "calls_without_price": total.unpriced,
    }
