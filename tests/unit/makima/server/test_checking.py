from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.makima.server.bodies import CreateTask, Retry, TaskQuery
from tachikoma.makima.server.checking import body_of, id_of, query_of
from tachikoma.model.errors_fleet import RequestError

JSON = "application/json"


def test_a_body_is_read() -> None:
    given_ = body_of(CreateTask, JSON, b'{"plan": "x", "maxAttempts": 2}', optional=False)
    assert isinstance(given_, CreateTask)
    assert (given_.plan, given_.max_attempts) == ("x", 2)
    assert body_of(Retry, "", b"", optional=True) is None


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    statuses = set()
    try:
        body_of(CreateTask, JSON, raw, optional=False)
    except RequestError as error:
        statuses.add(error.status)
    assert statuses <= {400, 422}


def test_a_refusal_names_the_field_and_not_what_was_in_it() -> None:
    with pytest.raises(RequestError) as caught:
        body_of(CreateTask, JSON, b'{"plan": "x", "priority": "secret"}', optional=False)
    assert caught.value.message == "priority: Input should be a valid integer"


def test_a_query_is_read() -> None:
    pairs = [("status", "failed"), ("status", "done"), ("limit", "7"), ("top", "true")]
    query = query_of(TaskQuery, pairs)
    assert isinstance(query, TaskQuery)
    assert ([each.value for each in query.status], query.limit) == (["failed", "done"], 7)
    assert query.top


@pytest.mark.parametrize(
    "pair", [("limit", " 7"), ("limit", "7.0"), ("limit", "٧"), ("top", "1"), ("no", "x")]
)
def test_a_query_is_as_strict_as_its_document(pair: tuple[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        query_of(TaskQuery, [pair])
    assert caught.value.status == 422


def test_what_is_no_id_is_nothing_that_there_is() -> None:
    assert id_of("task", str(UUID(int=1))) == UUID(int=1)
    with pytest.raises(RequestError, match="there is no task 'x'"):
        id_of("task", "x")
