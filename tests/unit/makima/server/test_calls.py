from __future__ import annotations

from uuid import UUID

from tachikoma.makima.server.bodies import Retry
from tachikoma.makima.server.calls import Call, Nobody, Tool, conflict, forbidden, not_found


def test_an_orchestrator_is_bound_to_its_task_and_people_to_none() -> None:
    assert Call(Tool(UUID(int=1))).under == UUID(int=1)
    assert Call(Nobody()).under is None


def test_what_is_given_is_of_the_type_of_the_endpoint() -> None:
    body = Retry(fresh=True)
    assert Call(Nobody(), body=body).given(Retry) is body


def test_refusals_have_a_status_and_a_code() -> None:
    assert [(each.status, each.reason) for each in (not_found("x"), forbidden("x"))] == [
        (404, "not_found"),
        (403, "forbidden"),
    ]
    assert conflict("wrong_state", "x").status == 409
