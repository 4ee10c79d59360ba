"""``tachikoma makima server``."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path

import click
import uvloop

from tachikoma.cli.door import Door
from tachikoma.cli.makima.ending import quiet_end
from tachikoma.cli.makima.fleet import fleet
from tachikoma.cli.verb import Verb
from tachikoma.makima.dashboard.pages import dashboard
from tachikoma.makima.log_output import logging_to
from tachikoma.makima.server.app import ServerPlan, serve
from tachikoma.makima.server.fleet import GRACE_S
from tachikoma.makima.settings import LoggingSettings
from tachikoma.model.vm import Endpoint
from tachikoma.runtime import Runtime

_log = logging.getLogger(__name__)
_EXAMPLES = """\b
Examples:
  tachikoma makima server
  tachikoma makima server --bind 0.0.0.0 --public-url https://makima.example
"""

db_option = click.option(
    "--db",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The server's database (~/.makima/server.db).",
)


@click.command("server", cls=Verb, epilog=_EXAMPLES)
@click.option("--bind", metavar="ADDRESS", default="127.0.0.1", help="Where to listen (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, help="The port (8080).")
@db_option
@click.option("--public-url", metavar="URL", default="", help="How browsers reach it, if by HTTPS.")
@click.option(
    "--grace",
    type=click.IntRange(1),
    default=int(GRACE_S),
    metavar="SECONDS",
    help="How long a daemon may be away before its tasks are given up (120).",
)
@click.option(
    "--show-machine",
    is_flag=True,
    help="Show this machine's VMs and its proxy's requests on the dashboard.",
)
@click.option(
    "--log-format",
    type=click.Choice(["pretty", "json"]),
    default="pretty",
    help="How it logs, on standard error.",
)
@click.pass_obj
def command(  # noqa: PLR0913 - click's options
    door: Door,
    *,
    bind: str,
    port: int,
    db: Path | None,
    public_url: str,
    grace: int,
    show_machine: bool,
    log_format: str,
) -> int:
    """Be a makima server until SIGTERM or Ctrl-C: daemons connect to it, people and orchestrators
    have tasks done by it.

    Its dashboard is at the same address. Everything is in one file. `tachikoma makima keys create`
    makes keys for people and daemons. It speaks HTTP: for other machines put a proxy with TLS
    before it.
    """
    plan = ServerPlan(
        bind=bind,
        port=port,
        database=database_of(door.runtime, db),
        public_url=public_url,
        grace_s=float(grace),
    )
    settings = LoggingSettings(level="info", format="json" if log_format == "json" else "pretty")
    err = door.terminal.err
    colour = door.terminal.err_tty and door.terminal.colour
    with logging_to(err, settings, colour=colour, secrets=()), quiet_end():
        if not _is_loopback(bind) and not public_url.startswith("https:"):
            _log.warning("keys cross the network as they are: put a proxy with TLS before it")

        async def work(runtime: Runtime) -> None:
            pages = dashboard(fleet(door).machine() if show_machine else None)
            await serve(plan, clock=runtime.clock, announce=_announce, add_routes=pages)

        door.run(work, settled=False, loop=uvloop.new_event_loop)
    if door.screen.as_json:
        door.screen.give({"stopped": True})
    return 0


def database_of(runtime: Runtime, given: Path | None) -> Path:
    """Say where the server's database is."""
    if given is not None:
        return runtime.cwd / given.expanduser()
    return runtime.paths.home / ".makima" / "server.db"


def _announce(endpoint: Endpoint) -> None:
    _log.info(
        "daemons connect to ws://%s/ws/daemon; the dashboard and the API are at http://%s",
        endpoint,
        endpoint,
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
