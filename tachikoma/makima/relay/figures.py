"""The relay in numbers, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from tachikoma.makima.peer import Peer
from tachikoma.makima.relay.board import Board

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_WRITING_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Figures:
    """Counts since the relay was started, and how things are at the moment they are asked for."""

    def __init__(self, board: Board) -> None:
        self.unsent = (0, 0)
        """Messages that wait for the server, and their bytes."""
        self._registry = CollectorRegistry()
        self._registry.register(_OfBoard(board, self))
        self.writing = Histogram(
            "makima_relay_write_seconds",
            "How long a transaction takes.",
            buckets=_WRITING_S,
            registry=self._registry,
        )
        self.refused = Counter(
            "makima_relay_refused_connections",
            "Connections of daemons that were not let in.",
            registry=self._registry,
        )
        self.bad_frames = Counter(
            "makima_relay_bad_frames",
            "Frames of daemons that could not be read; of connections that have ended.",
            registry=self._registry,
        )
        self.repeats = Counter(
            "makima_relay_repeated_messages",
            "Messages of daemons that were there already; of connections that have ended.",
            registry=self._registry,
        )
        self.connected = Gauge(
            "makima_relay_upstream_connected",
            "1 while the server has let the relay in.",
            registry=self._registry,
        )

    def gone(self, peer: Peer) -> None:
        """Add what a connection that has ended counted."""
        self.bad_frames.inc(peer.bad_frames)
        self.repeats.inc(peer.repeats)

    def text(self, *, connected: bool) -> bytes:
        """Give all of it in Prometheus' text format."""
        self.connected.set(connected)
        return generate_latest(self._registry)


class _OfBoard(Collector):
    def __init__(self, board: Board, figures: Figures) -> None:
        self._board = board
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        board, counts = self._board, self._board.counts
        unsent, unsent_bytes = self._figures.unsent
        yield _gauge("daemons", "Daemons that are connected.", board.connected)
        yield _gauge("tasks_active", "Tasks that daemons hold.", board.active_count)
        yield _gauge("tasks_pending", "Tasks that wait for a daemon.", board.pending)
        yield _gauge("outbox_messages", "Messages that wait for the server.", unsent)
        yield _gauge("outbox_bytes", "Their bytes.", unsent_bytes)
        yield _counter("tasks_received", "Tasks that the server sent.", counts.received)
        yield _counter("tasks_dispatched", "Tasks that a daemon got.", counts.dispatched)
        yield _counter("tasks_completed", "Tasks that ended well.", counts.completed)
        yield _counter("tasks_failed", "Tasks that ended otherwise.", counts.failed)
        yield _counter(
            "tasks_given_up", "Tasks of daemons that did not come back.", counts.given_up
        )
        yield _counter("messages_up", "Messages for the server.", counts.up)
        yield _counter("messages_down", "Commands of the server.", counts.down)
        yield _counter(
            "messages_dropped", "Messages and commands that nobody wants any more.", counts.dropped
        )


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"makima_relay_{name}", told, value=value)


def _counter(name: str, told: str, value: float) -> Metric:
    return CounterMetricFamily(f"makima_relay_{name}", told, value=value)
