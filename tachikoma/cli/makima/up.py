"""``tachikoma makima up``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from tachikoma.cli import supervision, words
from tachikoma.cli.door import Door
from tachikoma.cli.makima.server import database_of, db_option
from tachikoma.cli.verb import Verb
from tachikoma.host.clock import attempts
from tachikoma.host.files import write_atomically
from tachikoma.host.paths import private_dir
from tachikoma.makima.client.account import Account, account, account_file, keep
from tachikoma.makima.client.calls import ServerCalls
from tachikoma.makima.server.keyring import Keyring
from tachikoma.makima.server.shapes import KeyKind
from tachikoma.makima.server.store import keyring_at
from tachikoma.model.errors_fleet import (
    NotLoggedInError,
    RequestError,
    SupervisorBusyError,
    SupervisorError,
)
from tachikoma.model.events import StepEnded, StepStarted
from tachikoma.runtime import Runtime
from tachikoma.supervisor.control import Standing
from tachikoma.supervisor.record import WorkerRecord
from tachikoma.supervisor.workers import Options, Worker

_COMES_UP_S = 90.0
_NAME = "makima-up"
_PERSON, _MACHINES = "up-user", "up-daemon"
_EXAMPLES = """\b
Examples:
  tachikoma makima up
  tachikoma task run "Write the tests that are missing" --follow
  tachikoma makima down
"""


@dataclass(frozen=True, slots=True)
class Team:
    """The server that is run here, and where its keys and its database are."""

    port: int
    database: Path

    @property
    def user_key(self) -> Path:
        """The file of the key with which its user comes."""
        return self.database.with_name("user.key")

    @property
    def daemon_key(self) -> Path:
        """The file of its daemon's key."""
        return self.database.with_name("daemon.key")

    @property
    def url(self) -> str:
        """Where the server answers, and the dashboard is."""
        return f"http://127.0.0.1:{self.port}"


@click.command("up", cls=Verb, epilog=_EXAMPLES)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, help="The port (8080).")
@db_option
@click.option("--foreground", is_flag=True, help="Stay here until Ctrl-C, and say everything.")
@click.option("--quiet", is_flag=True, hidden=True, help="Say everything to the log only.")
@click.pass_obj
def command(door: Door, *, port: int, db: Path | None, foreground: bool, quiet: bool) -> int:
    """Run a makima server with its dashboard, one daemon and the credential proxy on this machine,
    for you alone: a supervisor keeps them running. Keys are made by themselves, and you are logged
    in.

    Started again it changes nothing. `tachikoma daemon status` and `tachikoma daemon logs` show how
    they are, `tachikoma makima down` stops them; tasks that are at work then go on when it is up
    again.
    """
    database = database_of(door.runtime, db)
    team = Team(port, database)
    if foreground:
        door.run(lambda runtime: _stay(door, runtime, team, quiet=quiet), settled=False)
        door.screen.give({"was_running": True})
        return 0

    async def work(runtime: Runtime) -> bool:
        return await _bring_up(door, runtime, team)

    started = door.run(work, settled=False)
    data: dict[str, object] = {"url": team.url, "started": started, "database": str(database)}
    door.screen.give(data, _told(door, team, started=started))
    return 0


def _told(door: Door, team: Team, *, started: bool) -> list[str]:
    style, home = door.screen.style, door.runtime.paths.home
    log = words.home(supervision.log_file(door.runtime), home)
    return [
        f"{style('makima is up', 'green')}{'' if started else ', and was before'}: {team.url}",
        '  run a task    tachikoma task run "Write the tests that are missing" --follow',
        f"  dashboard     {team.url}/ (the key is in {words.home(team.user_key, home)})",
        f"  log           tachikoma daemon logs -f   ({log})",
        "  stop          tachikoma makima down",
    ]


async def _bring_up(door: Door, runtime: Runtime, team: Team) -> bool:
    """Start it in the background and wait until it works; tell whether it did not run before.

    Raises:
        SupervisorBusyError: another supervisor of this user runs.
        SupervisorError: it does not come up.
    """
    control = supervision.control(runtime)
    found = control.look()
    running = found.standing is Standing.RUNNING and found.record is not None
    if running and found.record is not None and found.record.name != _NAME:
        raise SupervisorBusyError(
            f"another supervisor runs: process {found.record.pid}, with"
            f" {', '.join(found.record.worker_kinds)}",
            hint="`tachikoma daemon stop` ends it; then `tachikoma makima up` again",
        )
    made = await _keys(runtime, team)
    if not running:
        words_ = ("makima", "up", "--foreground", "--quiet", f"--port={team.port}")
        await control.start(
            (*supervision.program(runtime), *words_, f"--db={team.database}"),
            environ=runtime.environ,
            said=runtime.paths.logs / "makima-up.log",
        )
    door.screen.report(StepStarted("up", "Waiting for the server and its daemon"))
    began = runtime.clock.monotonic()
    await _until_it_works(runtime, made)
    door.screen.report(StepEnded("up", runtime.clock.monotonic() - began))
    return not running


async def _until_it_works(runtime: Runtime, made: Account) -> None:
    """Wait until the server answers and its daemon is connected.

    Raises:
        SupervisorError: that does not come to pass.
    """
    trouble = "the server does not answer"
    async with ServerCalls(made, clock=runtime.clock) as calls:
        async for _ in attempts(runtime.clock, deadline_s=_COMES_UP_S, first_s=0.1):
            try:
                if (await calls.get("/overview"))["daemonsConnected"]:
                    return
                trouble = "no daemon connects"
            except RequestError as error:
                trouble = error.message
            if (worker := _ended(runtime)) is not None:
                trouble = f"its {worker.kind} has ended with {worker.last_exit}"
                break
    raise SupervisorError(
        f"makima does not come up: {trouble}",
        hint="`tachikoma daemon logs` tells why; `tachikoma makima down` clears up",
    )


def _ended(runtime: Runtime) -> WorkerRecord | None:
    """Give a worker that has come to an end, so that waiting longer is of no use."""
    record = supervision.control(runtime).look().record
    workers = record.workers if record is not None else ()
    return next((each for each in workers if each.state == "parked" or each.rapid > 1), None)


async def _stay(door: Door, runtime: Runtime, team: Team, *, quiet: bool) -> None:
    """Be the supervisor until told to stop."""
    await _keys(runtime, team)
    home = private_dir(team.database.parent)
    program = supervision.program(runtime)
    server = ("makima", "server", f"--port={team.port}", f"--db={team.database}", "--show-machine")
    workers = (
        Worker("server", (*program, *server), "makima up", {}),
        Worker(
            "makima",
            (*program, "makima", "daemon"),
            "makima up",
            {
                "MAKIMA_API_KEY": _read(team.daemon_key),
                "MAKIMA_DAEMON_SERVER_URL": team.url.replace("http", "ws", 1),
            },
        ),
        Worker("proxy", (*program, "proxy", "start", "--wait"), "VMs reach the API through it", {}),
    )
    options = Options(directory=home, name=_NAME)
    await supervision.supervise(door, workers, options, notes=(), quiet=quiet)


async def _keys(runtime: Runtime, team: Team) -> Account:
    """See to it that there is a key for the user and one for the daemon, and that they are good.
    Who is logged in to a server elsewhere stays so.
    """
    file = account_file(runtime.paths.config)
    private_dir(team.database.parent)
    async with keyring_at(team.database, clock=runtime.clock) as keys:
        await _see_to(keys, team.daemon_key, _MACHINES, KeyKind.DAEMON)
        await _see_to(keys, team.user_key, _PERSON, KeyKind.USER)
    made = Account(team.url, _read(team.user_key))
    kept = _kept(file)
    if kept is None or (kept.is_here and kept != made):
        keep(file, made)
    return made


async def _see_to(keys: Keyring, file: Path, name: str, kind: KeyKind) -> None:
    """Put a key into ``file``, unless there is a good one."""
    found = await keys.find(_read(file))
    if found is not None and found.kind is kind:
        return
    if any(each.name == name and each.revoked is None for each in await keys.keys()):
        await keys.revoke(name)
    write_atomically(file, f"{await keys.create(name, kind)}\n".encode())


def _kept(file: Path) -> Account | None:

    try:
        return account(file, {})
    except NotLoggedInError:
        return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
