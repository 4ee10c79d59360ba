"""The page of the makima server's REST API, made of what its OpenAPI document is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tachikoma.makima.server.endpoints import ENDPOINTS, Endpoint, Who
from tachikoma.makima.server.openapi import document

ABOUT = """\
The server tells the same, in full, at `/openapi.json` (OpenAPI 3.1). Names are camelCase, times are
RFC 3339 in UTC, ids are UUIDs; a field that an endpoint does not have is refused. A key goes into
`Authorization: Bearer KEY`; a browser opens a session instead, and sends `X-CSRF-Token` with every
request that changes something. Orchestrators may call what is marked with ◆, for their own task and
what is below it.

Every answer with a status from 400 on is `{"error": {"code", "message", "hint"}}`. A stream is made
of server-sent events and is resumed with `Last-Event-ID`. Those of `events` are named `task` or
`daemon` (`hello` at the beginning, `reset` if too much was missed), those of an output `output`,
`gap` where old output is not kept any more, and `end`. `GET /metrics` counts for Prometheus.
"""


def page(note: str) -> str:
    """Give the whole page."""
    made = document()
    parts = [f"# The makima server's API\n\n{note}\n\n{ABOUT}"]
    for tag in made["tags"]:
        parts.append(f"## {tag['description']}\n")
        parts += [_endpoint(each, made) for each in ENDPOINTS if each.tag == tag["name"]]
    parts.append("## Values\n")
    answers = {each.answer.__name__ for each in ENDPOINTS}
    schemas: Mapping[str, Any] = made["components"]["schemas"]
    parts += [
        f"### {name}\n\n{schema.get('description', '')}\n\n{_table(schema)}"
        for name, schema in sorted(schemas.items())
        if "properties" in schema and (name in answers or _is_part(name))
    ]
    return "\n".join(parts)


def _is_part(name: str) -> bool:
    return name not in {each.body.__name__ for each in ENDPOINTS if each.body is not None}


def _endpoint(each: Endpoint, made: Mapping[str, Any]) -> str:
    mark = " ◆" if each.who is Who.TOOLS else ""
    gives = f"{each.answer.__name__}{' (stream)' if each.stream else ''}"
    lines = [f"### {each.method} {each.path}{mark}\n\n{each.summary} Gives `{gives}`.\n"]
    operation = made["paths"][each.path][each.method.lower()]
    query = [one for one in operation["parameters"] if one["in"] == "query"]
    if query:
        lines.append("| Parameter | Type | |\n|---|---|---|")
        lines += [
            f"| `{one['name']}` | {_type(one['schema'])} | {one.get('description', '')} |"
            for one in query
        ]
        lines.append("")
    if each.body is not None:
        lines.append(_table(made["components"]["schemas"][each.body.__name__]))
    return "\n".join(lines)


def _table(schema: Mapping[str, Any]) -> str:
    return "| Field | Type | |\n|---|---|---|\n" + "".join(_rows(schema))


def _rows(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        optional = "" if name in required else ", optional"
        yield f"| `{name}` | {_type(field)}{optional} | {field.get('description', '')} |\n"


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("type") == "object":
        return "object"
    return str(field.get("format") or field.get("type", "any"))
