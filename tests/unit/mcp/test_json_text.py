from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.mcp.json_text import member_at, with_member, without_member

PATH = ("mcpServers", "tachikoma")
ENTRY = {"command": "tachikoma", "args": ["mcp"]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
SERVERS = st.dictionaries(st.sampled_from(["tachikoma", "other", ""]), VALUES, max_size=3)
LAYOUTS = st.sampled_from([None, 2, 4, "\t"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A JSON object in some layout, with or without servers in it."""
    made = draw(OBJECTS)
    if draw(st.booleans()):
        made["mcpServers"] = draw(SERVERS)
    text = json.dumps(made, indent=draw(LAYOUTS), ensure_ascii=draw(st.booleans()))
    return text + draw(st.sampled_from(["", "\n", "\r\n  "])), made


@given(documents())
def test_our_entry_is_put_in_and_nothing_else_changes(document: tuple[str, dict[str, Any]]) -> None:
    text, made = document
    wanted = copy.deepcopy(made)
    if not isinstance(wanted.get("mcpServers", {}), dict):
        with pytest.raises(ValueError, match="object"):
            with_member(text, PATH, ENTRY)
        return
    wanted.setdefault("mcpServers", {})["tachikoma"] = ENTRY
    after = with_member(text, PATH, ENTRY)
    assert json.loads(after) == wanted
    assert list(json.loads(after)) == list(wanted)
    assert json.loads(with_member(after, PATH, ENTRY)) == wanted
    assert member_at(after, PATH) == ENTRY


@given(documents())
def test_our_entry_is_taken_out_and_nothing_else_changes(
    document: tuple[str, dict[str, Any]],
) -> None:
    text, made = document
    wanted = copy.deepcopy(made)
    if isinstance(wanted.get("mcpServers"), dict):
        wanted["mcpServers"].pop("tachikoma", None)
    after = without_member(text, PATH)
    assert json.loads(after) == wanted
    if wanted == made:
        assert after == text


@given(documents())
def test_putting_in_and_taking_out_gives_the_characters_that_were_there(
    document: tuple[str, dict[str, Any]],
) -> None:
    text, made = document
    servers = made.get("mcpServers")
    if not isinstance(servers, dict) or not servers or "tachikoma" in servers:
        return
    assert without_member(with_member(text, PATH, ENTRY), PATH) == text


def test_an_entry_looks_as_its_neighbours_do() -> None:
    text = '{\n    "x": [1,   2],\n    "mcpServers": {\n        "a": {}\n    }\n}\n'
    assert with_member(text, PATH, {"args": []}) == (
        '{\n    "x": [1,   2],\n    "mcpServers": {\n        "a": {},\n'
        '        "tachikoma": {\n            "args": []\n        }\n    }\n}\n'
    )


def test_an_empty_file_becomes_one_with_our_entry() -> None:
    assert json.loads(with_member("", PATH, ENTRY)) == {"mcpServers": {"tachikoma": ENTRY}}
    assert without_member("", PATH) == ""
    assert member_at("", PATH) is None


@pytest.mark.parametrize("text", ["[]", "7", "// a comment\n{}", "{,}", '{"mcpServers": []}'])
def test_what_is_no_plain_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        with_member(text, PATH, ENTRY)
