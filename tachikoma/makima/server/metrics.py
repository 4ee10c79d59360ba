"""What the server counts, as Prometheus reads it (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tachikoma.makima.record import TaskStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(
    *,
    tasks: Mapping[TaskStatus, int],
    daemons: int,
    streams: int,
    turned_away: int,
    requests: Counter[tuple[str, int]],
) -> str:
    """Give the text: tasks by status, daemons connected, streams open, and requests by endpoint
    and status.
    """
    return "\n".join(_lines(tasks, daemons, streams, turned_away, requests)) + "\n"


def _lines(
    tasks: Mapping[TaskStatus, int],
    daemons: int,
    streams: int,
    turned_away: int,
    requests: Counter[tuple[str, int]],
) -> Iterator[str]:
    yield from _head("makima_tasks", "gauge", "Tasks that are not archived, by status.")
    for status, count in tasks.items():
        yield f'makima_tasks{{status="{status.value}"}} {count}'
    yield from _head("makima_daemons_connected", "gauge", "Daemons that are connected.")
    yield f"makima_daemons_connected {daemons}"
    yield from _head("makima_streams_open", "gauge", "Streams of events that are read.")
    yield f"makima_streams_open {streams}"
    yield from _head("makima_daemons_turned_away_total", "counter", "Daemons not let in.")
    yield f"makima_daemons_turned_away_total {turned_away}"
    yield from _head("makima_http_requests_total", "counter", "Requests by endpoint and status.")
    for (name, status_code), count in sorted(requests.items()):
        yield f'makima_http_requests_total{{endpoint="{name}",status="{status_code}"}} {count}'


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
