"""Loading the daemon's configuration for a command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tachikoma.cli.door import Door
from tachikoma.makima.configuration import LoadedDaemon
from tachikoma.makima.variables import Given

config_option = click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read this file instead of those that are looked for.",
)


def load(door: Door, config: Path | None, options: Sequence[Given] = ()) -> LoadedDaemon:
    """Read the configuration that holds here.

    Raises:
        MakimaConfigError: something in it cannot be used.
    """
    return door.runtime.load_makima(config=config, options=options)
