"""Who may come in: keys of people and daemons, sessions of browsers, keys of orchestrators.

Every secret is random, of 256 bits, and only its hash is kept: who reads the file can use nothing
in it. Guessing is out of the question, so the hash need not be slow.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from uuid import UUID

import aiosqlite

from tachikoma.host.clock import Clock
from tachikoma.makima.database import Database
from tachikoma.makima.server.shapes import KeyKind
from tachikoma.model.errors_fleet import KeyNameError

SESSION_S = 30 * 24 * 3600.0
_START = 12
_USED_EACH_S = 60.0
_PREFIXES = {KeyKind.USER: "mku_", KeyKind.DAEMON: "mkd_"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed. ``start`` is its beginning, to tell it from others."""

    id: int
    name: str
    kind: KeyKind
    start: str
    created: float
    used: float | None
    revoked: float | None


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A browser's session. ``secret`` is in its cookie, and "" where that is not known."""

    key: Key
    csrf: str = field(repr=False)
    expires: float
    secret: str = field(default="", repr=False)


def hashed(secret: str) -> str:
    """Give what is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Keyring:
    """The keys in ``database``."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._used: dict[int, float] = {}

    async def create(self, name: str, kind: KeyKind) -> str:
        """Make a key and give it, this once.

        Raises:
            KeyNameError: a key of that name is in use.
        """
        secret = _PREFIXES[kind] + secrets.token_urlsafe(32)
        async with self._database.transaction() as connection:
            found = await connection.execute_fetchall(
                "SELECT revoked FROM keys WHERE name = ?", (name,)
            )
            for (revoked,) in found:
                if revoked is None:
                    raise KeyNameError(
                        f"there is a key {name!r} already",
                        hint=f"take another name, or `tachikoma makima keys revoke {name}` first",
                    )
                # Its name is free again; what it was is still in the list.
                await connection.execute(
                    "UPDATE keys SET name = name || ' (revoked ' || id || ')' WHERE name = ?",
                    (name,),
                )
            await connection.execute(
                "INSERT INTO keys (name, kind, hash, start, created) VALUES (?, ?, ?, ?, ?)",
                (name, kind.value, hashed(secret), secret[:_START], self._clock.now()),
            )
        return secret

    async def keys(self) -> list[Key]:
        """Give all keys, the oldest first."""
        return [_key(row) for row in await self._database.rows(f"{_SELECT} ORDER BY id")]

    async def revoke(self, name: str) -> Key:
        """Make a key useless, with the sessions that were opened with it. Idempotent.

        Raises:
            KeyNameError: there is none of that name.
        """
        now = self._clock.now()
        async with self._database.transaction() as connection:
            found = list(await connection.execute_fetchall(f"{_SELECT} WHERE name = ?", (name,)))
            if not found:
                raise KeyNameError(
                    f"there is no key {name!r}", hint="`tachikoma makima keys list` shows them"
                )
            key = _key(tuple(found[0]))
            await connection.execute(
                "UPDATE keys SET revoked = COALESCE(revoked, ?) WHERE id = ?", (now, key.id)
            )
            await connection.execute("DELETE FROM sessions WHERE key = ?", (key.id,))
        return key

    async def find(self, secret: str) -> Key | None:
        """Give the key that is this one and still good."""
        rows = await self._database.rows(
            f"{_SELECT} WHERE hash = ? AND revoked IS NULL", (hashed(secret),)
        )
        if not rows:
            return None
        key = _key(rows[0])
        await self._note_use(key)
        return key

    async def is_good(self, key: Key) -> bool:
        """Tell whether it has not been revoked meanwhile."""
        found = await self._database.rows(
            "SELECT 1 FROM keys WHERE id = ? AND revoked IS NULL", (key.id,)
        )
        return bool(found)

    async def _note_use(self, key: Key) -> None:
        now = self._clock.now()
        if now - self._used.get(key.id, key.used or 0.0) < _USED_EACH_S:
            return
        self._used[key.id] = now
        async with self._database.transaction() as connection:
            await connection.execute("UPDATE keys SET used = ? WHERE id = ?", (now, key.id))

    # Browsers

    async def open_session(self, key: Key) -> OpenSession:
        """Open a session for who has shown ``key``."""
        now = self._clock.now()
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM sessions WHERE expires <= ?", (now,))
            await connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)",
                (hashed(secret), key.id, csrf, now, now + SESSION_S),
            )
        return OpenSession(key, csrf, now + SESSION_S, secret)

    async def session(self, secret: str) -> OpenSession | None:
        """Give the session of a cookie, if it is still open and its key still good."""
        rows = await self._database.rows(
            "SELECT keys.id, name, kind, start, keys.created, used, revoked, csrf, expires"
            " FROM sessions JOIN keys ON keys.id = sessions.key"
            " WHERE sessions.hash = ? AND expires > ? AND revoked IS NULL",
            (hashed(secret), self._clock.now()),
        )
        if not rows:
            return None
        *key, csrf, expires = rows[0]
        return OpenSession(_key(key), csrf, expires, secret)

    async def close_session(self, session: OpenSession) -> None:
        """End a session."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "DELETE FROM sessions WHERE hash = ?", (hashed(session.secret),)
            )

    # Orchestrators

    async def tool(self, secret: str) -> UUID | None:
        """Give the task whose orchestrator has this key."""
        rows = await self._database.rows(
            "SELECT task FROM tool_keys WHERE hash = ?", (hashed(secret),)
        )
        return UUID(rows[0][0]) if rows else None


async def register_tool(
    connection: aiosqlite.Connection, task: UUID, secret: str, now: float
) -> None:
    """Make the key of a task's orchestrator known, in place of an earlier one."""
    await connection.execute(
        "INSERT OR REPLACE INTO tool_keys VALUES (?, ?, ?)", (str(task), hashed(secret), now)
    )


async def revoke_tool(connection: aiosqlite.Connection, task: UUID) -> None:
    """Take the key of a task's orchestrator back. Does nothing if there is none."""
    await connection.execute("DELETE FROM tool_keys WHERE task = ?", (str(task),))


_SELECT = "SELECT id, name, kind, start, created, used, revoked FROM keys"


def _key(row: tuple[object, ...] | list[object]) -> Key:
    id_, name, kind, *rest = row
    return Key(id_, name, KeyKind(kind), *rest)  # type: ignore[arg-type]  # as the table has them
