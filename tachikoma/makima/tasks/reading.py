"""What the daemon learns of a task from the lines that its agent prints (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from tachikoma.makima.record import Figures, TaskRecord
from tachikoma.makima.tasks.port import Line
from tachikoma.makima.tasks.stream import (
    Account,
    ControlAnswered,
    Progress,
    SessionStarted,
    TurnEnded,
    read_event,
)

_LONGEST = 32 << 20
"""Characters of a line that is put together from its pieces; a longer one tells us nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known so far; the fields are those of `TaskRecord`."""

    session: str
    figures: Figures
    summary: str
    result: str | None


class Reading:
    """Reads on from where ``record`` stands."""

    def __init__(self, record: TaskRecord) -> None:
        self.seen = Seen(record.session, record.figures, record.summary, record.result)
        self.last_words = ""
        """The last line on standard error."""
        self._account = Account(process=record.figures)
        self._pieces: list[str] = []
        self._length = 0

    def read(self, line: Line, *, directory: PurePosixPath | None = None) -> None:
        """Take in a line, or a piece of one."""
        if line.stderr:
            self.last_words = line.text.strip() or self.last_words
            return
        self._length += len(line.text)
        if self._length <= _LONGEST:
            self._pieces.append(line.text)
        if line.partial:
            return
        whole = "".join(self._pieces) if self._length <= _LONGEST else ""
        self._pieces, self._length = [], 0
        self._understand(whole, directory)

    def _understand(self, text: str, directory: PurePosixPath | None) -> None:
        match read_event(text, directory=directory):
            case SessionStarted(session=session):
                self.seen = replace(self.seen, session=session or self.seen.session)
            case Progress(summary=summary):
                self.seen = replace(self.seen, summary=summary)
            case TurnEnded() as turn:
                self._account = self._account.after(turn)
                self.seen = replace(self.seen, figures=self._account.total, result=turn.error)
            case ControlAnswered() | None:
                pass
