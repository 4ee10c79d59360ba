"""A round of crashes: a real daemon process, its server, tasks, and what is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.host.clock import SystemClock
from tachikoma.host.tasks import end, spawn
from tachikoma.makima.commands import Command, InterruptTask, PauseTask, ResumeTask, SpawnTask
from tachikoma.makima.tasks.stream import user_message
from tests.conftest import ROOT
from tests.doubles.makima_server import Daemon, Frame, MakimaServer, Manners
from tests.live.crash_plans import (
    CONFLICTED,
    FILES,
    HARMLESS,
    Blow,
    Job,
    Moment,
    Scenario,
    Victim,
    expected_plan,
)

AGENT = ROOT / "tests" / "doubles" / "claude_code.py"
MOMENT_S = 90.0
ENDED_S = 180.0
LET_IN_S = 40.0
STOPPED_S = 40.0
LOOK_S = 1.0
SILENT_S = 2.5
"""A task of which a connected daemon says nothing for so long is not known to it."""
AGAIN_S = 0.03
HELD_S = 0.4
_OURS = "agent.py"


@dataclass
class Host:
    """Whose daemon it is."""

    home: Path
    environ: Mapping[str, str]

    def git(self, at: Path, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(at), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
            env=dict(self.environ),
        )
        return done.stdout.strip()


@dataclass
class Round:
    """One round, in the directory ``place``. ``hits`` are the blows that met something."""

    host: Host
    place: Path
    scenario: Scenario
    server: MakimaServer
    process: subprocess.Popen[bytes] | None = None
    hits: list[Blow] = field(default_factory=list)
    connections: int = 0
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)

    # The stage

    @property
    def origin(self) -> Path:
        return self.place / "app"

    @property
    def database(self) -> Path:
        return self.place / "state" / "daemon.db"

    @property
    def worktrees(self) -> Path:
        return self.place / "worktrees"

    @property
    def clones(self) -> Path:
        return self.place / "repos"

    @property
    def log(self) -> Path:
        return self.place / "daemon.log"

    def target(self, job: Job) -> Path:
        """Give the user's repository that a task's work goes to."""
        return self.place / f"user-{job.short}"

    def set_up(self) -> None:
        git = self.host.git
        self.origin.mkdir(parents=True)
        git(self.origin, "init", "-q", "-b", "main")
        (self.origin / "many").mkdir()
        for number in range(1, FILES + 1):
            (self.origin / "many" / str(number)).write_text("old\n")
        (self.origin / CONFLICTED).write_text("common\n")
        (self.origin / _OURS).write_text(AGENT.read_text(encoding="utf-8"), encoding="utf-8")
        git(self.origin, "add", ".")
        git(self.origin, "commit", "-q", "-m", "First")
        for job in self.scenario.jobs:
            user = self.target(job)
            git(self.place, "clone", "-q", str(self.origin), str(user))
            (user / "unknown.txt").write_text("the user's\n")
            if job.conflicts:
                (user / CONFLICTED).write_text("ours\n")
                git(user, "commit", "-q", "-am", "Changed by the user")

    def variables(self) -> dict[str, str]:
        command, pre = sys.executable, [str(AGENT)]
        if self.scenario.vm:
            command, pre = "python3", [_OURS]
        settings = {
            "SERVER_URL": self.server.url,
            "SERVER_RECONNECTINTERVALSECS": "1",
            "SERVER_HEARTBEATINTERVALSECS": "1",
            "WORKTREE_BASEDIR": str(self.worktrees),
            "WORKTREE_REPOSDIR": str(self.clones),
            "WORKTREE_CLEANUPONSTART": str(self.scenario.tidy).lower(),
            "PROCESS_CLAUDECOMMAND": command,
            "PROCESS_CLAUDEPREARGS": json.dumps(pre),
            "PROCESS_MAXCONCURRENTTASKS": str(self.scenario.most),
            "PROCESS_ISOLATION": "vm" if self.scenario.vm else "worktree",
            "REPOS_HOMEDIR": str(self.place / "home"),
            "LOCALDB_PATH": str(self.database),
        }
        named = {f"MAKIMA_DAEMON_{name}": value for name, value in settings.items()}
        return {**self.host.environ, **named, "MAKIMA_API_KEY": "mk-crash-0123456789"}

    # The daemon

    def start(self) -> None:
        self.connections = len(self.server.daemons)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tachikoma", "makima", "daemon"],
                cwd=self.place,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self) -> int:
        """End the daemon as a user does; gives its exit status."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, STOPPED_S)

    async def let_in(self) -> Daemon:
        """Wait for the daemon that was started last."""

        def there() -> bool:
            own = self.server.daemons[self.connections :]
            return bool(own) and own[-1].let_in and not own[-1].over

        async with asyncio.timeout(LET_IN_S):
            while True:
                with contextlib.suppress(TimeoutError):
                    await self.server.until(there, deadline_s=LOOK_S)
                    return self.server.daemons[-1]
                self.check_alive()

    def check_alive(self) -> None:
        """Fail at once if the daemon ended and nobody killed it."""
        if not self.restarting.locked():
            assert self.process is not None
            assert self.process.poll() is None, f"the daemon ended by itself: {self.process}"

    def of(self, job: Job, kind: str = "") -> list[Frame]:
        return [
            frame
            for frame in self.server.frames
            if frame.get("taskId") == str(job.task) and (not kind or frame["type"] == kind)
        ]

    def output(self, job: Job) -> str:
        pieces = self.of(job, "taskOutput")
        return "".join(f["output"] + ("" if f["isPartial"] else "\n") for f in pieces)

    def complete(self, job: Job) -> bool:
        return bool(self.of(job, "taskComplete"))

    # What the server does: a daemon that died with an order in hand is told again

    async def order_until_heard(self, job: Job) -> None:
        order = SpawnTask(
            task_id=job.task,
            task_name=f"Task {job.short}",
            plan=job.plan,
            depth=0,
            is_orchestrator=False,
            repo_url=str(self.origin),
            completion_action=job.action,
            target_repo_path=str(self.target(job)),
            target_branch="main" if job.action == "merge" else None,
        )
        while not self.known(job):
            daemon = await self.let_in()
            with contextlib.suppress(ConnectionError):
                await daemon.send(order)
            with contextlib.suppress(TimeoutError):
                await self.server.until(lambda: self.known(job), deadline_s=SILENT_S)

    def known(self, job: Job) -> bool:
        """Tell whether the daemon has said anything of a task, be it in a heartbeat."""
        beats = (frame for frame in self.server.frames if frame["type"] == "heartbeat")
        return bool(self.of(job)) or any(str(job.task) in beat["activeTasks"] for beat in beats)

    # Blows

    async def strike(self, blow: Blow) -> None:
        job = self.scenario.jobs[blow.job]
        with contextlib.suppress(TimeoutError):
            await self.server.until(
                lambda: self.reached(job, blow.moment) or self.complete(job), deadline_s=MOMENT_S
            )
        await SystemClock().sleep(blow.after_s)
        while not await self.hit(blow.victim, job):
            if self.complete(job):
                return
            await SystemClock().sleep(AGAIN_S)
        self.hits.append(blow)

    async def hit(  # noqa: PLR0911 - one for each kind of victim
        self, victim: Victim, job: Job
    ) -> bool:
        """Kill it if it is there, and tell whether it was."""
        match victim:
            case Victim.DAEMON:
                await self.kill_daemon()
                return True
            case Victim.SERVER:
                there = bool(self.server.daemons) and not self.server.daemons[-1].over
                if there:
                    self.server.daemons[-1].cut()
                return there
            case Victim.TASK:
                graceful = job.task.int % 2 == 0
                return await self.tell(job, InterruptTask(task_id=job.task, graceful=graceful))
            case Victim.PAUSE:
                return await self.hold(job)
            case Victim.CONVERSATION:
                return killed(self.conversations(job))
            case Victim.VM:
                return killed(self.processes("qemu-system"))
            case _ if self.scenario.vm:
                return await asyncio.to_thread(self.kill_in_vm, job, victim)
            case _:
                return self.kill_on_host(job, victim)

    def reached(self, job: Job, moment: Moment) -> bool:
        match moment:
            case Moment.ORDERED:
                return bool(self.server.daemons)
            case Moment.INITIALIZING | Moment.RUNNING:
                return any(f["newStatus"] == moment for f in self.of(job, "taskStatusChange"))
            case Moment.FINISHING:
                pieces = self.of(job, "taskOutput")
                return any(f["output"].startswith('{"type": "result"') for f in pieces[-3:])

    async def kill_daemon(self) -> None:
        async with self.restarting:
            assert self.process is not None
            self.process.kill()
            await asyncio.to_thread(self.process.wait, STOPPED_S)
            await SystemClock().sleep(self.scenario.pause_s)
            self.start()

    async def tell(self, job: Job, command: Command) -> bool:
        """Say something about a task that has come, if there is somebody to say it to."""
        if not self.known(job) or self.server.daemons[-1].over:
            return False
        with contextlib.suppress(ConnectionError):
            await self.server.daemons[-1].send(command)
        return True

    async def hold(self, job: Job) -> bool:
        """Have a task stand still for a while."""
        if not await self.tell(job, PauseTask(task_id=job.task)):
            return False
        paused = True
        while paused and not self.complete(job):
            await SystemClock().sleep(HELD_S)
            await self.tell(job, ResumeTask(task_id=job.task))
            await SystemClock().sleep(HELD_S)
            paused = [f["newStatus"] for f in self.of(job, "taskStatusChange")][-1:] == ["paused"]
        return True

    def conversations(self, job: Job) -> list[int]:
        """Give the daemon's children that speak with the holder of a task's agent."""
        assert self.process is not None
        found = []
        for pid in self.processes(str(job.task)):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.process.pid:
                    found.append(pid)
        return found

    def kill_on_host(self, job: Job, victim: Victim) -> bool:
        file = self.database.parent / "agents" / str(job.task) / "agent"
        try:
            pid, birth = json.loads(file.read_text())[victim]
        except (OSError, ValueError):
            return False
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return birth.endswith(f" {fields[19]}") and fields[0] not in "ZX" and killed([pid])

    def kill_in_vm(self, job: Job, victim: Victim) -> bool:
        looks = (
            "import json, os, pathlib; "
            f"f = pathlib.Path.home() / '.makima/agents/{job.task}/agent'; "
            f"os.kill(json.loads(f.read_text())['{victim}'][0], 9)"
        )
        found = [each for each in self.clones.iterdir() if each.name.startswith("app")]
        if not found:
            return False
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tachikoma", "exec", f"makima/task-{job.short}"),
                *("--", "python3", "-c", looks),
            ],
            cwd=found[0],
            env=dict(self.host.environ),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )
        return done.returncode == 0

    # What is there

    def processes(self, name: str = "") -> list[int]:
        """Every process that works in this round's directory, or has to do with it."""
        found = []
        marks = [os.fsencode(self.host.home if name else self.place) + b"/"]
        marks += [] if name else [f"TASK_ID={job.task}".encode() for job in self.scenario.jobs]
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                whole = command + (entry / "environ").read_bytes()
                if any(mark in whole for mark in marks) and os.fsencode(name) in command:
                    found.append(int(entry.name))
        return found

    async def play(self) -> float:
        """Do it all, until every task is complete; gives the seconds that it took."""
        began = time.monotonic()
        self.start()
        await self.let_in()
        orders = [
            spawn(self.order_until_heard(job), name=f"order {job.short}")
            for job in self.scenario.jobs
        ]
        blows = [spawn(self.strike(blow), name=str(blow)) for blow in self.scenario.blows]
        try:
            async with asyncio.timeout(ENDED_S):
                while not all(map(self.complete, self.scenario.jobs)):
                    with contextlib.suppress(TimeoutError):
                        await self.server.until(
                            lambda: all(map(self.complete, self.scenario.jobs)), deadline_s=LOOK_S
                        )
                    self.check_alive()
                await asyncio.gather(*blows)
            await self.let_in()  # a daemon that was killed last is up again
        finally:
            for each in (*orders, *blows):
                await end(each)
        return time.monotonic() - began

    def harmed(self, job: Job) -> bool:
        """Tell whether something was killed without which a task need not succeed."""
        return any(
            blow.victim not in HARMLESS and self.scenario.jobs[blow.job] is job
            for blow in self.hits
        )

    def expected_output(self, job: Job) -> str:
        """Give what the agent prints if nobody kills it: it is asked again, elsewhere."""
        place = self.place / f"again-{job.short}"
        place.mkdir()
        done = subprocess.run(
            [sys.executable, str(AGENT)],
            cwd=place,
            input=user_message(expected_plan(job.plan), job.task),
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode()


def killed(pids: list[int]) -> bool:
    """Kill these, and tell whether there were any."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


@asynccontextmanager
async def round_at(host: Host, place: Path, scenario: Scenario) -> AsyncIterator[Round]:
    """Set the stage of a round, and leave nothing running of it."""
    place.mkdir()
    async with MakimaServer(manners=Manners(counts=True)) as server:
        one = Round(host, place, scenario, server)
        one.set_up()
        try:
            yield one
        finally:
            if one.process is not None:
                one.process.kill()
                one.process.wait(STOPPED_S)
            killed(one.processes())
