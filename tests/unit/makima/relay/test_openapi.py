from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from tachikoma.makima.relay.openapi import document


def test_the_document_tells_of_every_path_and_nothing_else() -> None:
    assert {path: list(each) for path, each in document()["paths"].items()} == {
        "/": ["get"],
        "/status": ["get"],
        "/health": ["get"],
        "/tasks": ["get"],
        "/logs": ["get"],
        "/reconnect": ["post"],
        "/metrics": ["get"],
        "/openapi.json": ["get"],
    }


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [each["operationId"] for path in document()["paths"].values() for each in path.values()]
    assert len(set(ids)) == len(ids)


def test_every_schema_that_is_meant_is_there_and_is_one() -> None:
    made = document()
    schemas = made["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(made)
    meant = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert meant == set(schemas)
