from __future__ import annotations

import pytest

from tachikoma.host.clock import FakeClock
from tachikoma.model.errors import StateError
from tachikoma.state.memory import MemoryStore
from tests.unit.state.test_json_file import record


def test_an_edit_within_an_edit_is_refused_instead_of_waiting_for_itself() -> None:
    store = MemoryStore(clock=FakeClock())
    with store.edit(), pytest.raises(StateError, match="being edited"), store.edit():
        pass
    with store.edit() as ledger:
        ledger.put(record())
    assert list(store.read().vms) == [record().name]


def test_only_edits_that_change_something_count_as_writes() -> None:
    store = MemoryStore(clock=FakeClock())
    with store.edit():
        pass
    assert store.writes == 0
    with store.edit() as ledger:
        ledger.put(record())
    assert store.writes == 1
