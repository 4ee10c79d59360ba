"""``tachikoma makima config``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.makima.loading import config_option, load
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.makima.describe import entries
from tachikoma.model.events import Notice

_COLUMNS = (
    Column("KEY"),
    Column("VALUE", least=12),
    Column("SOURCE", least=12, keep_end=True),
)
_EXAMPLES = """\b
Examples:
  tachikoma makima config
  tachikoma makima config --config fleet.toml --json
"""


@click.command("config", cls=Verb, epilog=_EXAMPLES)
@config_option
@click.pass_obj
def command(door: Door, *, config: Path | None) -> int:
    """Show every setting of the daemon with its value and where that comes from. What is secret is
    not shown.

    Variables win over files, and options of the daemon over both. Of the files the later wins:
    /etc/makima-daemon/config.toml (Linux), ~/.config/makima-daemon/config.toml, and
    makima-daemon.toml in this directory.
    """
    loaded = load(door, config)
    for warning in loaded.warnings:
        door.screen.report(Notice(warning))
    found = entries(loaded)
    data: dict[str, object] = {
        "settings": [
            {
                "key": each.key,
                "value": each.value,
                "source": each.source,
                "explanation": each.explanation,
                "variables": list(each.variables),
            }
            for each in found
        ],
        "files": [str(file) for file in loaded.files],
        "warnings": list(loaded.warnings),
    }
    home = door.runtime.paths.home
    rows = [[each.key, _shown(each.value, home), _short(each.source, home)] for each in found]
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    return 0


def _shown(value: object, home: Path) -> str:
    match value:
        case None:
            return "-"
        case str():
            return _short(value, home) if value.startswith("/") else value
        case [dict(), *_] as clones:
            return " ".join(str(each.get("url")) for each in clones if isinstance(each, dict))
        case _:
            return json.dumps(value, ensure_ascii=False)


def _short(text: str, home: Path) -> str:
    return words.home(Path(text), home) if text.startswith("/") else text
