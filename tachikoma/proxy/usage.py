"""What was used: one row for each model call, kept longer than the request log.

A database file beside the log, because a log that is rotated forgets, and a budget must not: a VM
could fill the log with refused requests to have its spending forgotten.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from tachikoma.host.paths import private_dir
from tachikoma.model.errors import ProxyError
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.prices import Price, cost_of

By = Literal["vm", "branch", "model", "day"]

_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    at REAL NOT NULL, vm TEXT NOT NULL, branch TEXT NOT NULL, model TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL,
    cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_of_vm ON calls (vm, at);
"""
_SUMS = "COUNT(*), SUM(input), SUM(output), SUM(cache_write), SUM(cache_read)"


@dataclass(frozen=True, slots=True)
class Call:
    """One model call that was answered."""

    at: float
    vm: str
    branch: str
    model: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Sum:
    """Calls of one group and one model together."""

    group: str
    model: str
    calls: int
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Total:
    """One line of the account. ``usd`` counts what has a price, ``unpriced`` the calls without."""

    group: str
    calls: int
    tokens: Tokens
    usd: float
    unpriced: int


class UsageBook:
    """The calls in ``file``. Any process may read while the proxy writes; a crash loses nothing
    that was added.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writing: sqlite3.Connection | None = None

    def add(self, calls: Iterable[Call]) -> None:
        """Write ``calls`` in one transaction. Always from the same thread.

        Raises:
            ProxyError: the file cannot be used.
        """
        with _translated(self._file):
            if self._writing is None:
                private_dir(self._file.parent)
                self._writing = sqlite3.connect(
                    self._file, timeout=_BUSY_S, check_same_thread=False
                )
                self._file.chmod(0o600)
                self._writing.execute("PRAGMA journal_mode=WAL")
                self._writing.execute("PRAGMA synchronous=NORMAL")
                self._writing.executescript(_SCHEMA)
            with self._writing:
                self._writing.executemany(
                    "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_row, calls)
                )

    def sums(self, by: By, *, since: float = 0.0) -> tuple[Sum, ...]:
        """Give the calls since then, by group and model. A missing file holds none.

        Raises:
            ProxyError: the file cannot be used.
        """
        group = "date(at, 'unixepoch', 'localtime')" if by == "day" else by
        # `group` is one of four words above, no text from outside
        query = f"SELECT {group}, model, {_SUMS} FROM calls WHERE at >= ? GROUP BY 1, 2 ORDER BY 1"  # noqa: S608 - see above
        return self._asked(query, (since,))

    def of_vm(self, vm: str, *, since: float) -> tuple[Sum, ...]:
        """Give the calls of one VM since it was made, by model.

        Raises:
            ProxyError: the file cannot be used.
        """
        query = f"SELECT vm, model, {_SUMS} FROM calls WHERE vm = ? AND at >= ? GROUP BY 1, 2"  # noqa: S608 - constant
        return self._asked(query, (vm, since))

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _asked(self, query: str, values: tuple[object, ...]) -> tuple[Sum, ...]:
        if not self._file.exists():
            return ()
        with _translated(self._file), contextlib.closing(_reading(self._file)) as connection:
            rows = connection.execute(query, values).fetchall()
        return tuple(Sum(row[0], row[1], row[2], Tokens(*row[3:])) for row in rows)


def totals(sums: Iterable[Sum], prices: Iterable[Price]) -> tuple[Total, ...]:
    """Give one line for each group, in the order of their first appearance."""
    prices = tuple(prices)
    found: dict[str, Total] = {}
    for each in sums:
        cost = cost_of(prices, each.model, each.tokens)
        before = found.get(each.group, Total(each.group, 0, Tokens(), 0.0, 0))
        found[each.group] = Total(
            group=each.group,
            calls=before.calls + each.calls,
            tokens=before.tokens + each.tokens,
            usd=before.usd + (cost or 0.0),
            unpriced=before.unpriced + (each.calls if cost is None else 0),
        )
    return tuple(found.values())


def day_begins(at: float) -> float:
    """Give when the local day of ``at`` began."""
    local = datetime.fromtimestamp(at).astimezone()
    return local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _row(call: Call) -> tuple[object, ...]:
    counts = call.tokens
    return (
        call.at,
        call.vm,
        call.branch,
        call.model,
        counts.input,
        counts.output,
        counts.cache_write,
        counts.cache_read,
    )


def _reading(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_BUSY_S)
    connection.executescript(_SCHEMA)
    return connection


@contextlib.contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ProxyError(
            f"the record of usage in {file} cannot be used: {error}",
            hint="move it away to begin a new one; the budgets of VMs then begin anew too",
        ) from error
