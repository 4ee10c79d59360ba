from __future__ import annotations

import os

import pytest

from tachikoma.host.clock import SystemClock, attempts
from tachikoma.makima.tasks.holder.strays import (
    MARK,
    Family,
    Table,
    below,
    marked,
    processes,
    send,
    started,
)

TABLE: Table = {1: (0, "S"), 5: (1, "S"), 9: (5, "R"), 7: (9, "T"), 6: (1, "S"), 8: (8, "S")}


def test_whoever_descends_from_the_roots_is_found_parents_first() -> None:
    assert list(below({5}, TABLE)) == [5, 9, 7]
    assert list(below({6, 9, 4}, TABLE)) == [6, 9, 7]


def test_a_table_that_makes_no_sense_is_gone_through_all_the_same() -> None:
    assert list(below({8}, TABLE)) == [8]
    assert below(set(), TABLE) == {}


def test_we_are_among_the_living_and_not_marked() -> None:
    table = processes()
    assert table[os.getpid()][0] == os.getppid()
    assert os.getpid() not in marked("no task", table)


def test_a_process_that_is_gone_has_no_birth_and_takes_no_signal() -> None:
    assert started(os.getpid()) == started(os.getpid()) != ""
    assert started(2**22 + 1) == ""
    send(2**22 + 1, 0)


@pytest.mark.live
async def test_the_mark_is_looked_for_in_the_environment_that_a_process_began_with() -> None:
    pid = os.spawnvpe(os.P_NOWAIT, "sleep", ["sleep", "60"], {**os.environ, MARK: "t1"})
    try:
        async for _ in attempts(SystemClock(), deadline_s=5):  # it may not have begun yet
            if marked("t1", processes()):
                break
        assert marked("t1", processes()) == {pid}
        assert marked("t", processes()) == set()
    finally:
        os.kill(pid, 9)
        assert os.waitpid(pid, 0)  # noqa: ASYNC222 - it has just been killed


@pytest.mark.live
async def test_who_loses_its_holder_in_between_is_found_by_the_mark() -> None:
    environ = {**os.environ, MARK: "t2"}
    left = os.spawnvpe(os.P_NOWAIT, "sleep", ["sleep", "60"], environ)
    holder = os.spawnvpe(os.P_NOWAIT, "sleep", ["sleep", "60"], os.environ)
    family = Family(holder=holder, agent=None, mark="t2")
    try:
        assert left not in family.members()
        os.kill(holder, 9)
        async for _ in attempts(SystemClock(), deadline_s=10):
            if left in family.members():
                break
        family.stop()
        assert processes()[left][1] == "T"
    finally:
        for pid in (left, holder):
            os.kill(pid, 9)
            assert os.waitpid(pid, 0)  # noqa: ASYNC222 - it has just been killed
