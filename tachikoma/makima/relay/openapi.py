"""What the relay's HTTP side promises, as OpenAPI 3.1 (pure)."""

from __future__ import annotations

from typing import Any

from tachikoma.model.version import VERSION

MOST_TASKS = 500
MOST_EVENTS = 200
DEFAULT_LIMIT = 50
MOST_OFFSET = 2**31 - 1

Json = dict[str, Any]
_TIME: Json = {"type": "string", "format": "date-time"}
_TIME_OR_NULL: Json = {"type": ["string", "null"], "format": "date-time"}
_ID: Json = {"type": "string", "format": "uuid"}
_COUNT: Json = {"type": "integer", "minimum": 0}

_SCHEMAS: Json = {
    "Status": {
        "status": {"type": "string", "enum": ["ok", "disconnected"]},
        "agentName": {"type": "string"},
        "upstreamConnected": {"type": "boolean"},
        "daemonId": {"type": ["string", "null"], "format": "uuid"},
        "lastHeartbeat": _TIME_OR_NULL,
        "connectedDaemons": _COUNT,
        "activeTasks": _COUNT,
        "totalTasksProcessed": _COUNT,
    },
    "Health": {"healthy": {"type": "boolean"}, "upstreamConnected": {"type": "boolean"}},
    "Task": {
        "taskId": _ID,
        "taskName": {"type": "string"},
        "status": {"type": "string", "enum": ["pending", "dispatched", "completed", "failed"]},
        "daemonId": {"type": ["string", "null"], "format": "uuid"},
        "receivedAt": _TIME,
        "dispatchedAt": _TIME_OR_NULL,
        "completedAt": _TIME_OR_NULL,
        "error": {"type": ["string", "null"]},
    },
    "Tasks": {
        "tasks": {"type": "array", "items": {"$ref": "#/components/schemas/Task"}},
        "total": _COUNT,
        "limit": _COUNT,
        "offset": _COUNT,
    },
    "Event": {"timestamp": _TIME, "event": {"type": "string"}, "message": {"type": "string"}},
    "Logs": {
        "logs": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
        "limit": _COUNT,
    },
    "Reconnecting": {"status": {"type": "string", "const": "reconnecting"}},
    "Error": {
        "error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "required": ["code", "message"],
            "additionalProperties": False,
        }
    },
}


def document() -> Json:
    """Give the whole document."""
    status = _operation("status", "How the relay and its connections are", "Status")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tachikoma makima relay",
            "version": VERSION,
            "description": "Watches a makima relay. Daemons connect by WebSocket to `/ws/daemon`; "
            "what is said there is told in docs/reference/makima-protocol.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}],
        "paths": {
            "/": {"get": status | {"operationId": "root"}},
            "/status": {"get": status},
            "/health": {
                "get": _operation("health", "Whether the relay works", "Health", open_to_all=True)
                | {"security": [{}]}
            },
            "/tasks": {
                "get": _operation(
                    "tasks",
                    "The tasks that the relay remembers, the newest first",
                    "Tasks",
                    _limit(MOST_TASKS),
                    _number("offset", 0, MOST_OFFSET, 0),
                )
            },
            "/logs": {
                "get": _operation(
                    "logs", "What happened lately, the newest first", "Logs", _limit(MOST_EVENTS)
                )
            },
            "/reconnect": {
                "post": _operation(
                    "reconnect", "Connect to the server anew", "Reconnecting", status=202
                )
            },
            "/metrics": {"get": _text("metrics", "Figures for Prometheus")},
            "/openapi.json": {"get": _any_object("openapi", "This document")},
        },
        "components": {
            "schemas": {name: _object(fields) for name, fields in _SCHEMAS.items()},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A daemon's API key. Not asked for on the relay's own host.",
                }
            },
        },
    }


def _object(fields: Json) -> Json:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _operation(
    name: str,
    told: str,
    schema: str,
    *parameters: Json,
    status: int = 200,
    open_to_all: bool = False,
) -> Json:
    responses = {str(status): _answer(told, schema)}
    if open_to_all:
        responses["503"] = _answer("Nothing can be written", schema)
    if parameters:
        responses["400"] = _answer("A parameter that cannot be", "Error")
    return {
        "operationId": name,
        "summary": told,
        "parameters": list(parameters),
        "responses": responses | ({} if open_to_all else _refusals()),
    }


def _refusals() -> Json:
    return {
        "401": _answer("It takes a key", "Error"),
        "403": _answer("Another site's page asked", "Error"),
    }


def _text(name: str, told: str) -> Json:
    content = {"text/plain": {"schema": {"type": "string"}}}
    answer = {"200": {"description": told, "content": content}}
    return {"operationId": name, "summary": told, "responses": answer | _refusals()}


def _any_object(name: str, told: str) -> Json:
    content = {"application/json": {"schema": {"type": "object"}}}
    answer = {"200": {"description": told, "content": content}}
    return {"operationId": name, "summary": told, "responses": answer | _refusals()}


def _answer(told: str, schema: str) -> Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": told, "content": {"application/json": {"schema": reference}}}


def _limit(most: int) -> Json:
    return _number("limit", 1, most, DEFAULT_LIMIT)


def _number(name: str, least: int, most: int, default: int) -> Json:
    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return {"name": name, "in": "query", "schema": schema}
