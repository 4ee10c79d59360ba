"""The state in memory: the store of the tests, and of what nobody should remember."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator

from tachikoma.host.clock import Clock, attempts
from tachikoma.model.errors import StateError
from tachikoma.model.events import Notice, Report
from tachikoma.model.names import VmName
from tachikoma.state.port import Ledger
from tachikoma.state.vm_lock import Holder, busy


class MemoryStore:
    """Records and locks that end with this object. One event loop may use it, not threads.

    ``writes`` counts the edits that changed something.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._ledger = Ledger()
        self._editing = False
        self._holders: dict[VmName, Holder] = {}
        self.writes = 0

    def read(self) -> Ledger:
        """Give a copy of what is recorded now."""
        return Ledger(dict(self._ledger.vms))

    @contextlib.contextmanager
    def edit(self) -> Iterator[Ledger]:
        """Let the block change the ledger. An error changes nothing.

        Raises:
            StateError: an edit is under way already; in one thread it would wait for ever.
        """
        if self._editing:
            raise StateError("the state is being edited", hint="end the first edit before the next")
        self._editing = True
        try:
            ledger = self.read()
            yield ledger
            if ledger != self._ledger:
                self.writes += 1
                self._ledger = ledger
        finally:
            self._editing = False

    @contextlib.asynccontextmanager
    async def hold(
        self, vm: VmName, purpose: str, *, report: Report, deadline_s: float
    ) -> AsyncIterator[None]:
        """Be the only one who works on ``vm``; waits for another holder and reports who it is.

        Raises:
            VmBusyError: still held after ``deadline_s``; names the holder's pid and purpose.
        """
        mine = Holder(pid=os.getpid(), purpose=purpose, since=self._clock.now())
        seen: Holder | None = None
        async for _ in attempts(self._clock, deadline_s=deadline_s):
            holder = self._holders.get(vm)
            if holder is None:
                break
            if holder is not seen:
                seen = holder
                report(Notice(f"{vm}: waiting for process {seen.pid} ({seen.purpose})"))
        else:
            raise busy(vm, seen, now=self._clock.now())
        self._holders[vm] = mine
        try:
            yield
        finally:
            del self._holders[vm]
