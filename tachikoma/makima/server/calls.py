"""A call of the API: who calls, and what is given; and how calls are refused (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from tachikoma.makima.server.keyring import Key, OpenSession
from tachikoma.makima.server.shapes import Shape
from tachikoma.model.errors_fleet import RequestError

_S = TypeVar("_S", bound=Shape)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a user key, or with a browser's session that was opened with one."""

    key: Key
    session: OpenSession | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """The orchestrator of a task: it reaches that one and what is below it."""

    task: UUID


@dataclass(frozen=True, slots=True)
class Nobody:
    """Somebody without a key."""


Who = Person | Tool | Nobody


@dataclass(frozen=True, slots=True)
class Call:
    """One call, checked: ``task`` and ``daemon`` are of the path."""

    who: Who
    task: UUID | None = None
    daemon: UUID | None = None
    body: Shape | None = None
    query: Shape | None = None

    def given(self, kind: type[_S]) -> _S:
        """Give the body, of the type that the endpoint has."""
        assert isinstance(self.body, kind)
        return self.body

    def asked(self, kind: type[_S]) -> _S:
        """Give the query, of the type that the endpoint has."""
        assert isinstance(self.query, kind)
        return self.query

    @property
    def under(self) -> UUID | None:
        """The task that who calls is bound to, None for people."""
        return self.who.task if isinstance(self.who, Tool) else None


def not_found(what: str) -> RequestError:
    """Say that there is no such thing."""
    return RequestError(f"there is no {what}", status=404, reason="not_found")


def conflict(reason: str, message: str, hint: str = "") -> RequestError:
    """Say that things stand against it."""
    return RequestError(message, status=409, reason=reason, hint=hint)


def forbidden(message: str, hint: str = "") -> RequestError:
    """Say that the key is not good for it."""
    return RequestError(message, status=403, reason="forbidden", hint=hint)
