"""What a database of ours holds, and how an older one becomes one of today; the daemon's book
is one of them (pure).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

APPLICATION = 0x74616368
"""What SQLite's ``application_id`` says of a file that is a book of ours."""

# `size` stands before `text`: SQLite need not touch the pages of a long text to read it.
_FIRST = (
    "CREATE TABLE book (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY, arrival INTEGER NOT NULL UNIQUE,
        status TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
        isolation TEXT, repository BLOB, worktree BLOB, branch TEXT, base TEXT,
        session TEXT NOT NULL, stdout INTEGER NOT NULL, stderr INTEGER NOT NULL,
        turns INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL, cache_creation_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL, summary TEXT NOT NULL, result TEXT,
        verdict TEXT, error TEXT, agent_over INTEGER NOT NULL,
        paused_at REAL, paused_s REAL NOT NULL, tool_key TEXT NOT NULL, skips TEXT NOT NULL
    ) STRICT
    """,
    "CREATE TABLE orders (task TEXT PRIMARY KEY REFERENCES tasks, said TEXT NOT NULL) STRICT",
    """
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, text TEXT NOT NULL
    ) STRICT
    """,
    "INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', 0)",
)

MIGRATIONS: Mapping[int, Sequence[str]] = {0: _FIRST}
"""From each old version, the statements that lead to the next one; 0 is an empty file."""

VERSION = len(MIGRATIONS)
"""What this tachikoma writes."""

LEAP = 1 << 20
"""More messages than can be lost in a power cut: those that came since SQLite last synced."""

AT_OPENING = (
    f"UPDATE sqlite_sequence SET seq = seq + {LEAP} WHERE name = 'outbox'",  # noqa: S608 - a number of ours
)
"""What each opening does, and syncs. A number that was sent, and whose message was then lost in a
power cut, is given to no other message by this: a server that remembers it would drop that one.
"""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of database: the file of ``owner``, as errors call it, which ``setting`` names.

    ``migrations`` has from each old version the statements that lead to the next one; 0 is an empty
    file, and makes a table ``book`` of names and values. ``at_opening`` is done by each opening.
    """

    owner: str
    setting: str
    application: int
    migrations: Mapping[int, Sequence[str]]
    at_opening: Sequence[str] = ()

    @property
    def version(self) -> int:
        """What this tachikoma writes."""
        return len(self.migrations)


BOOK = Scheme("makima daemon", "local_db.path", APPLICATION, MIGRATIONS, AT_OPENING)
"""The daemon's book."""


class NotOursError(ValueError):
    """The file is a database, and not the one that it should be; says why."""


class TooNewError(ValueError):
    """The database comes from a later tachikoma; says so."""


def migration(version: int, application: int, tables: int, scheme: Scheme = BOOK) -> Iterator[str]:
    """Give the statements that make a database of ``version`` one of today, none if it is one.

    Raises:
        NotOursError: something else keeps its tables there.
        TooNewError: it is of a later version.
    """
    today = scheme.version
    if version == 0 and application == 0 and tables == 0:
        yield f"PRAGMA application_id = {scheme.application}"
    elif application != scheme.application or version < 1:
        raise NotOursError("it is the database of another program")
    elif version > today:
        raise TooNewError(f"it is of version {version}, and this tachikoma knows {today}")
    for step in range(version, today):
        yield from scheme.migrations[step]
    if version < today:
        yield f"PRAGMA user_version = {today}"
