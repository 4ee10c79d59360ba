"""The tables of the relay's database (pure)."""

from __future__ import annotations

from tachikoma.makima.schema import AT_OPENING, Scheme

APPLICATION = 0x74616372
"""What SQLite's ``application_id`` says of a file that is a relay's."""

_FIRST = (
    "CREATE TABLE book (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE tasks (
        arrival INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL, status TEXT NOT NULL, machine TEXT, said TEXT NOT NULL,
        received REAL NOT NULL, dispatched REAL, ended REAL,
        error TEXT NOT NULL, given_up INTEGER NOT NULL, waiting INTEGER NOT NULL
    ) STRICT
    """,
    # Commands of tasks for which nobody has room yet.
    """
    CREATE TABLE waiting (
        id INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, text TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX waiting_by_task ON waiting (task)",
    # Commands that a daemon has not read for sure.
    """
    CREATE TABLE commands (
        machine TEXT NOT NULL, id INTEGER NOT NULL, task TEXT NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY (machine, id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE machines (
        id TEXT PRIMARY KEY, daemon TEXT NOT NULL, hostname TEXT NOT NULL,
        last_seq INTEGER NOT NULL, seen REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT
    """,
    # As `outbox` wants it.
    """
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, text TEXT NOT NULL
    ) STRICT
    """,
    "INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', 0)",
)

RELAY = Scheme(
    "makima relay", "--db", APPLICATION, {0: _FIRST}, AT_OPENING, page_bytes=4096, by_the_way=True
)
"""The relay's database: many small changes, and daemons that wait for each."""
