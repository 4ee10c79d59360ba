"""What a daemon does with its connections to the server: events in, effects out (pure).

One `Session` lives as long as the daemon. A connection goes through `opened`, `received` and
`lost`; one that does not come about, through `failed`. A frame that cannot be read ends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal
from uuid import UUID

from tachikoma.makima.commands import Authenticated, Command, Error
from tachikoma.makima.messages import Authenticate, DaemonDirectories, Heartbeat, Message
from tachikoma.makima.settings import ServerSettings
from tachikoma.makima.wire import BadFrame, decode_command
from tachikoma.model.errors_fleet import MakimaError, RefusedError, UnreachableError

LONGEST_FRAME = 16 * 1024 * 1024
"""Characters of a frame that is read; a longer one is a bad frame."""

_REFUSES = frozenset({401, 403})
_SELDOM = 60
"""Of many failures for one reason in a row, the first few and then each so many are told."""
_JITTER = 0.2
_LONGEST_TOLD = 300
_TEMPORARY = frozenset(
    {
        *("busy", "capacity", "overload", "overloaded", "rate", "throttled", "limited", "quota"),
        *("temporary", "temporarily", "transient", "later", "retry", "again", "timeout"),
        *("unavailable", "maintenance", "starting", "restarting", "draining", "shutdown"),
        *("internal", "429", "500", "502", "503", "504"),
    }
)
"""Words in the code of an `error` that say: not you, not now."""

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the daemon is to its server."""

    machine_id: str
    hostname: str
    max_concurrent_tasks: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a connection did not come about, and what helps; ``status`` is the HTTP status, if
    there was one.
    """

    reason: str
    hint: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Say this now; it is not kept."""

    message: Message


@dataclass(frozen=True, slots=True)
class LetFlow:
    """Say what the outbox holds. ``heard``, if not None, is the number of the last message that the
    server says it has; such a server wants every message with its number.
    """

    heard: int | None = None


@dataclass(frozen=True, slots=True)
class Perform:
    """Do what the server asks."""

    command: Command


@dataclass(frozen=True, slots=True)
class Drop:
    """Pass over a frame that cannot be read, the ``count``-th of this daemon's life."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Write it to the log."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection; what comes of that is `Session.lost`'s."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Wait, then connect."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End for good."""

    error: MakimaError = field(compare=False)


Effect = Send | LetFlow | Perform | Drop | Tell | HangUp | Reconnect | Stop
Effects = tuple[Effect, ...]


class _State(Enum):
    AWAY = auto()
    WAITING_TO_BE_LET_IN = auto()
    IN = auto()


class Session:
    """Decides what to say and do; ``chance`` gives numbers from 0 to 1 for the pauses."""

    def __init__(
        self,
        *,
        settings: ServerSettings,
        identity: Identity,
        directories: DaemonDirectories,
        chance: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._directories = directories
        self._chance = chance
        self._state = _State.AWAY
        self._put_off = False
        self._bad = 0
        self._failures = 0
        self._told = ""
        self._alike = 0

    def opened(self) -> Effects:
        """A connection is there: say who we are."""
        self._state = _State.WAITING_TO_BE_LET_IN
        self._put_off = False
        who = self._identity
        return (
            Send(
                Authenticate(
                    api_key=self._settings.api_key,
                    machine_id=who.machine_id,
                    hostname=who.hostname,
                    max_concurrent_tasks=who.max_concurrent_tasks,
                )
            ),
        )

    def received(self, frame: str | bytes) -> Effects:
        """A frame came: text, or bytes if it was binary or no UTF-8."""
        match _read(frame), self._state:
            case BadFrame(reason), _:
                return self._dropped(reason)
            case Authenticated() as welcome, _State.WAITING_TO_BE_LET_IN:
                return self._let_in(welcome)
            case Error() as error, _State.WAITING_TO_BE_LET_IN:
                return self._refused(error)
            case Error() as error, _:
                return (Tell("warning", f"the server says: {_quoted(error)}"),)
            case command, _State.IN if not isinstance(command, Authenticated):
                return (Perform(command),)
            case command, _:
                return self._dropped(f"`{command.type}` out of turn")

    def heartbeat_due(self, active: Sequence[UUID]) -> Effects:
        """It is time to say that we live, and what we work on."""
        if self._state is not _State.IN:
            return ()
        return (Send(Heartbeat(active_tasks=tuple(active))),)

    def overdue(self, after_s: float) -> Effects:
        """So long after `opened`: a server that has not answered by now will not."""
        if self._state is not _State.WAITING_TO_BE_LET_IN:
            return ()
        return (HangUp(f"the server did not answer `authenticate` within {after_s:.0f} s"),)

    def failed(self, failure: Failure) -> Effects:
        """No connection came about."""
        if failure.status in _REFUSES:
            return (Stop(self._refusal(failure.reason)),)
        return self._again(failure)

    def lost(self, reason: str) -> Effects:
        """The connection is gone."""
        before, self._state = self._state, _State.AWAY
        if before is _State.IN:
            return self._again(Failure(f"the connection was lost: {reason}", ""))
        if self._put_off:  # it has said why, and it is a makima server
            return self._again(Failure(reason, ""))
        return self._again(
            Failure(
                f"{reason}, before the daemon was let in",
                "is it a makima server, and does server.url name its path for daemons?",
            )
        )

    def _let_in(self, welcome: Authenticated) -> Effects:
        self._state = _State.IN
        self._failures = self._alike = 0
        self._told = ""
        return (
            Tell("info", f"connected to {self._settings.url} as daemon {welcome.daemon_id}"),
            Send(self._directories),
            LetFlow(welcome.last_seq),
        )

    def _refused(self, error: Error) -> Effects:
        said = f"it says: {_quoted(error)}"
        if is_temporary(error.code):
            self._put_off = True
            return (HangUp(f"the server lets no daemon in for now; {said}"),)
        return (Stop(self._refusal(said)),)

    def _refusal(self, said: str) -> RefusedError:
        return RefusedError(
            f"{self._settings.url} does not let this daemon in; {said}",
            hint="check the API key (MAKIMA_API_KEY, or server.api_key in the configuration), and "
            "that server.url is the server that gave it out",
        )

    def _dropped(self, reason: str) -> Effects:
        self._bad += 1
        return (Drop(_printable(reason), self._bad),)

    def _again(self, failure: Failure) -> Effects:
        """Connect again after a pause, or stop if that was tried often enough."""
        self._state = _State.AWAY
        self._failures += 1
        most, url = self._settings.max_reconnect_attempts, self._settings.url
        if 0 < most < self._failures:
            error = UnreachableError(
                f"{url} was not reached in {most} attempts; the last time: {failure.reason}",
                hint=failure.hint or "see that the server runs, then start the daemon again",
            )
            return (Stop(error),)
        pause = self._settings.reconnect_interval_secs * (1 + _JITTER * self._chance())
        self._alike = self._alike + 1 if failure.reason == self._told else 1
        self._told = failure.reason
        if not _worth_telling(self._alike):
            return (Reconnect(pause),)
        of = f" of {most}" if most else ""
        times = f", {self._alike} times in a row" if self._alike > 1 else ""
        hint = f"; {failure.hint}" if failure.hint else ""
        text = (
            f"{url}: {failure.reason}{times}{hint} "
            f"(trying again in {pause:.0f} s, attempt {self._failures}{of})"
        )
        return (Tell("warning", text), Reconnect(pause))


def is_temporary(code: str) -> bool:
    """Tell whether an error's code says that a later attempt may do better."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", code)
    return any(word.lower() in _TEMPORARY for word in words)


def _worth_telling(alike: int) -> bool:
    """The 1st, 2nd, 4th, 8th, ... and later every 60th: nobody reads a line for each."""
    return alike & (alike - 1) == 0 if alike < _SELDOM else alike % _SELDOM == 0


def _read(frame: str | bytes) -> Command | BadFrame:
    if isinstance(frame, bytes):
        return BadFrame(f"{len(frame)} bytes that are no text")
    if len(frame) > LONGEST_FRAME:
        return BadFrame(f"{len(frame)} characters, of which at most {LONGEST_FRAME} are read")
    return decode_command(frame)


def _quoted(error: Error) -> str:
    return f"{_printable(error.message)} ({_printable(error.code)})"


def _printable(text: str) -> str:
    """What another machine said, fit for one line of a log."""
    line = "".join(each if each.isprintable() else " " for each in text[: _LONGEST_TOLD + 1])
    return line if len(line) <= _LONGEST_TOLD else f"{line[: _LONGEST_TOLD - 1]}…"
