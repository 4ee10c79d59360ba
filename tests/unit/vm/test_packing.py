from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.belongings.port import ClaudeFiles
from tachikoma.model.errors import ConfigError, NoCredentialError
from tachikoma.model.settings import Settings
from tachikoma.model.vm import Mount
from tachikoma.vm.packing import pack, shares
from tachikoma.vm.ports import Secret
from tachikoma.vm.provision.luggage import Carried, Luggage, Variable
from tests.unit.vm.conftest import REPOSITORY, Bench

KEY = "sk-ant-api03-of-this-test"
SERVER = {"command": "npx", "env": {"TOKEN": "t"}}


async def packed(bench: Bench, **settings: object) -> Luggage:
    chosen = replace(Settings(), **settings)  # type: ignore[arg-type]  # names of Settings
    return await pack(bench.ports(chosen), REPOSITORY)


@pytest.fixture
def rich(bench: Bench) -> Bench:
    """Somebody who has everything that can be carried."""
    bench.belongings.files = ClaudeFiles(
        settings=json.dumps({"model": "opus", "hooks": {}, "mcpServers": {"b": SERVER}}),
        state=json.dumps({"mcpServers": {"a": SERVER}, "primaryApiKey": KEY}),
    )
    bench.belongings.token = "gho_x"
    bench.credentials.secret = Secret("ANTHROPIC_API_KEY", KEY, "ANTHROPIC_API_KEY")
    return bench


async def test_who_has_nothing_carries_nothing_and_nobody_is_asked(bench: Bench) -> None:
    assert await packed(bench) == Luggage()
    assert bench.credentials.asked == 0


async def test_by_default_settings_and_mcp_servers_are_carried_and_named(rich: Bench) -> None:
    luggage = await packed(rich)
    assert luggage.settings == {"model": "opus", "mcpServers": {"b": SERVER}}
    assert luggage.mcp_servers == {"a": SERVER, "b": SERVER}
    assert luggage.variables == (Variable("TOKEN", "t"),)
    (told,) = luggage.told
    assert told == (
        "in the VM because of sync_mcp_servers: TOKEN (MCP server b), TOKEN (MCP server a);"
        " sync_mcp_servers = false or strict_secrets = true keeps it out"
    )
    assert luggage.api_key == ""


async def test_without_sync_the_servers_are_stripped(rich: Bench) -> None:
    luggage = await packed(rich, sync_mcp_servers=False)
    assert luggage == Luggage(settings={"model": "opus"})


async def test_strict_secrets_keeps_out_all_that_is_secret(rich: Bench) -> None:
    rich.belongings.scripts = {Path("/x.sh"): b"true"}
    luggage = await packed(
        rich,
        strict_secrets=True,
        sync_gh_auth=True,
        credential_proxy=False,
        provision_scripts=("/x.sh",),
    )
    assert luggage.settings == {"model": "opus"}
    assert (luggage.variables, luggage.mcp_servers, luggage.carried) == ((), {}, ())
    assert luggage.scripts == (("x.sh", b"true"),)
    (told,) = luggage.told
    assert told.startswith("no credential enters the VM")
    assert rich.credentials.asked == 0


async def test_the_credential_that_the_proxy_supplies_is_known_by_its_value(rich: Bench) -> None:
    odd = Secret("CLAUDE_CODE_OAUTH_TOKEN", "an-odd-secret", "credential_command")
    rich.credentials.secret = odd
    server = {"command": "x", "env": {"MINE": "an-odd-secret", "OTHER": "o"}}
    rich.belongings.files = ClaudeFiles(state=json.dumps({"mcpServers": {"x": server}}))
    luggage = await packed(rich)
    assert luggage.variables == (Variable("OTHER", "o"),)
    assert "an-odd-secret" not in json.dumps(luggage.mcp_servers)
    assert "not in the VM: MINE of the MCP server x: the proxy supplies it" in luggage.told


async def test_without_a_credential_there_is_none_to_keep_out(rich: Bench) -> None:
    rich.credentials.secret = None
    assert (await packed(rich)).variables == (Variable("TOKEN", "t"),)


async def test_without_the_proxy_the_credential_itself_is_carried(rich: Bench) -> None:
    rich.belongings.variables = {"ANTHROPIC_BASE_URL": "https://gateway.example"}
    luggage = await packed(rich, credential_proxy=False, sync_mcp_servers=False, network="open")
    assert luggage.variables == (
        Variable("ANTHROPIC_API_KEY", KEY),
        Variable("ANTHROPIC_BASE_URL", "https://gateway.example"),
    )
    assert luggage.api_key == KEY
    assert luggage.carried == (
        Carried("ANTHROPIC_API_KEY", "credential_proxy", "ANTHROPIC_API_KEY"),
    )
    assert len(luggage.told) == 1
    assert KEY not in repr(luggage)


async def test_an_oauth_token_is_no_api_key(rich: Bench) -> None:
    rich.credentials.secret = Secret("CLAUDE_CODE_OAUTH_TOKEN", "o", "a file")
    luggage = await packed(rich, credential_proxy=False, sync_mcp_servers=False)
    assert luggage.variables == (Variable("CLAUDE_CODE_OAUTH_TOKEN", "o"),)
    assert luggage.api_key == ""
    assert any("the VM reaches nothing" in each for each in luggage.told)


@pytest.mark.parametrize("secret", [None, Secret("", "x", "somewhere")])
async def test_a_vm_that_is_to_have_a_credential_that_cannot_be_had_is_not_spawned(
    rich: Bench, secret: Secret | None
) -> None:
    rich.credentials.secret = secret
    with pytest.raises(NoCredentialError):
        await packed(rich, credential_proxy=False)


async def test_the_login_of_gh_is_carried_if_wanted(rich: Bench) -> None:
    luggage = await packed(rich, sync_gh_auth=True, sync_mcp_servers=False)
    assert luggage.variables == (Variable("GH_TOKEN", "gho_x"),)
    assert luggage.carried == (Carried("GH_TOKEN", "sync_gh_auth", "gh"),)


async def test_a_missing_gh_is_told_and_hinders_nothing(rich: Bench) -> None:
    rich.belongings.token = ""
    luggage = await packed(rich, sync_gh_auth=True, sync_mcp_servers=False)
    assert luggage.variables == ()
    assert luggage.told == (
        "no GitHub login enters the VM (sync_gh_auth): the program gh is not installed",
    )


async def test_broken_settings_are_told_and_hinder_nothing(bench: Bench) -> None:
    bench.belongings.files = ClaudeFiles(settings="{")
    assert (await packed(bench)).told == (
        "the settings.json of Claude Code stays out of the VM: it is not JSON",
    )


async def test_scripts_are_carried_in_their_order(bench: Bench) -> None:
    bench.belongings.scripts = {Path("/b.sh"): b"b", Path("/a.sh"): b"a"}
    luggage = await packed(bench, provision_scripts=("/b.sh", "/a.sh"))
    assert luggage.scripts == (("b.sh", b"b"), ("a.sh", b"a"))
    with pytest.raises(ConfigError):
        await packed(bench, provision_scripts=("/c.sh",))


async def test_shares_are_what_exists_of_the_list_and_the_memory_all_read_only(
    bench: Bench,
) -> None:
    home = bench.belongings.claude
    memory = home / "projects/-src-app/memory"
    bench.belongings.shared = {"agents", "skills"}
    bench.belongings.remembers = {REPOSITORY: memory}
    ports = bench.ports()
    assert await shares(ports, REPOSITORY) == (
        Mount("claude-agents", home / "agents", read_only=True),
        Mount("claude-skills", home / "skills", read_only=True),
        Mount("memory", memory, read_only=True),
    )
    assert await shares(bench.ports(Settings(share_claude_dirs=())), REPOSITORY) == ()


async def test_a_memory_inside_another_share_is_not_shared_twice(bench: Bench) -> None:
    home = bench.belongings.claude
    bench.belongings.shared = {"projects"}
    bench.belongings.remembers = {REPOSITORY: home / "projects/-src-app/memory"}
    ports = bench.ports(Settings(share_claude_dirs=("projects",)))
    assert [mount.tag for mount in await shares(ports, REPOSITORY)] == ["claude-projects"]
