from __future__ import annotations

import json
from typing import Any

import pytest

from tachikoma.makima.server.endpoints import ENDPOINTS
from tachikoma.makima.server.openapi import document


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    made = document()
    assert json.loads(json.dumps(made)) == made
    return made


def test_every_endpoint_is_in_it_once(made: dict[str, Any]) -> None:
    told = {
        (path, method): operation["operationId"]
        for path, operations in made["paths"].items()
        for method, operation in operations.items()
    }
    assert told == {(each.path, each.method.lower()): each.name for each in ENDPOINTS}
    assert len(set(told.values())) == len(ENDPOINTS)


def test_what_it_refers_to_is_there(made: dict[str, Any]) -> None:
    text = json.dumps(made)
    there = set(made["components"]["schemas"])
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named == there


def test_names_are_camel_case_and_a_query_has_no_null(made: dict[str, Any]) -> None:
    (one,) = made["paths"]["/api/v1/tasks/{task}"]["get"]["parameters"][1:]
    assert one["name"] == "waitS"
    listed = {each["name"]: each for each in made["paths"]["/api/v1/tasks"]["get"]["parameters"]}
    assert listed["parent"]["schema"] == {"type": "string", "format": "uuid"}
    assert listed["status"]["schema"]["type"] == "array"


def test_what_changes_something_wants_a_key(made: dict[str, Any]) -> None:
    free = {
        operation["operationId"]
        for operations in made["paths"].values()
        for operation in operations.values()
        if "security" not in operation
    }
    assert free == {"health", "signIn"}
