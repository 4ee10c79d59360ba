"""What the server learns of an attempt from the lines that its agent prints (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tachikoma.makima.record import Figures
from tachikoma.makima.tasks.stream import Account, TurnEnded, read_event

_LONGEST = 32 << 20
"""Characters of a line that is put together from its pieces; a longer one tells us nothing."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn has ended: what the attempt took so far, and what the agent said at its end."""

    figures: Figures
    result: str


class Reading:
    """Reads on from where an attempt stands: ``figures`` it took, ``begun`` a line that it has not
    ended.
    """

    def __init__(self, figures: Figures, begun: Sequence[str] = ()) -> None:
        self._account = Account(process=figures)
        self._pieces = list(begun)
        self._length = sum(len(piece) for piece in begun)

    def read(self, text: str, *, partial: bool) -> Turn | None:
        """Take in a line, or a piece of one; tell of a turn that ended with it."""
        self._length += len(text)
        if self._length <= _LONGEST:
            self._pieces.append(text)
        else:
            self._pieces = []
        if partial:
            return None
        whole = "".join(self._pieces)
        self._pieces, self._length = [], 0
        # Most lines end no turn, and reading each as JSON would be most of the work.
        if '"result"' not in whole:
            return None
        event = read_event(whole)
        if not isinstance(event, TurnEnded):
            return None
        self._account = self._account.after(event)
        return Turn(self._account.total, event.text or event.error)
