from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tachikoma.model.errors import SshUnreachableError, VmNotRunningError
from tachikoma.model.errors_fleet import SessionNotFoundError, SupervisorError
from tachikoma.model.names import VmName
from tachikoma.ssh.port import Login
from tachikoma.supervisor import multiplexer
from tachikoma.supervisor.session_book import SessionBook
from tachikoma.supervisor.sessions import Session, Sessions, SessionState, chosen_of
from tachikoma.vm.requests import DestroyRequest, HaltRequest, SpawnOutcome, SpawnRequest, Target
from tests.unit.cli.stand import CommandLine, ScriptedShell, SyntheticRuntime

MAIN = VmName("tachikoma-box-main")
CLAUDE = ("claude", "--dangerously-skip-permissions")


@dataclass(slots=True)
class Guests(ScriptedShell):
    """VMs with a tmux that does what the scripts ask of it: its sessions are lines of screens."""

    sessions: dict[str, list[str]] = field(default_factory=dict)
    places: dict[str, VmName] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    says: int | None = None
    silent: bool = False
    frames: list[list[str]] = field(default_factory=list)

    async def run(
        self,
        login: Login,
        command: Sequence[str],
        *,
        directory: str,
        stdin: int | None,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[bytes], None],
    ) -> int:
        self.ran.append((tuple(command), directory, stdin))
        if self.silent:
            raise SshUnreachableError("nobody is there", hint="look")
        verb, name, *rest = (*command[3:], "", "")
        if verb == "start" and self.says is not None:
            on_stderr(b"so it is")
            return self.says
        if verb == "show" and name not in self.sessions:
            return 1
        if verb == "start":
            self.sessions[name], self.places[name] = [" ".join(rest[:-2])], login.vm
        if verb == "kill":
            self.sessions.pop(name, None)
        on_stdout(self.said(verb, name, login.vm).encode())
        return 0

    def said(self, verb: str, name: str, vm: VmName) -> str:
        """Give what a script says."""
        match verb:
            case "list":
                here = [each for each in self.sessions if self.places.get(each, MAIN) == vm]
                ends = {each: "1 0 3" if each in self.ended else "0 1 " for each in here}
                return "".join(f"{each} 1700000000 {how}\n" for each, how in ends.items())
            case "show":
                return "".join(f"{line}  \n" for line in self.sessions[name]) + "\n\n"
            case "follow":
                return "".join(f"{line}\n" for each in self.frames for line in [*each, "\x1e"])
            case _:
                return ""


@dataclass(frozen=True, slots=True)
class Stand:
    """A repository, an engine, and the background sessions over both."""

    runtime: SyntheticRuntime
    guests: Guests
    sessions: Sessions

    async def spawn(self, branch: str | None = None) -> SpawnOutcome:
        request = SpawnRequest(cwd=self.runtime.cwd, branch=branch)
        return await self.runtime.orchestrator.spawn(request, lambda _: None)

    async def start(self, branch: str | None = None, *, name: str | None = None) -> Session:
        return await self.sessions.start(await self.spawn(branch), name=name, program=CLAUDE)

    async def seen(self) -> list[tuple[str, SessionState, str]]:
        return [(each.name, each.state, each.note) for each in await self.sessions.survey()]


@pytest.fixture
async def stand(own_home: Path) -> Stand:
    line = CommandLine(own_home)
    line.shell = guests = Guests()
    runtime = SyntheticRuntime(line, environ={"HOME": str(own_home)}, engine=None)
    await runtime.load_settings()
    book = SessionBook(own_home / "sessions.json")
    return Stand(runtime, guests, Sessions(ports=runtime.ports, book=book))


async def test_a_session_starts_in_the_worktree_and_is_seen_running(stand: Stand) -> None:
    session = await stand.start()
    command, directory, _ = stand.guests.ran[-1]
    assert command == multiplexer.start_command("main", CLAUDE)
    assert directory == str(session.worktree) == "/src/box"
    (seen,) = await stand.sessions.survey()
    stand.sessions.check_running(seen)
    assert seen == replace(session, attached=1)
    assert (seen.name, seen.vm, seen.branch, seen.state) == (
        "main",
        MAIN,
        "main",
        SessionState.RUNNING,
    )


async def test_a_second_session_of_a_branch_gets_a_name_of_its_own(stand: Stand) -> None:
    names = [(await stand.start()).name for _ in range(3)]
    assert names == ["main", "main-2", "main-3"]
    assert (await stand.start(name="docs")).name == "docs"
    with pytest.raises(SupervisorError, match="there is a session docs already"):
        await stand.start(name="docs")
    stand.guests.ended.append("docs")
    with pytest.raises(SupervisorError, match="docs already, which has ended"):
        await stand.start(name="docs")


@pytest.mark.parametrize("name", ["", "a b", "Docs", "a.b", "a:b", "-a", "x" * 60])
async def test_what_tmux_would_take_for_something_else_is_no_name(stand: Stand, name: str) -> None:
    with pytest.raises(SupervisorError, match="is no name for a session"):
        await stand.start(name=name)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (multiplexer.NO_TMUX, f"{MAIN} has no tmux"),
        (multiplexer.NO_CLAUDE, f"{MAIN} has no Claude Code"),
        (multiplexer.TAKEN, "there is a session main already"),
        (1, f"tmux in {MAIN} starts no session"),
    ],
)
async def test_what_does_not_start_leaves_no_record(stand: Stand, status: int, told: str) -> None:
    stand.guests.says = status
    with pytest.raises(Exception, match=told):
        await stand.start()
    assert await stand.seen() == []


async def test_a_session_is_seen_to_have_ended_and_why(stand: Stand) -> None:
    await stand.start()
    stand.guests.ended.append("main")
    ended = SessionState.ENDED
    assert await stand.seen() == [("main", ended, "Claude Code has ended with status 3")]
    found = await stand.sessions.find("main", vm=None)
    assert await stand.sessions.text(found) == [" ".join(CLAUDE)]
    with pytest.raises(SupervisorError, match="main: Claude Code has ended with status 3"):
        stand.sessions.check_running(found)
    stand.guests.sessions.clear()
    assert await stand.seen() == [("main", ended, "its VM was started anew")]
    target = Target(cwd=stand.runtime.cwd)
    await stand.runtime.orchestrator.halt(HaltRequest(target, force=True), lambda _: None)
    assert await stand.seen() == [("main", ended, "its VM was stopped")]
    await stand.runtime.orchestrator.destroy(DestroyRequest(target, force=True), lambda _: None)
    assert await stand.seen() == [("main", ended, "its VM is gone")]
    found = await stand.sessions.find("main", vm=None)
    with pytest.raises(SupervisorError, match="main: its VM is gone"):
        await stand.sessions.text(found)
    with pytest.raises(VmNotRunningError):
        await stand.sessions.way_in(found)
    await stand.sessions.kill(found)
    assert await stand.seen() == []


async def test_a_vm_that_does_not_answer_makes_its_sessions_unknown(stand: Stand) -> None:
    await stand.start()
    stand.guests.silent = True
    note = "its VM does not answer: nobody is there"
    assert await stand.seen() == [("main", SessionState.UNKNOWN, note)]


async def test_a_session_that_nobody_recorded_is_found_in_its_vm(stand: Stand) -> None:
    await stand.spawn()
    stand.guests.sessions["lost"] = ["a screen"]
    (found,) = await stand.sessions.survey()
    assert (found.name, found.vm, found.state) == ("lost", MAIN, SessionState.RUNNING)
    assert await stand.sessions.text(found) == ["a screen"]
    await stand.sessions.kill(found)
    assert await stand.seen() == []


async def test_a_vm_cannot_pose_as_another_ones_session(stand: Stand) -> None:
    await stand.start(name="night")
    await stand.spawn("feature/x")
    stand.guests.places["night"] = (await stand.spawn("feature/x")).name
    assert await stand.seen() == [("night", SessionState.ENDED, "its VM was started anew")]


async def test_what_a_session_shows_is_given_as_lines(stand: Stand) -> None:
    session = await stand.start()
    stand.guests.sessions["main"] = ["one", "", "two"]
    assert await stand.sessions.text(session) == ["one", "", "two"]
    stand.guests.frames = [["one"], ["one", "two"], [], []]
    told: list[str] = []
    await stand.sessions.follow(session, told.extend)
    assert told == ["one", "two"]


async def test_the_session_that_is_meant_is_found(stand: Stand) -> None:
    with pytest.raises(SessionNotFoundError, match="there is no background session"):
        await stand.sessions.find(None, vm=None)
    await stand.start()
    await stand.start("feature/x", name="docs")
    assert (await stand.sessions.find(None, vm=MAIN)).name == "main"
    assert (await stand.sessions.find("feature/x", vm=None)).name == "docs"
    with pytest.raises(SessionNotFoundError, match="no session 'other'"):
        await stand.sessions.find("other", vm=None)
    with pytest.raises(SessionNotFoundError, match="the session could be "):
        await stand.sessions.find(None, vm=None)


def session(name: str, branch: str, vm: str) -> Session:
    return Session(name, VmName(vm), branch, Path("/w"), 0.0, SessionState.RUNNING, there=True)


NIGHT = session("night", "main", "tachikoma-box-main")
NIGHT_2 = session("night-2", "feature", "tachikoma-box-feature")
FEATURE = session("feature-9", "main", "tachikoma-box-main")
ALL = (NIGHT, NIGHT_2, FEATURE)


@pytest.mark.parametrize(
    ("name", "vm", "found"),
    [
        ("night", None, [NIGHT]),
        ("nig", None, [NIGHT, NIGHT_2]),
        ("night-", None, [NIGHT_2]),
        ("feature", None, [NIGHT_2]),
        ("feat", None, [FEATURE]),
        ("main", None, [NIGHT, FEATURE]),
        ("tachikoma-box-feature", None, [NIGHT_2]),
        ("x", None, []),
        (None, "tachikoma-box-feature", [NIGHT_2]),
        (None, "tachikoma-box-other", [*ALL]),
        (None, None, [*ALL]),
    ],
)
def test_the_best_meaning_of_a_word_counts(
    name: str | None, vm: str | None, found: list[Session]
) -> None:
    assert chosen_of(ALL, name, VmName(vm) if vm else None) == found
