"""``tachikoma config``."""

from __future__ import annotations

from dataclasses import replace

import click

from tachikoma.cli.door import Door
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb
from tachikoma.config.describe import Entry, entries, toml
from tachikoma.model.errors import HypervisorError

_COLUMNS = (
    Column("KEY"),
    Column("VALUE", least=12),
    Column("SOURCE", least=12, keep_end=True),
)


@click.command("config", cls=Verb)
@click.pass_obj
def command(door: Door) -> int:
    """Show every setting with its value and the file that it comes from.

    Later files win: ~/.config/tachikoma/config.toml, then .tachikoma.toml of the repository,
    then .tachikoma.local.toml beside it. A repository cannot set what runs on the host.
    """
    door.run(lambda runtime: runtime.load_settings())
    found = [_effective(door, entry) for entry in entries(door.runtime.loaded)]
    data: dict[str, object] = {
        "values": [
            {"key": entry.key, "value": entry.value, "source": entry.source} for entry in found
        ],
        "warnings": list(door.runtime.warnings),
    }
    home = f"{door.runtime.paths.home}/"
    rows = [
        [
            entry.key,
            "-" if entry.value is None else toml(entry.value),
            entry.source.replace(home, "~/", 1) if entry.source.startswith(home) else entry.source,
        ]
        for entry in found
    ]
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    for warning in door.runtime.warnings:
        door.screen.note(f"warning: {warning}")
    return 0


def _effective(door: Door, entry: Entry) -> Entry:
    """Put in the engine's own default where the user has set nothing."""
    if entry.key in door.runtime.settings.explicit:
        return entry
    try:
        features = door.runtime.hypervisor.features
    except HypervisorError:
        return entry
    own: dict[str, str] = {
        "base_image": features.default_image,
        "credential_proxy_bind": features.proxy_bind,
        "network": features.default_network.value,
    }
    if entry.key not in own:
        return entry
    return replace(entry, value=own[entry.key], source=f"default of {features.engine}")
