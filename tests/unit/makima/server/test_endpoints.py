from __future__ import annotations

from tachikoma.makima.server.branch_desk import BranchDesk
from tachikoma.makima.server.desk import Desk
from tachikoma.makima.server.endpoints import ENDPOINTS, Who

ELSEWHERE = {"signIn", "getSession", "signOut", "streamEvents", "streamOutput"}


def snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)


def test_every_endpoint_has_somebody_who_carries_it_out() -> None:
    for each in ENDPOINTS:
        found = hasattr(Desk, snake(each.name)) + hasattr(BranchDesk, snake(each.name))
        assert found == (each.name not in ELSEWHERE), each.name


def test_what_orchestrators_may_do_is_what_the_protocol_gives_them() -> None:
    assert {each.name for each in ENDPOINTS if each.who is Who.TOOLS} == {
        *("whoami", "createTask", "listTasks", "streamEvents", "getTask", "getOutput"),
        *("streamOutput", "getEvents", "listBranches", "mergeStart", "mergeStatus"),
        *("mergeResolve", "mergeCommit", "mergeAbort", "mergeSkip", "mergeCheck"),
    }
