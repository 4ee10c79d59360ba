"""How a server's tasks read (pure). What it says of them may be an agent's words: it is shown, and
cleaned where it is written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tachikoma.cli import words
from tachikoma.cli.table import Column
from tachikoma.makima.client.calls import Json

COLUMNS = (
    Column("ID"),
    Column("NAME", least=16),
    Column("STATUS"),
    Column("DAEMON", drop=4, least=8),
    Column("BRANCH", drop=5, least=12),
    Column("CAME", drop=3),
    Column("TOKENS", drop=2, right=True),
    Column("COST", right=True),
    Column("LAST WORDS", drop=1, least=16),
)
LOOKS = {
    "done": ("green",),
    "running": ("cyan",),
    "failed": ("red",),
    "interrupted": ("red",),
    "paused": ("yellow",),
}
_THOUSAND = 1000


def row(task: Json, now: float) -> list[str]:
    """Give a task as a row of the table."""
    return [
        str(task["id"])[:8],
        str(task["name"]),
        str(task["status"]),
        str((task["daemon"] or {}).get("hostname", "-")),
        str(task["branch"] or "-"),
        words.age(seconds(task["createdAt"]), now),
        tokens(task),
        cost(task),
        last_words(task) or "-",
    ]


def last_words(task: Json) -> str:
    """Say the most telling thing there is about a task, in one line."""
    said = task["attention"] or task["error"] or task["waitsFor"] or task["summary"]
    return " ".join(str(said).split())


def lines(task: Json, now: float) -> list[tuple[str, str]]:
    """Give everything about a task, what it is and how it stands."""
    outcome = task["actionOutcome"]
    told: list[tuple[str, Any]] = [
        ("status", task["status"]),
        ("needs you", task["attention"]),
        ("waits for", task["waitsFor"]),
        ("error", task["error"]),
        ("does now", "" if task["endedAt"] else task["summary"]),
        ("id", task["id"]),
        ("repository", task["repo"]),
        ("base", task["baseBranch"]),
        ("branch", task["branch"]),
        ("action", _action(task)),
        ("outcome", outcome and outcome["message"]),
        ("pull request", outcome and outcome["prUrl"]),
        ("daemon", task["daemon"] and task["daemon"]["hostname"]),
        ("attempt", f"{task['attempt']} of {task['maxAttempts']}"),
        ("parent", task["parent"]),
        ("subtasks", task["subtasks"] or ""),
        ("came", words.age(seconds(task["createdAt"]), now)),
        ("worked", worked(task, now)),
        ("took", f"{tokens(task)} tokens, {cost(task)}" if task["figures"]["turns"] else ""),
        ("result", task["result"]),
    ]
    return [(name, str(value)) for name, value in told if value]


def _action(task: Json) -> str:
    target = f" into {task['targetBranch']}" if task["targetBranch"] else ""
    return f"{task['action']}{target}"


def worked(task: Json, now: float) -> str:
    """Say how long it has been since a task began, up to its end."""
    if task["startedAt"] is None:
        return ""
    return words.seconds((seconds(task["endedAt"]) or now) - (seconds(task["startedAt"]) or now))


def tokens(task: Json) -> str:
    """Say how many tokens a task took: ``950``, ``12k``, ``3.4M``."""
    number = sum(int(count) for name, count in task["figures"].items() if name.endswith("Tokens"))
    if number < _THOUSAND:
        return str(number) if number else "-"
    if number < _THOUSAND**2:
        return f"{number // _THOUSAND}k"
    return f"{number / _THOUSAND**2:.1f}M"


def cost(task: Json) -> str:
    """Say what a task cost."""
    dollars = float(task["figures"]["costUsd"])
    return f"${dollars:.2f}" if dollars else "-"


def seconds(moment: str | None) -> float | None:
    """Read a time of the API."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()
