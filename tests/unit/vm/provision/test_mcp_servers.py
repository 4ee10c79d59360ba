from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.vm.provision.mcp_servers import Servers, Supplied, servers, supplied

PROJECT = Path("/src/app")
SECRET = "the-real-credential"


def chosen(
    mine: dict[str, Any] | None = None,
    *,
    settings: dict[str, Any] | None = None,
    project: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Servers:
    state = {"mcpServers": mine or {}, "projects": {str(PROJECT): {"mcpServers": project or {}}}}
    return servers(
        settings=json.dumps({"mcpServers": settings or {}}),
        state=json.dumps(state),
        project=PROJECT,
        environment=environment or {},
        supplied=supplied(SECRET, environment or {}),
    )


GITHUB = {"type": "stdio", "command": "npx", "args": ["-y", "github"], "env": {"GH_PAT": "p"}}


def test_a_server_comes_with_its_variables_and_they_are_named() -> None:
    linear = {"type": "http", "url": "https://x.example/mcp", "headers": {"X-Key": "k"}}
    found = chosen({"github": GITHUB, "linear": linear})
    assert found.definitions == {"github": GITHUB, "linear": linear}
    assert found.exported == {"GH_PAT": "p"}
    assert found.carried == (("GH_PAT", "github"), ("header X-Key", "linear"))
    assert found.left_out == ()


def test_the_servers_of_the_project_win_over_the_users_and_those_over_the_settings() -> None:
    def server(which: str) -> dict[str, Any]:
        return {"command": which}

    found = chosen(
        {"a": server("user"), "b": server("user")},
        settings={"a": server("settings"), "c": server("settings")},
        project={"b": server("project")},
    )
    assert {name: each["command"] for name, each in found.definitions.items()} == {
        "a": "user",
        "b": "project",
        "c": "settings",
    }
    assert found.in_settings == ("a", "c")


def test_servers_of_other_projects_stay_out() -> None:
    state = {"projects": {"/src/other": {"mcpServers": {"x": {"command": "x"}}}}}
    found = servers(
        settings="",
        state=json.dumps(state),
        project=PROJECT,
        environment={},
        supplied=Supplied(),
    )
    assert found == Servers()


def test_references_are_resolved_as_on_the_host() -> None:
    found = chosen(
        {
            "x": {
                "command": "x",
                "args": ["--home", "${HOME}", "${ARG}", "${MISSING}"],
                "env": {"A": "${TOKEN}", "B": "${NONE:-b}", "C": "${NONE}"},
            }
        },
        environment={"TOKEN": "t", "ARG": "a", "HOME": "/home/ada"},
    )
    assert found.exported == {"A": "t", "B": "b", "TOKEN": "t", "ARG": "a"}
    assert found.definitions["x"]["env"] == {"A": "${TOKEN}", "B": "${NONE:-b}", "C": "${NONE}"}
    assert {name for name, _ in found.carried} == {"A", "B", "C", "TOKEN", "ARG"}


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LD_PRELOAD", "HTTPS_PROXY", "no_proxy", "NODE_OPTIONS", "BASH_ENV",
             "ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR", "TACHIKOMA_BRANCH", "GIT_DIR", "PYTHONPATH"]
)  # fmt: skip
def test_what_would_change_the_whole_shell_stays_with_its_server(name: str) -> None:
    found = chosen({"x": {"command": "x", "env": {name: "v"}}}, environment={name: "v"})
    assert found.exported == {}
    assert found.definitions["x"]["env"] == {name: "v"}
    assert found.carried == ((name, "x"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTHROPIC_API_KEY", "anything"),
        ("ANTHROPIC_AUTH_TOKEN", "anything"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "anything"),
        ("AWS_BEARER_TOKEN_BEDROCK", "anything"),
        ("MY_KEY", "sk-ant-api03-0123456789"),
        ("MY_KEY", SECRET),
        ("MY_KEY", f"Bearer {SECRET}"),
        ("MY_KEY", "${ANTHROPIC_API_KEY}"),
    ],
)
def test_what_the_proxy_supplies_stays_out_of_variables(name: str, value: str) -> None:
    found = chosen(
        {"x": {"command": "x", "env": {name: value, "OTHER": "o"}}},
        environment={"ANTHROPIC_API_KEY": SECRET},
    )
    assert found.exported == {"OTHER": "o"}
    assert SECRET not in json.dumps(found.definitions)


@pytest.mark.parametrize(
    "server",
    [
        {"command": "x", "args": ["--key", SECRET]},
        {"command": f"x --key={SECRET}"},
        {"url": f"https://x.example/?key={SECRET}"},
        {"url": "https://x.example", "headers": {"Authorization": f"Bearer {SECRET}"}},
        {"url": "https://x.example", "headers": {"Authorization": "Bearer sk-ant-oat01-01234567"}},
    ],
)
def test_a_server_with_the_credential_in_its_definition_stays_out(server: dict[str, Any]) -> None:
    found = chosen({"x": server})
    assert (found.definitions, found.exported, found.carried) == ({}, {}, ())
    assert "the MCP server x" in found.left_out[0]


def test_keys_of_a_cloud_are_supplied_where_claude_code_works_with_that_cloud() -> None:
    server = {"x": {"command": "x", "env": {"AWS_SECRET_ACCESS_KEY": "k"}}}
    assert chosen(server).exported == {"AWS_SECRET_ACCESS_KEY": "k"}
    assert chosen(server, environment={"CLAUDE_CODE_USE_BEDROCK": "1"}).exported == {}


@pytest.mark.parametrize(
    "server",
    [
        None,
        3,
        {},
        {"command": 3},
        {"command": "x", "url": "y"},
        {"command": "x", "args": "y"},
        {"command": "x", "args": [3]},
        {"command": "x", "env": {"A": 3}},
        {"command": "x", "env": {"NOT A NAME": "v"}},
        {"command": "x", "env": {"A;B": "v"}},
        {"command": "x", "env": {"A": "nul\0"}},
    ],
)
def test_a_server_that_would_not_work_is_left_out_and_named(server: object) -> None:
    found = chosen({"odd": server, "fine": {"command": "x"}})
    assert list(found.definitions) == ["fine"]
    assert found.left_out == ("the MCP server 'odd', which is not understood",)


def test_what_of_a_definition_is_not_known_stays_out() -> None:
    found = chosen({"x": {"command": "x", "headersHelper": "/x", "alwaysLoad": True, "future": 1}})
    assert found.definitions == {"x": {"command": "x", "alwaysLoad": True}}


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_files_that_are_no_json_hold_no_servers(text: str) -> None:
    found = servers(settings=text, state=text, project=PROJECT, environment={}, supplied=Supplied())
    assert found == Servers()


words = st.text(max_size=8) | st.sampled_from(
    [SECRET, f"a{SECRET}b", "${KEY}", "sk-ant-x-01234567"]
)


@given(
    st.dictionaries(
        st.sampled_from(["A", "MY_KEY", "ANTHROPIC_API_KEY", "PATH"]), words, max_size=4
    ),
    st.lists(words, max_size=3),
    st.dictionaries(st.sampled_from(["X", "Y"]), words, max_size=2),
)
def test_no_credential_of_the_proxy_comes_out_of_anything(
    env: dict[str, str], args: list[str], headers: dict[str, str]
) -> None:
    found = chosen(
        {
            "a": {"command": "x", "args": args, "env": env},
            "b": {"url": "x", "headers": headers},
        },
        environment={"KEY": SECRET, "ANTHROPIC_API_KEY": SECRET},
    )
    out = json.dumps([found.definitions, found.exported])
    assert SECRET not in out
    assert "sk-ant-" not in out
    assert "ANTHROPIC_API_KEY" not in found.exported
