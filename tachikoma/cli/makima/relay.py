"""``tachikoma makima relay``."""

from __future__ import annotations

import asyncio
import getpass
import logging
import re
import secrets
import shlex
import signal
from pathlib import Path

import click
import uvloop

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.host.clock import Clock
from tachikoma.host.files import translated, write_atomically
from tachikoma.host.paths import private_dir
from tachikoma.makima.log_output import logging_to
from tachikoma.makima.relay import envfile
from tachikoma.makima.relay.introduction import introduce
from tachikoma.makima.relay.monitoring import is_loopback
from tachikoma.makima.relay.run import serve
from tachikoma.makima.relay.settings import (
    BIND,
    DAEMON_KEYS,
    KEY,
    NAME,
    PORT,
    URL,
    RelaySettings,
    checked_key,
    checked_url,
    from_environment,
)
from tachikoma.makima.server_url import in_the_clear
from tachikoma.makima.settings import LoggingSettings
from tachikoma.model.errors import UsageError
from tachikoma.model.errors_fleet import MakimaConfigError
from tachikoma.model.version import VERSION
from tachikoma.model.vm import Endpoint

_log = logging.getLogger(__name__)
_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_EXAMPLES = """\b
Examples:
  tachikoma makima relay init
  tachikoma makima relay --env-file ~/.makima/relay.env
  MAKIMA_SERVER_URL=wss://makima.example.com MAKIMA_API_KEY=KEY tachikoma makima relay
"""
_INIT_EXAMPLES = """\b
Examples:
  tachikoma makima relay init
  tachikoma makima relay init --server-url wss://makima.example.com --name edge-berlin \\
    --key-file key.txt
"""


@click.group(
    "relay",
    cls=VerbGroup,
    invoke_without_command=True,
    epilog=_EXAMPLES,
    subcommand_metavar="[init]",
)
@click.option("--bind", metavar="ADDRESS", default=BIND, show_default=True, help="Listen there.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Listen on this port; 0 for any that is free.",
)
@click.option(
    "--db",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The relay's database.  [default: ~/.makima/relay.db]",
)
@click.option(
    "--env-file",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read variables from there; those of the environment win.",
)
@click.option(
    "--log-format",
    type=click.Choice(["pretty", "json"]),
    default="pretty",
    show_default=True,
    help="How the log on standard error looks.",
)
@click.pass_context
def command(
    context: click.Context,
    *,
    bind: str,
    port: int,
    db: Path | None,
    env_file: Path | None,
    log_format: str,
) -> int:
    """Stand between a makima server and daemons that connect here: tasks go to the daemon with the
    fewest of them, and all that is said about a task goes to the server, also after either side was
    away for a while. Nothing is run here.

    MAKIMA_SERVER_URL and MAKIMA_API_KEY say where the server is and with which key to go there,
    MAKIMA_AGENT_NAME what the relay is called. Daemons connect with a key in
    MAKIMA_RELAY_DAEMON_KEYS (several with commas between; without it, with the relay's own).

    On a loopback address everybody on this host may see the status pages; on another one it takes a
    daemon's key. docs/how-to/run-a-relay.md tells more.
    """
    if context.invoked_subcommand is not None:
        return 0
    door: Door = context.obj
    environ = dict(_read(env_file)) | dict(door.terminal.environ)
    settings = from_environment(
        environ, bind=bind, port=port, database=db or _makima(door) / "relay.db"
    )
    terminal = door.terminal
    logging_settings = LoggingSettings(format="json" if log_format == "json" else "pretty")
    colour = terminal.err_tty and terminal.colour
    hidden = [settings.server.api_key, *settings.daemon_keys]
    with (
        logging_to(terminal.err, logging_settings, colour=colour, secrets=hidden),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, door.runtime.clock))
        _log.info("the relay has stopped")
    if door.screen.as_json:
        door.screen.give({"stopped": True})
    return 0


@command.command("init", cls=Verb, epilog=_INIT_EXAMPLES)
@click.option("--server-url", metavar="URL", help="The server's URL.")
@click.option("--name", metavar="NAME", help="What the relay is called at the server.")
@click.option(
    "--key-file",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Read the server's API key from there (- for standard input).",
)
@click.option(
    "--output",
    metavar="PATH",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write there.  [default: ~/.makima/relay.env]",
)
@click.option(
    "--same-key", is_flag=True, help="Let daemons connect with the server's key: none of their own."
)
@click.option("--no-check", is_flag=True, help="Do not try URL and key at the server.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def init(  # noqa: PLR0913 - click gives each option
    door: Door,
    *,
    server_url: str | None,
    name: str | None,
    key_file: Path | None,
    output: Path | None,
    same_key: bool,
    no_check: bool,
    force: bool,
) -> int:
    """Set a relay up: ask for the server's URL, its API key and a name, try them, and write them
    into a file for its user only.

    What an option or MAKIMA_SERVER_URL, MAKIMA_API_KEY or MAKIMA_AGENT_NAME tells is not asked for.
    Daemons get a key of their own, which stands in the file as MAKIMA_RELAY_DAEMON_KEYS.
    """
    file = output or _makima(door) / "relay.env"
    if file.exists() and not force:
        raise UsageError(f"{file} is there already", hint="add --force to replace it")
    environ = door.terminal.environ
    url = checked_url(_answer(door, server_url or environ.get(URL), "URL of the makima server"))
    key = _key(door, key_file)
    called = _named(_answer(door, name or environ.get(NAME), "Name of this relay"))
    if not no_check:
        asyncio.run(introduce(url, key=key, name=called))
    own = {} if same_key else {DAEMON_KEYS: f"mrd_{secrets.token_urlsafe(_KEY_BYTES)}"}
    text = envfile.written({URL: url, KEY: key, NAME: called, **own})
    private_dir(file.parent) if output is None else None
    write_atomically(file, text.encode(), mode=0o600)
    _tell(door, file, url, own=bool(own), checked=not no_check)
    return 0


def _tell(door: Door, file: Path, url: str, *, own: bool, checked: bool) -> None:
    shown = words.home(file, door.runtime.paths.home)
    run = f"tachikoma makima relay --env-file {shlex.quote(str(file))}"
    key = "the key that the file\nhas as MAKIMA_RELAY_DAEMON_KEYS" if own else "the same key"
    trust = "the server lets the relay in" if checked else "the server was not asked"
    lines = [
        f"{shown} is written; {trust}.",
        "",
        "Run the relay:",
        f"  {run}",
        "",
        *f"Let daemons connect to ws://ADDRESS:{PORT}/ws/daemon with {key}.".splitlines(),
    ]
    if in_the_clear(url):
        lines += ["", "The key goes to the server unencrypted: better take a wss:// URL."]
    data = {"file": str(file), "server_url": url, "checked": checked, "run": run}
    door.screen.give(data, lines)


def _makima(door: Door) -> Path:
    return door.runtime.paths.home / ".makima"


def _read(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    with translated(file):
        return envfile.read(file.read_text(encoding="utf-8", errors="replace"), of=str(file))


def _answer(door: Door, given: str | None, question: str) -> str:
    """Give what was told, or ask for it."""
    if given:
        return given.strip()
    _check_somebody_answers(door, question)
    door.screen.settle()
    door.terminal.err.write(f"{question}: ")
    door.terminal.err.flush()
    return door.terminal.read_line().strip()


def _key(door: Door, file: Path | None) -> str:
    """Give the server's key; what is typed is not shown."""
    if file is not None:
        with translated(file), click.open_file(str(file), encoding="utf-8") as stream:
            return _checked_key(stream.read().strip())
    if given := door.terminal.environ.get(KEY, "").strip():
        return _checked_key(given)
    _check_somebody_answers(door, "API key of the server")
    return _checked_key(getpass.getpass("API key of the server (not shown): ").strip())


def _checked_key(key: str) -> str:
    if not key:
        raise MakimaConfigError("there is no API key", hint="the server's operator gives one out")
    return checked_key(key, "what was given")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise MakimaConfigError(
            "a relay's name has letters, digits and . _ - only, at most 63 of them",
            hint="choose something like edge-berlin",
        )
    return name


def _check_somebody_answers(door: Door, question: str) -> None:
    if not door.terminal.stdin_tty or not door.terminal.err_tty or door.screen.as_json:
        raise UsageError(
            f"there is no terminal to ask on for the {question}",
            hint=f"give --server-url, --name and --key-file, or set {URL}, {NAME} and {KEY}",
        )


async def _serve(settings: RelaySettings, clock: Clock) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    def announce(endpoint: Endpoint, name: str) -> None:
        _log.info(
            "relay %s of tachikoma %s listens on %s for %s",
            name,
            VERSION,
            endpoint,
            settings.server.url,
        )
        if not is_loopback(settings.bind):
            _log.warning(
                "daemons send their key unencrypted to %s: put a proxy with TLS before it", endpoint
            )

    await serve(settings, clock=clock, told_to_stop=told, announce=announce)
