from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tachikoma.makima.commands import (
    Authenticated,
    CheckTargetExists,
    Command,
    Error,
    InterruptTask,
    MergeStart,
    PauseTask,
    SendMessage,
    SpawnTask,
)
from tachikoma.makima.messages import (
    BranchList,
    Heartbeat,
    MergeResult,
    Message,
    TaskComplete,
    TaskOutput,
    TaskStatusChange,
)
from tachikoma.makima.relay.board import GRACE_S, UNKNOWN_S
from tachikoma.makima.relay.entries import Status
from tests.doubles.makima_board import Desk

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def order(task: UUID) -> SpawnTask:
    return SpawnTask(
        task_id=task, plan="Do it", task_name=f"task {task.int}", depth=0, is_orchestrator=False
    )


def output(task: UUID, text: str = "x") -> TaskOutput:
    return TaskOutput(task_id=task, output=text, is_partial=False)


def done(task: UUID, *, success: bool = True) -> TaskComplete:
    return TaskComplete(task_id=task, success=success)


def about(commands: list[Command]) -> list[UUID]:
    return [each.task_id for each in commands if not isinstance(each, Authenticated | Error)]


def kinds(said: list[Message] | list[Command]) -> list[str]:
    return [each.type for each in said]


def test_a_task_goes_at_once_to_who_has_the_fewest() -> None:
    desk = Desk()
    desk.come("a")
    desk.come("b")
    desk.take(order(ONE), order(TWO), order(THREE))
    assert about(desk.read_all("a")) == [ONE, THREE]
    assert about(desk.read_all("b")) == [TWO]
    assert {each.status for each in desk.entries.values()} == {Status.DISPATCHED}


def test_nobody_hears_of_anything_before_it_is_written() -> None:
    desk = Desk()
    desk.come("a")
    desk.board.take(order(ONE))
    batch = desk.board.taken_out()
    assert (batch.wake, len(batch.addressed), len(batch.tasks)) == ({"a"}, 1, 1)
    assert not desk.board.changed


def test_what_waits_goes_out_in_the_order_of_its_arrival_as_room_comes_up() -> None:
    desk = Desk()
    desk.take(order(ONE), order(TWO), order(THREE))
    assert desk.board.pending == 3
    desk.come("a", most=1)
    assert kinds(desk.read_all("a")) == ["spawnTask"]
    desk.hear("a", done(ONE))
    assert about(desk.read_all("a")) == [TWO]
    assert desk.board.pending == 1


def test_commands_for_a_task_that_waits_go_out_behind_it() -> None:
    desk = Desk()
    desk.take(order(ONE), PauseTask(task_id=ONE), SendMessage(task_id=ONE, message="hi"))
    desk.come("a")
    assert kinds(desk.read_all("a")) == ["spawnTask", "pauseTask", "sendMessage"]


def test_a_waiting_task_is_interrupted_on_the_spot() -> None:
    desk = Desk()
    desk.take(order(ONE), InterruptTask(task_id=ONE, graceful=False))
    assert kinds(desk.said) == ["taskStatusChange", "taskComplete"]
    assert desk.waiting == {}
    desk.come("a")
    assert desk.read_all("a") == []
    assert desk.processed == 1


def test_the_same_task_sent_twice_is_one_task() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE), order(ONE))
    assert kinds(desk.read_all("a")) == ["spawnTask"]
    assert "repeat" in desk.events


def test_later_commands_go_to_who_holds_the_task_also_when_it_has_ended() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.read_all("a")
    desk.hear("a", done(ONE))
    desk.take(MergeStart(task_id=ONE, source_branch="b"))
    assert kinds(desk.read_all("a")) == ["mergeStart"]
    desk.hear("a", MergeResult(task_id=ONE, success=True, message="merged"))
    assert kinds(desk.said) == ["taskComplete", "mergeResult"]


def test_a_command_for_a_task_nobody_knows_is_logged_and_answered_where_that_can_be() -> None:
    desk = Desk()
    desk.take(PauseTask(task_id=ONE), MergeStart(task_id=ONE, source_branch="b"))
    assert desk.events == ["undeliverable", "undeliverable"]
    assert [each.success for each in desk.said if isinstance(each, MergeResult)] == [False]


def test_only_the_holder_of_a_task_is_heard_about_it() -> None:
    desk = Desk()
    desk.come("a")
    desk.come("b")
    desk.take(order(ONE))
    desk.hear("b", output(ONE), done(ONE))
    assert desk.said == []
    desk.hear("a", output(ONE), done(ONE))
    assert kinds(desk.said) == ["taskOutput", "taskComplete"]


def test_a_task_ends_once() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.hear("a", done(ONE), done(ONE, success=False), output(ONE))
    assert desk.said == [done(ONE)]
    assert desk.entries[ONE].status is Status.COMPLETED


def test_who_vanishes_has_a_while_to_come_back() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.read_all("a")
    desk.go("a")
    desk.later(GRACE_S - 1)
    desk.take(PauseTask(task_id=ONE))
    desk.come("a")
    desk.later(GRACE_S)
    assert desk.said == []
    assert kinds(desk.read_all("a")) == ["pauseTask"]


def test_who_does_not_come_back_has_failed_and_is_told_to_stop_when_he_does() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.hear("a", TaskStatusChange(task_id=ONE, old_status="pending", new_status="running"))
    desk.read_all("a")
    desk.go("a")
    desk.later(GRACE_S)
    assert desk.said[1:] == [
        TaskStatusChange(task_id=ONE, old_status="running", new_status="failed"),
        TaskComplete(
            task_id=ONE,
            success=False,
            error="the daemon a vanished, and did not come back within 60 s",
        ),
    ]
    desk.come("a")
    desk.hear("a", Heartbeat(active_tasks=(ONE,)), output(ONE), done(ONE))
    assert kinds(desk.read_all("a")) == ["interruptTask"]
    assert len(desk.said) == 3
    desk.take(SendMessage(task_id=ONE, message="hi"))
    assert desk.events[-1] == "undeliverable"


def test_a_task_that_a_connected_daemon_no_longer_tells_of_is_given_up_in_the_end() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE), order(TWO))
    desk.read_all("a")
    beat = Heartbeat(active_tasks=(TWO,))
    desk.hear("a", beat)
    desk.later(UNKNOWN_S - 1)
    desk.hear("a", beat)
    assert desk.said == []
    desk.later(1)
    assert [each.error for each in desk.said if isinstance(each, TaskComplete)] == [
        "the daemon a does not know this task any more"
    ]
    assert desk.entries[TWO].status is Status.DISPATCHED


@pytest.mark.parametrize("sign", [Heartbeat(active_tasks=(ONE,)), output(ONE)])
def test_a_sign_of_the_task_in_time_saves_it(sign: Message) -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.read_all("a")
    desk.hear("a", Heartbeat(active_tasks=()))
    desk.later(UNKNOWN_S / 2)
    desk.hear("a", sign)
    desk.later(UNKNOWN_S / 2)
    assert not any(isinstance(each, TaskComplete) for each in desk.said)


def test_a_task_that_the_daemon_has_not_read_of_yet_is_not_missing() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.hear("a", Heartbeat(active_tasks=()))
    desk.later(UNKNOWN_S)
    assert desk.said == []


def test_a_task_that_is_not_known_but_worked_on_is_taken_up() -> None:
    desk = Desk()
    desk.come("a")
    desk.hear("a", output(ONE))
    desk.take(PauseTask(task_id=ONE))
    assert kinds(desk.read_all("a")) == ["pauseTask"]
    desk.hear("a", BranchList(task_id=TWO, branches=()))
    assert kinds(desk.said) == ["taskOutput", "branchList"]
    assert TWO not in desk.entries


def test_tasks_of_his_own_count_for_how_much_a_daemon_has_to_do() -> None:
    desk = Desk()
    desk.come("a")
    desk.come("b")
    desk.hear("a", Heartbeat(active_tasks=(TWO, THREE)))
    desk.take(order(ONE))
    assert kinds(desk.read_all("b")) == ["spawnTask"]


def test_commands_for_who_does_not_come_back_are_given_up_too() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.hear("a", done(ONE))
    desk.go("a")
    desk.take(CheckTargetExists(task_id=ONE, target_dir="~"))
    assert len(desk.commands["a"]) == 2
    desk.later(GRACE_S)
    assert desk.commands["a"] == {}
    assert desk.events[-1] == "undeliverable"


def test_a_relay_that_was_killed_goes_on_with_all_it_had() -> None:
    desk = Desk()
    desk.come("a", most=1)
    desk.take(order(ONE), order(TWO), SendMessage(task_id=ONE, message="hi"))
    desk = desk.again()
    assert (desk.board.pending, desk.board.active) == (1, (ONE,))
    desk.come("a", most=1)
    assert kinds(desk.read_all("a")) == ["spawnTask", "sendMessage"]
    desk.hear("a", done(ONE))
    assert about(desk.read_all("a")) == [TWO]


def test_after_a_restart_daemons_have_the_whole_time_to_come_back() -> None:
    desk = Desk()
    desk.come("a")
    desk.take(order(ONE))
    desk.go("a")
    desk.later(GRACE_S - 1)
    desk = desk.again()
    desk.later(GRACE_S - 1)
    assert desk.said == []
    desk.later(1)
    assert kinds(desk.said) == ["taskStatusChange", "taskComplete"]


def test_a_machine_keeps_its_id_and_the_number_of_what_was_heard_last() -> None:
    desk = Desk()
    first = desk.board.welcome("a", "old-name")
    desk.board.arrived("a", most=1)
    desk.board.heard("a", output(ONE), 7)
    desk.write()
    again = desk.again().board.welcome("a", "new-name")
    assert (again.daemon_id, again.last_seq, again.hostname) == (first.daemon_id, 7, "new-name")


def test_only_so_many_ended_tasks_are_remembered() -> None:
    desk = Desk(history=5)
    desk.come("a", most=100)
    for number in range(1, 10):
        desk.take(order(UUID(int=number)))
        desk.hear("a", done(UUID(int=number)))
    assert [each.arrival for each in desk.entries.values()] == [5, 6, 7, 8, 9]
    assert (desk.processed, desk.board.task(ONE)) == (9, None)


MACHINES = ("a", "b", "c")
tasks_of = st.integers(1, 8).map(lambda number: UUID(int=number))


class Life(RuleBasedStateMachine):
    """Anything may happen in any order; what is promised of every task holds."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.here: set[str] = set()
        self.sent: set[UUID] = set()
        self.said: list[Message] = []
        self.spawned: Counter[UUID] = Counter()
        self.read: dict[str, list[Command]] = {name: [] for name in MACHINES}

    @rule(task=tasks_of)
    def send(self, task: UUID) -> None:
        self.desk.take(order(task))
        self.sent.add(task)

    @rule(task=tasks_of, graceful=st.booleans())
    def interrupt(self, task: UUID, graceful: bool) -> None:
        self.desk.take(InterruptTask(task_id=task, graceful=graceful))

    @rule(task=tasks_of)
    def tell(self, task: UUID) -> None:
        self.desk.take(SendMessage(task_id=task, message="hi"))

    @rule(machine=st.sampled_from(MACHINES), most=st.integers(0, 3))
    def come(self, machine: str, most: int) -> None:
        if machine not in self.here:
            self.desk.come(machine, most=most)
            self.here.add(machine)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(sorted(self.here)))
        self.desk.go(machine)
        self.here.discard(machine)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def read_commands(self, data: st.DataObject) -> None:
        machine = data.draw(st.sampled_from(sorted(self.here)))
        for each in self.desk.read_all(machine):
            self.read[machine].append(each)
            if isinstance(each, SpawnTask):
                self.spawned[each.task_id] += 1

    @precondition(lambda self: self.here)
    @rule(data=st.data(), task=tasks_of, success=st.booleans())
    def hear(self, data: st.DataObject, task: UUID, success: bool) -> None:
        machine = data.draw(st.sampled_from(sorted(self.here)))
        messages: list[Message] = [output(task), done(task, success=success)]
        messages.append(Heartbeat(active_tasks=(task,)))
        message = data.draw(st.sampled_from(messages))
        self.desk.hear(machine, message)

    @rule(seconds=st.sampled_from([1.0, GRACE_S, UNKNOWN_S]))
    def wait(self, seconds: float) -> None:
        self.desk.later(seconds)

    @rule()
    def kill(self) -> None:
        self.said += self.desk.said
        self.desk = self.desk.again()
        self.here.clear()

    @invariant()
    def every_task_ends_at_most_once_and_nothing_of_its_life_comes_after_that(self) -> None:
        ended: set[UUID] = set()
        for each in [*self.said, *self.desk.said]:
            if isinstance(each, TaskComplete | TaskOutput | TaskStatusChange):
                assert each.task_id not in ended
            if isinstance(each, TaskComplete):
                ended.add(each.task_id)
        told = {each.id for each in self.desk.entries.values() if each.status.ended}
        assert told == ended

    @invariant()
    def every_task_that_was_sent_waits_or_is_held_or_has_ended(self) -> None:
        board = self.desk.board
        assert self.sent <= set(self.desk.entries)
        held = Counter(board.active)
        assert all(count == 1 for count in held.values())
        states = Counter(each.status for each in self.desk.entries.values())
        assert states[Status.PENDING] == board.pending == len(self.desk.waiting)
        assert states[Status.DISPATCHED] == len(held) == board.active_count

    @invariant()
    def no_task_is_spawned_twice(self) -> None:
        assert all(count == 1 for count in self.spawned.values())

    @invariant()
    def nobody_waits_while_somebody_has_room(self) -> None:
        if self.desk.board.pending:
            loads = self.desk.board._loads.values()
            assert not any(load.has_room for load in loads)


Life.TestCase.settings = settings(max_examples=30, stateful_step_count=25)
TestLife = Life.TestCase
