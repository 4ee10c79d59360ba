"""The OpenAPI 3.1 document, made of the same table and types that check the requests (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from tachikoma.makima.server.endpoints import ENDPOINTS, Endpoint, Who
from tachikoma.makima.server.shapes import ErrorAnswer
from tachikoma.model.version import VERSION

Json = dict[str, Any]
_Refer = Callable[[type[BaseModel], JsonSchemaMode], Json]
_REF = "#/components/schemas/{model}"
_REFUSALS = {
    400: "The request is no HTTP or no JSON that can be read",
    401: "There is no key, or it is not valid",
    403: "The key is not good for this, or the CSRF token is missing",
    404: "There is no such thing",
    409: "It is in no state for that",
    413: "The body is too large",
    415: "The body is no JSON by its Content-Type",
    422: "A field is wrong; the message names it",
    503: "Its daemon is not connected",
    504: "Its daemon did not answer in time",
}
_TAGS = {
    "tasks": "What agents are to do",
    "streams": "Server-sent events, to be resumed with `Last-Event-ID`",
    "merging": "An orchestrator's merges of its subtasks' branches",
    "daemons": "The machines that do the work",
    "session": "Browsers",
    "server": "The server itself",
}
_ABOUT = """\
Who calls gives a key: `Authorization: Bearer KEY`. People have user keys (`tachikoma makima keys
create`); an orchestrator has the key in its `MAKIMA_API_KEY`, and reaches its own task and what is
below it. A browser opens a session and sends `X-CSRF-Token` with every unsafe request.

Every answer with a status from 400 on has the same body: `{"error": {"code", "message", "hint"}}`.
"""


def document() -> Json:
    """Give the whole document."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ErrorAnswer, "serialization")]
    for each in ENDPOINTS:
        models.append((each.answer, "serialization"))
        models += [(model, "validation") for model in (each.body, each.query) if model is not None]
    names, schemas = models_json_schema(
        list(dict.fromkeys(models)), by_alias=True, ref_template=_REF
    )

    def refer(model: type[BaseModel], mode: JsonSchemaMode) -> Json:
        return names[model, mode]

    paths: dict[str, Json] = {}
    for each in ENDPOINTS:
        operation = _operation(each, refer, schemas["$defs"])
        paths.setdefault(each.path, {})[each.method.lower()] = operation
    queries = {each.query.__name__ for each in ENDPOINTS if each.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Makima server", "version": VERSION, "description": _ABOUT},
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {
                name: schema for name, schema in schemas["$defs"].items() if name not in queries
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "makima_session"},
            },
        },
    }


def _operation(each: Endpoint, refer: _Refer, schemas: Json) -> Json:
    operation: Json = {
        "operationId": each.name,
        "summary": each.summary,
        "tags": [each.tag],
        "parameters": list(_parameters(each, schemas)),
        "responses": _responses(each, refer),
    }
    if each.who is not Who.ANYBODY:
        operation["security"] = [{"key": []}, {"session": []}]
    if each.body is not None:
        operation["requestBody"] = {
            "required": not each.body_optional,
            "content": {"application/json": {"schema": refer(each.body, "validation")}},
        }
    return operation


def _parameters(each: Endpoint, schemas: Json) -> Iterator[Json]:
    for name in ("task", "daemon"):
        if f"{{{name}}}" in each.path:
            schema = {"type": "string", "format": "uuid"}
            yield {"name": name, "in": "path", "required": True, "schema": schema}
    if each.query is None:
        return
    schema = schemas[each.query.__name__]
    for name, field in schema["properties"].items():
        given = {"name": name, "in": "query", "required": name in schema.get("required", ())}
        told = {"description": field["description"]} if "description" in field else {}
        yield {**given, **told, "schema": _without_null(field)}


def _without_null(field: Json) -> Json:
    """A query has no way to say null: what may be None is left out."""
    kept = {key: value for key, value in field.items() if key not in ("description", "title")}
    if "anyOf" in kept:
        (kind,) = (each for each in kept.pop("anyOf") if each != {"type": "null"})
        kept |= kind
    if kept.get("default", "") is None:
        del kept["default"]
    return kept


def _responses(each: Endpoint, refer: _Refer) -> Json:
    content = {"schema": refer(each.answer, "serialization")}
    media = "text/event-stream" if each.stream else "application/json"
    if each.stream:
        content = {"schema": {"type": "string"}, "x-event-data": content["schema"]}
    found: Json = {str(each.status): {"description": "Done", "content": {media: content}}}
    for status in sorted(_refusals_of(each)):
        body = {"application/json": {"schema": refer(ErrorAnswer, "serialization")}}
        found[str(status)] = {"description": _REFUSALS[status], "content": body}
    return found


def _refusals_of(each: Endpoint) -> Iterator[int]:
    yield from each.refuses
    yield from (400, 422)
    if each.who is not Who.ANYBODY or each.name == "signIn":
        yield from (401, 403)
    if each.body is not None:
        yield from (413, 415)
