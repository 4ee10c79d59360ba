"""Which messages the server has for sure: those before a ping that it answered (pure)."""

from __future__ import annotations

from collections import deque


class Window:
    """The pings of one connection that wait for their answer, at most ``most`` of them wanted.

    A WebSocket's frames arrive in order, and a pong repeats what its ping carried (RFC 6455, 5.5.3;
    a peer may answer the latest of several only). So a pong says that everything sent before its
    ping has been read by the server, and is in no buffer on the way any more.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._count = 0
        self._unanswered: deque[tuple[int, int]] = deque()
        self.delivered = 0
        """The number of the last message that the server has for sure."""

    @property
    def full(self) -> bool:
        """Whether so much is on the way that nothing more should be sent."""
        return len(self._unanswered) >= self._most

    @property
    def empty(self) -> bool:
        """Whether every ping was answered."""
        return not self._unanswered

    def ping(self, sent: int) -> bytes:
        """Give what a ping is to carry that is sent after message ``sent``."""
        self._count += 1
        self._unanswered.append((self._count, sent))
        return str(self._count).encode("ascii")

    def pong(self, carried: bytes) -> None:
        """Take an answer; one that answers nothing says nothing."""
        at = int(carried) if carried.isdigit() and len(carried) < 20 else 0
        if not any(at == count for count, _ in self._unanswered):
            return
        while self._unanswered and self._unanswered[0][0] <= at:
            _, self.delivered = self._unanswered.popleft()
