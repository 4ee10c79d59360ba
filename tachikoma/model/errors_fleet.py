"""The errors of the fleet: the makima daemon and the supervisor, as `errors` has all others.

The tree::

    TachikomaError
      MakimaError                 makima.failed
        MakimaConfigError         makima.config          (exit status 78)
        RefusedError              makima.refused         (exit status 78)
        UnreachableError          makima.unreachable
        BookError                 makima.book
          BookTooNewError         makima.book_too_new    (exit status 78)
        PlaceLostError            makima.place_lost
        AgentUnreachableError     makima.agent_unreachable
        AgentMissingError         makima.agent_missing   (exit status 78)
        AgentClosedError          makima.agent_closed
        WorkspaceError            makima.workspace
        TaskNotFoundError         makima.no_task
        NotLoggedInError          makima.not_logged_in
        KeyNameError              makima.key
        ServerPortError           makima.port
        RequestError              makima.request
          ServerAwayError         makima.server_away
      SupervisorError             supervisor.failed
        SupervisorBusyError       supervisor.busy
        SessionNotFoundError      supervisor.no_session
"""

from __future__ import annotations

from tachikoma.model.errors import TachikomaError

PERMANENT = 78
"""The exit status that tells a supervisor that trying again is of no use (``EX_CONFIG``)."""


class MakimaError(TachikomaError):
    """The makima daemon cannot do what it was asked to."""

    code = "makima.failed"


class MakimaConfigError(MakimaError):
    """The daemon's configuration cannot be used; a restart changes nothing."""

    code = "makima.config"
    exit_status = PERMANENT


class RefusedError(MakimaError):
    """The server does not let this daemon in; a restart changes nothing."""

    code = "makima.refused"
    exit_status = PERMANENT


class UnreachableError(MakimaError):
    """The server was not reached in as many attempts as the configuration allows."""

    code = "makima.unreachable"


class BookError(MakimaError):
    """The daemon's database cannot be used."""

    code = "makima.book"


class BookTooNewError(BookError):
    """The daemon's database comes from a newer tachikoma; a restart changes nothing."""

    code = "makima.book_too_new"
    exit_status = PERMANENT


class PlaceLostError(MakimaError):
    """Where an agent worked is gone: its VM was stopped or deleted."""

    code = "makima.place_lost"


class AgentUnreachableError(MakimaError):
    """An agent's place is there, but nobody answers in time."""

    code = "makima.agent_unreachable"


class AgentMissingError(MakimaError):
    """Claude Code is not installed where the agent is to run."""

    code = "makima.agent_missing"
    exit_status = PERMANENT


class AgentClosedError(MakimaError):
    """An agent takes no more messages: it is about to end, or has ended."""

    code = "makima.agent_closed"


class WorkspaceError(MakimaError):
    """A task's worktree cannot be made from what the task asks for."""

    code = "makima.workspace"


class TaskNotFoundError(MakimaError):
    """No task, or more than one, is called so."""

    code = "makima.no_task"


class NotLoggedInError(MakimaError):
    """It is not known which makima server is meant, or there is no key for it."""

    code = "makima.not_logged_in"


class KeyNameError(MakimaError):
    """There is no API key of that name, or there is one already."""

    code = "makima.key"


class ServerPortError(MakimaError):
    """The makima server cannot listen where it was told to."""

    code = "makima.port"


class RequestError(MakimaError):
    """A makima server refuses a request: ``status`` is the HTTP status, ``reason`` the stable code
    in the answer.
    """

    code = "makima.request"

    def __init__(self, message: str, *, status: int, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class ServerAwayError(RequestError):
    """The makima server does not answer."""

    code = "makima.server_away"


class SupervisorError(TachikomaError):
    """The supervisor cannot do what it was asked to."""

    code = "supervisor.failed"


class SupervisorBusyError(SupervisorError):
    """Another supervisor runs already."""

    code = "supervisor.busy"


class SessionNotFoundError(SupervisorError):
    """There is no background session of that name."""

    code = "supervisor.no_session"
