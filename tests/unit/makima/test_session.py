from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.commands import Authenticated, Command, Error, PauseTask
from tachikoma.makima.messages import Authenticate, DaemonDirectories, Heartbeat
from tachikoma.makima.session import (
    LONGEST_FRAME,
    Drop,
    Effect,
    Effects,
    Failure,
    HangUp,
    Identity,
    LetFlow,
    Perform,
    Reconnect,
    Send,
    Session,
    Stop,
    Tell,
    is_temporary,
)
from tachikoma.makima.settings import ServerSettings
from tachikoma.makima.wire import encode
from tachikoma.model.errors import TachikomaError
from tachikoma.model.errors_fleet import RefusedError, UnreachableError

TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
DIRECTORIES = DaemonDirectories(
    working_directory="/work", home_directory="/home/ada", worktrees_directory="/worktrees"
)
URL = "wss://makima.example/ws/daemon"
WELCOME = encode(Authenticated(daemon_id=TASK))
AUTHENTICATE = Send(
    Authenticate(api_key="secret", machine_id="m", hostname="h", max_concurrent_tasks=4)
)
GONE = Failure("connection refused", "see that it runs")


def made(*, most: int = 0, chance: float = 0.0) -> Session:
    return Session(
        settings=ServerSettings(url=URL, api_key="secret", max_reconnect_attempts=most),
        identity=Identity("m", "h", 4),
        directories=DIRECTORIES,
        chance=lambda: chance,
    )


def let_in(session: Session) -> Session:
    session.opened()
    session.received(WELCOME)
    return session


def error_of(effects: Effects) -> TachikomaError:
    (stop,) = effects
    assert isinstance(stop, Stop)
    return stop.error


def told(effects: Effects) -> list[str]:
    return [each.text for each in effects if isinstance(each, Tell)]


def test_a_daemon_says_who_it_is_and_once_let_in_where_it_keeps_things() -> None:
    session = made()
    assert session.opened() == (AUTHENTICATE,)
    assert session.received(WELCOME) == (
        Tell("info", f"connected to {URL} as daemon {TASK}"),
        Send(DIRECTORIES),
        LetFlow(None),
    )
    assert session.heartbeat_due([TASK]) == (Send(Heartbeat(active_tasks=(TASK,))),)
    assert session.overdue(20) == ()


def test_a_server_that_counts_says_what_it_has() -> None:
    session = made()
    session.opened()
    effects = session.received(encode(Authenticated(daemon_id=TASK, last_seq=7)))
    assert effects[-1] == LetFlow(7)


def test_every_connection_begins_anew() -> None:
    session = let_in(made())
    assert session.lost("it broke off")[-1] == Reconnect(5.0)
    assert session.heartbeat_due([]) == ()
    assert session.opened() == (AUTHENTICATE,)
    assert session.heartbeat_due([]) == ()
    assert session.received(WELCOME)[1:] == (Send(DIRECTORIES), LetFlow(None))


def test_commands_are_performed_in_the_order_in_which_they_came() -> None:
    session = let_in(made())
    pause = PauseTask(task_id=TASK)
    assert session.received(encode(pause)) == (Perform(pause),)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ("", "this is not JSON"),
        ("[]", "Input should be"),
        ('{"type":"dance"}', "there is no 'dance'"),
        ('{"type":"pauseTask","taskId":7}', "taskId"),
        (encode(Heartbeat(active_tasks=())), "there is no 'heartbeat'"),
        (WELCOME, "`authenticated` out of turn"),
        (b"\0\1", "2 bytes that are no text"),
        ("x" * (LONGEST_FRAME + 1), f"at most {LONGEST_FRAME} are read"),
        ('{"type":"a\\nb"}', "there is no"),
    ],
)
def test_a_bad_frame_is_dropped_counted_and_ends_nothing(frame: str | bytes, why: str) -> None:
    session = let_in(made())
    for count in (1, 2):
        (drop,) = session.received(frame)
        assert isinstance(drop, Drop)
        assert drop.count == count
        assert why in drop.reason
        assert "\n" not in drop.reason
    assert session.received(encode(PauseTask(task_id=TASK))) == (Perform(PauseTask(task_id=TASK)),)


def test_a_command_before_the_daemon_was_let_in_is_dropped() -> None:
    session = made()
    session.opened()
    (drop,) = session.received(encode(PauseTask(task_id=TASK)))
    assert drop == Drop("`pauseTask` out of turn", 1)
    assert session.received(WELCOME)[-1] == LetFlow(None)


def test_an_error_later_on_is_told_on_one_line() -> None:
    session = let_in(made())
    assert session.received(encode(Error(code="bad_message", message="What?\n\x1b[2JNo."))) == (
        Tell("warning", "the server says: What?  [2JNo. (bad_message)"),
    )


@pytest.mark.parametrize("code", ["invalid_api_key", "unauthorized", "", "nope", "AUTH_FAILED"])
def test_an_error_instead_of_a_welcome_is_for_good(code: str) -> None:
    session = made()
    session.opened()
    error = error_of(session.received(encode(Error(code=code, message="Bad key."))))
    assert isinstance(error, RefusedError)
    assert error.message == f"{URL} does not let this daemon in; it says: Bad key. ({code})"
    assert "MAKIMA_API_KEY" in error.hint
    assert "secret" not in error.message + error.hint


@pytest.mark.parametrize(
    "code",
    ["server_busy", "rateLimited", "SERVICE_UNAVAILABLE", "503", "HTTP429", "try-again-later"],
)
def test_an_error_that_says_not_now_is_no_refusal(code: str) -> None:
    assert is_temporary(code)
    session = made()
    session.opened()
    (hang_up,) = session.received(encode(Error(code=code, message="Later.")))
    assert isinstance(hang_up, HangUp)
    assert session.lost(hang_up.reason) == (
        Tell(
            "warning",
            f"{URL}: the server lets no daemon in for now; it says: Later. ({code}) "
            "(trying again in 5 s, attempt 1)",
        ),
        Reconnect(5.0),
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_door_that_is_shut_to_this_daemon_is_for_good(status: int) -> None:
    error = error_of(made().failed(Failure(f"it answers HTTP {status}", "", status)))
    assert isinstance(error, RefusedError)
    assert error.message.endswith(f"it answers HTTP {status}")


@pytest.mark.parametrize("status", [None, 404, 500, 502, 503])
def test_every_other_failure_may_pass(status: int | None) -> None:
    effects = made().failed(Failure("what it is", "what helps", status))
    assert effects == (
        Tell("warning", f"{URL}: what it is; what helps (trying again in 5 s, attempt 1)"),
        Reconnect(5.0),
    )


def test_a_server_that_says_nothing_is_left() -> None:
    session = made()
    session.opened()
    (hang_up,) = session.overdue(20)
    assert hang_up == HangUp("the server did not answer `authenticate` within 20 s")
    assert "server.url" in told(session.lost("it did not answer"))[0]


def test_pauses_differ_a_little() -> None:
    assert made(chance=1.0).failed(GONE)[-1] == Reconnect(6.0)


def test_a_reason_is_told_when_it_changes_and_then_now_and_then() -> None:
    session = made()
    spoken = [number for number in range(1, 200) if told(session.failed(GONE))]
    assert spoken == [1, 2, 4, 8, 16, 32, 60, 120, 180]
    (line,) = told(session.failed(Failure("no address", "check the DNS")))
    assert line == f"{URL}: no address; check the DNS (trying again in 5 s, attempt 200)"
    session.failed(GONE)
    (line,) = told(session.failed(GONE))
    assert "connection refused, 2 times in a row" in line


def test_after_so_many_attempts_it_is_over() -> None:
    session = made(most=2)
    assert "attempt 1 of 2" in told(session.failed(GONE))[0]
    assert session.failed(GONE)[-1] == Reconnect(5.0)
    error = error_of(session.failed(GONE))
    assert isinstance(error, UnreachableError)
    assert (
        error.message == f"{URL} was not reached in 2 attempts; the last time: connection refused"
    )
    assert error.hint == "see that it runs"


def test_attempts_are_counted_anew_once_the_daemon_was_let_in() -> None:
    session = made(most=1)
    for _ in range(3):
        let_in(session)
        assert session.lost("it broke off")[-1] == Reconnect(5.0)
    session.opened()
    assert isinstance(error_of(session.lost("it broke off")), UnreachableError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
KINDS = st.sampled_from(
    [each.model_fields["type"].default for each in Command.__args__]
    + ["heartbeat", "dance", "", "AUTHENTICATED"]
)
FIELDS = st.sampled_from(
    ["taskId", "daemonId", "lastSeq", "plan", "depth", "isOrchestrator", "message", "code"]
)
VALUES = JSON | st.just(str(TASK))
FRAMES = (
    st.text()
    | st.binary()
    | JSON.map(json.dumps)
    | st.builds(
        lambda kind, rest: json.dumps({"type": kind, **rest}),
        KINDS,
        st.dictionaries(FIELDS, VALUES),
    )
)


@given(st.lists(FRAMES, max_size=12), st.booleans())
def test_whatever_comes_it_neither_crashes_nor_ends_a_connection(
    frames: list[str | bytes], inside: bool
) -> None:
    session = let_in(made()) if inside else made()
    effects: list[Effect] = [] if inside else list(session.opened())
    drops = 0
    for frame in frames:
        new = session.received(frame)
        effects += new
        for each in new:
            if isinstance(each, Drop):
                drops += 1
                assert each.count == drops
            if isinstance(each, Stop | HangUp):
                assert not inside, "nothing ends a connection that is let in"
                assert json.loads(frame)["type"] == "error"
                return
    assert not any(isinstance(each, Reconnect) for each in effects)
