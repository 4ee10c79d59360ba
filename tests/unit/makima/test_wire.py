from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.commands import Authenticated, Command, Error, PauseTask, SpawnTask
from tachikoma.makima.frames import BranchInfo, Part
from tachikoma.makima.messages import (
    Authenticate,
    BranchList,
    Heartbeat,
    MergeCompleteCheck,
    Message,
    RegisterToolKey,
    TaskComplete,
    TaskOutput,
)
from tachikoma.makima.wire import (
    BadFrame,
    Frame,
    decode,
    decode_command,
    decode_message,
    encode,
    numbered,
)

LITERALS = (Path(__file__).parent / "literals.txt").read_text(encoding="utf-8").splitlines()
ID = "550e8400-e29b-41d4-a716-446655440000"
TASK = UUID(ID)

MESSAGES = (
    "authenticate heartbeat taskOutput taskStatusChange taskProgress taskComplete registerToolKey "
    "revokeToolKey branchList mergeStatusResponse mergeResult mergeCompleteCheck "
    "completionActionResult daemonDirectories cloneWorktreeResult checkTargetExistsResult"
)
COMMANDS = (
    "authenticated spawnTask pauseTask resumeTask interruptTask sendMessage injectSiblingContext "
    "listBranches mergeStart mergeStatus mergeResolve mergeCommit mergeAbort mergeSkip "
    "checkMergeComplete retryCompletionAction cloneWorktree checkTargetExists error"
)


def parts(part: type[Part]) -> st.SearchStrategy[Any]:
    """Any value of a class: each field as its type says."""
    fields = {
        name: values(field.annotation)
        for name, field in part.model_fields.items()
        if name != "type"
    }
    return st.builds(part, **fields)


def values(of: Any) -> st.SearchStrategy[Any]:
    if of is int:
        return st.integers(0, 2**31 - 1)
    if of == int | None:
        return st.none() | st.integers(0, 2**53)
    if of == tuple[BranchInfo, ...]:
        return st.lists(parts(BranchInfo), max_size=3).map(tuple)
    return st.from_type(of)


FRAMES = st.one_of([parts(each) for each in get_args(Frame)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def heartbeat(**fields: object) -> str:
    return json.dumps({"type": "heartbeat", "activeTasks": [ID], **fields})


def bad(text: str) -> str:
    frame = decode(text)
    assert isinstance(frame, BadFrame)
    return frame.reason


@pytest.mark.parametrize("text", LITERALS)
def test_every_literal_of_the_protocol_is_read_and_keeps_what_it_says(text: str) -> None:
    frame = decode(text)
    assert not isinstance(frame, BadFrame)
    said, written = json.loads(text), json.loads(encode(frame))
    assert {name: written[name] for name in said} == said


def test_each_side_has_all_its_frames() -> None:
    for side, names in ((Message, MESSAGES), (Command, COMMANDS)):
        tags = [each.model_fields["type"].default for each in get_args(side)]
        assert tags == names.split()


@given(FRAMES)
def test_what_is_written_reads_as_the_same(frame: Frame) -> None:
    text = encode(frame)
    assert decode(text) == frame
    own, other = (
        (decode_message, decode_command)
        if isinstance(frame, Message)
        else (decode_command, decode_message)
    )
    assert own(text) == frame
    assert isinstance(other(text), BadFrame)


@given(st.text() | JSON.map(json.dumps) | st.text(st.characters(), max_size=20))
def test_anything_at_all_is_read_without_a_crash(text: str) -> None:
    frame = decode(text)
    assert isinstance(frame, BadFrame | Part)
    if isinstance(frame, BadFrame):
        assert decode_command(encode(frame.answer())) == frame.answer()


@given(st.data(), FRAMES)
def test_a_frame_with_a_field_replaced_is_read_without_a_crash(
    data: st.DataObject, frame: Frame
) -> None:
    fields = json.loads(encode(frame))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
    assert isinstance(decode(json.dumps(fields)), BadFrame | Part)


@given(st.data(), FRAMES)
def test_a_frame_that_was_cut_is_bad(data: st.DataObject, frame: Frame) -> None:
    text = encode(frame)
    assert isinstance(decode(text[: data.draw(st.integers(0, len(text) - 1))]), BadFrame)


def test_what_is_unset_is_written_as_null() -> None:
    frame = TaskComplete(task_id=TASK, success=True)
    assert encode(frame) == f'{{"type":"taskComplete","taskId":"{ID}","success":true,"error":null}}'


def test_a_server_that_does_not_count_says_nothing_of_it() -> None:
    text = f'{{"type":"authenticated","daemonId":"{ID}"}}'
    assert encode(Authenticated(daemon_id=TASK)) == text
    assert decode(text[:-1] + ',"lastSeq":null}') == Authenticated(daemon_id=TASK)
    counting = Authenticated(daemon_id=TASK, last_seq=7)
    assert encode(counting) == text[:-1] + ',"lastSeq":7}'
    assert decode(encode(counting)) == counting
    assert isinstance(decode(text[:-1] + ',"lastSeq":-1}'), BadFrame)


@given(FRAMES, st.integers(0, 2**53))
def test_a_number_is_one_more_field_that_others_pass_over(frame: Frame, seq: int) -> None:
    text = numbered(encode(frame), seq)
    assert json.loads(text) == json.loads(encode(frame)) | {"seq": seq}
    assert decode(text) == frame


def test_an_optional_field_may_be_missing_or_null() -> None:
    text = f'{{"type":"taskComplete","taskId":"{ID}","success":true}}'
    assert decode(text) == decode(text[:-1] + ',"error":null}')


def test_the_type_may_stand_anywhere_and_unknown_fields_are_passed_over() -> None:
    text = f'{{"new":{{"a":[1]}},"taskId":"{ID}","type":"pauseTask"}}'
    assert decode(text) == PauseTask(task_id=TASK)


@pytest.mark.parametrize("written", [ID.upper(), ID.replace("-", "")])
def test_an_id_is_read_in_any_form_and_written_in_one(written: str) -> None:
    frame = decode(f'{{"type":"pauseTask","taskId":"{written}"}}')
    assert frame == PauseTask(task_id=TASK)
    assert f'"{ID}"' in encode(PauseTask(task_id=TASK))


@pytest.mark.parametrize("name", ["", '"taskName":null,', '"taskName":"",'])
def test_a_task_without_a_name_gets_one(name: str) -> None:
    rest = f'"taskId":"{ID}","plan":"Build it","depth":0,"isOrchestrator":false'
    frame = decode(f'{{"type":"spawnTask",{name}{rest}}}')
    assert isinstance(frame, SpawnTask)
    assert frame.task_name == "Build it"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this is not JSON"),
        ("[]", "Input should be an object"),
        ("{}", "type: Field required"),
        ('{"type":"dance"}', "type: there is no 'dance' from this side"),
        ('{"type":"heartbeat"}', "heartbeat.activeTasks: Field required"),
        ('{"type":"heartbeat","active_tasks":[]}', "heartbeat.activeTasks: Field required"),
        (heartbeat(activeTasks=[7]), "heartbeat.activeTasks.0: "),
        (heartbeat(activeTasks=ID), "heartbeat.activeTasks: "),
        (heartbeat(activeTasks=None), "heartbeat.activeTasks: "),
        (heartbeat(extra=float("nan")), "this is not JSON: NaN"),
        ('{"type":"error","type":"error","code":"a","message":"b"}', "this is not JSON: an object"),
        ("[" * 100_000, "this is not JSON that can be read: it is nested too deep"),
        ("9" * 5000, "this is not JSON"),
        ('{"type":"\\ud800"}', "this is not JSON"),
    ],
)
def test_a_bad_frame_says_what_is_wrong_and_where(text: str, reason: str) -> None:
    assert bad(text).startswith(reason)


@pytest.mark.parametrize("depth", ["1.0", "true", '"1"', "2147483648", "-2147483649", "1e2"])
def test_a_number_is_a_whole_one_of_32_bits(depth: str) -> None:
    text = f'"taskId":"{ID}","plan":"p","depth":{depth},"isOrchestrator":false'
    assert bad(f'{{"type":"spawnTask",{text}}}').startswith("spawnTask.depth: ")


def test_a_count_is_never_negative() -> None:
    frame = MergeCompleteCheck(
        task_id=TASK, can_complete=True, unmerged_branches=(), merged_count=0, skipped_count=0
    )
    text = encode(frame).replace('"mergedCount":0', '"mergedCount":-1')
    assert bad(text).startswith("mergeCompleteCheck.mergedCount: ")


def test_the_reason_is_short_and_holds_no_secret() -> None:
    assert len(bad(json.dumps({"type": "x" * 10_000}))) == 400
    assert "key123" not in bad('{"type":"authenticate","apiKey":["key123"]}')


def test_a_bad_frame_is_answered() -> None:
    assert BadFrame("no").answer() == Error(code="bad_message", message="no")


def test_secrets_stay_out_of_logs() -> None:
    frames = [
        Authenticate(api_key="key123", machine_id="m", hostname="h", max_concurrent_tasks=1),
        RegisterToolKey(task_id=TASK, key="key123"),
    ]
    assert not any("key123" in repr(each) or "key123" in str(each) for each in frames)


def test_text_that_is_no_unicode_is_written_as_far_as_it_can_be() -> None:
    frame = TaskOutput(task_id=TASK, output='a\udcff"é', is_partial=False)
    assert decode(encode(frame)) == TaskOutput(task_id=TASK, output='a?"é', is_partial=False)


def test_frames_are_values() -> None:
    branch = BranchInfo(name="b", is_merged=False, last_commit="a1", last_commit_message="m")
    assert len({Heartbeat(active_tasks=()), Heartbeat(active_tasks=())}) == 1
    frame = BranchList(task_id=TASK, branches=(branch,))
    assert json.loads(encode(frame))["branches"] == [
        {
            "name": "b",
            "taskId": None,
            "isMerged": False,
            "lastCommit": "a1",
            "lastCommitMessage": "m",
        }
    ]
