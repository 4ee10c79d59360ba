"""The tables of the server's database (pure)."""

from __future__ import annotations

from tachikoma.makima.schema import Scheme

APPLICATION = 0x74616373
"""What SQLite's ``application_id`` says of a file that is a server's."""

_FIRST = (
    "CREATE TABLE book (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """
    CREATE TABLE tasks (
        arrival INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL, attempt INTEGER NOT NULL, max_attempts INTEGER NOT NULL,
        out INTEGER NOT NULL, said TEXT, wanted INTEGER NOT NULL, by_dependency INTEGER NOT NULL,
        lost INTEGER NOT NULL, error TEXT NOT NULL,
        name TEXT NOT NULL, parent TEXT, depth INTEGER NOT NULL, orchestrator INTEGER NOT NULL,
        priority INTEGER NOT NULL, repo TEXT, base_branch TEXT, target_branch TEXT,
        target_repo TEXT, action TEXT NOT NULL, continue_from TEXT, fresh INTEGER NOT NULL,
        machine TEXT, current TEXT, branch TEXT,
        outcome_success INTEGER, outcome_message TEXT NOT NULL, outcome_pr TEXT,
        archived INTEGER NOT NULL, summary TEXT NOT NULL,
        turns INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL, cache_creation_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        created REAL NOT NULL, started REAL, ended REAL, version INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX tasks_by_parent ON tasks (parent) WHERE parent IS NOT NULL",
    "CREATE INDEX tasks_by_status ON tasks (status)",
    "CREATE INDEX tasks_out ON tasks (machine) WHERE out",
    # Long texts stand apart: a list of tasks does not read past them.
    """
    CREATE TABLE texts (
        task TEXT PRIMARY KEY REFERENCES tasks (id), plan TEXT NOT NULL, result TEXT NOT NULL,
        copy_files TEXT NOT NULL, asked TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE dependencies (
        task TEXT NOT NULL REFERENCES tasks (id), place INTEGER NOT NULL,
        needs TEXT NOT NULL REFERENCES tasks (id), PRIMARY KEY (task, place)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX dependencies_by_need ON dependencies (needs)",
    """
    CREATE TABLE attempts (
        id TEXT PRIMARY KEY, task TEXT NOT NULL REFERENCES tasks (id), number INTEGER NOT NULL,
        machine TEXT NOT NULL, status TEXT NOT NULL, error TEXT NOT NULL, figures TEXT NOT NULL,
        created REAL NOT NULL, ended REAL, UNIQUE (task, number)
    ) STRICT
    """,
    """
    CREATE TABLE machines (
        id TEXT PRIMARY KEY, machine TEXT NOT NULL UNIQUE, hostname TEXT NOT NULL,
        most INTEGER NOT NULL, seq INTEGER NOT NULL, directories TEXT,
        first_seen REAL NOT NULL, connected REAL, heartbeat REAL
    ) STRICT
    """,
    """
    CREATE TABLE load (
        machine TEXT NOT NULL, at REAL NOT NULL, active INTEGER NOT NULL, most INTEGER NOT NULL,
        PRIMARY KEY (machine, at)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE output (
        task INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
        attempt INTEGER NOT NULL, partial INTEGER NOT NULL, size INTEGER NOT NULL,
        text TEXT NOT NULL, PRIMARY KEY (task, number)
    ) STRICT
    """,
    """
    CREATE TABLE output_account (
        task INTEGER PRIMARY KEY, next INTEGER NOT NULL, bytes INTEGER NOT NULL,
        dropped INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, what TEXT NOT NULL,
        text TEXT NOT NULL, task TEXT, machine TEXT
    ) STRICT
    """,
    "CREATE INDEX events_of_task ON events (task, id) WHERE task IS NOT NULL",
    """
    CREATE TABLE keys (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE, start TEXT NOT NULL, created REAL NOT NULL, used REAL,
        revoked REAL
    ) STRICT
    """,
    """
    CREATE TABLE sessions (
        hash TEXT PRIMARY KEY, key INTEGER NOT NULL REFERENCES keys (id), csrf TEXT NOT NULL,
        created REAL NOT NULL, expires REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE tool_keys (
        task TEXT PRIMARY KEY REFERENCES tasks (id), hash TEXT NOT NULL UNIQUE,
        created REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

SERVER = Scheme("makima server", "--db", APPLICATION, {0: _FIRST})
"""The server's database."""
