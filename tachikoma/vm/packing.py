"""Packing: what of the user's own things goes into a VM, as the settings have it.

Everything is read before anything is done to a VM, so that a missing script or credential stops a
spawn at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tachikoma.belongings.port import ClaudeFiles
from tachikoma.model.errors import HostError, NoCredentialError
from tachikoma.model.vm import Mount, Network
from tachikoma.vm.ports import Ports
from tachikoma.vm.provision import mcp_servers
from tachikoma.vm.provision.claude_settings import sanitised
from tachikoma.vm.provision.luggage import Carried, Luggage, Variable
from tachikoma.vm.provision.plan import share_of_claude

_API_KEY = "ANTHROPIC_API_KEY"
_BASE_URL = "ANTHROPIC_BASE_URL"
_GH_TOKEN = "GH_TOKEN"  # noqa: S105 - the name of a variable
_KEEPS_OUT = {
    "credential_proxy": "credential_proxy = true",
    "sync_mcp_servers": "sync_mcp_servers = false",
    "sync_gh_auth": "sync_gh_auth = false",
}


@dataclass(slots=True)
class _Bag:
    """What is packed so far."""

    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    servers: dict[str, dict[str, object]] = field(default_factory=dict)
    api_key: str = ""
    carried: list[Carried] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


async def pack(ports: Ports, project: Path) -> Luggage:
    """Put together what the VMs of ``project``, a repository's root, get of the user's own.

    Raises:
        NoCredentialError: the VM is to have the credential itself, and there is none.
        ConfigError: a provision script cannot be used.
        HostError: a file of Claude Code cannot be read.
    """
    bag, settings = _Bag(), ports.settings
    files = await ports.belongings.claude_files()
    _pack_settings(bag, files)
    if settings.strict_secrets:
        if not settings.credential_proxy:
            bag.told.append(
                "no credential enters the VM (strict_secrets = true), and it does without the"
                " proxy (credential_proxy = false): Claude Code cannot sign in there"
            )
    else:
        if not settings.credential_proxy:
            await _pack_credential(bag, ports)
        if settings.sync_mcp_servers:
            await _pack_servers(bag, ports, files, project)
        if settings.sync_gh_auth:
            await _pack_github(bag, ports)
    scripts = [await ports.belongings.script(Path(each)) for each in settings.provision_scripts]
    return Luggage(
        variables=tuple(Variable(name, value) for name, value in bag.variables.items()),
        settings=bag.settings,
        mcp_servers=bag.servers,
        scripts=tuple((script.name, script.content) for script in scripts),
        api_key=bag.api_key,
        carried=tuple(bag.carried),
        told=(*_named(bag.carried), *bag.told),
    )


async def shares(ports: Ports, project: Path) -> tuple[Mount, ...]:
    """Find what a VM sees of ~/.claude: the directories of the settings, and the memory.

    A guest that could write there would make the Claude Code of the host run or believe
    something; all of it is read-only.
    """
    names = ports.settings.share_claude_dirs
    if not names:
        return ()
    found = list(await ports.belongings.directories(names))
    memory = await ports.belongings.memory(project)
    if memory is not None and not any(memory.is_relative_to(each) for each in found):
        found.append(memory)
    return tuple(share_of_claude(path) for path in found)


def _pack_settings(bag: _Bag, files: ClaudeFiles) -> None:
    clean = sanitised(files.settings, is_secret=mcp_servers.Supplied().inside)
    bag.settings = clean.settings
    if clean.broken:
        bag.told.append(f"the settings.json of Claude Code stays out of the VM: {clean.broken}")


async def _pack_credential(bag: _Bag, ports: Ports) -> None:
    """The credential itself; and where it is valid, if that is not Anthropic's own address."""
    secret = await ports.credentials.current()
    if not secret.variable:
        raise NoCredentialError(
            f"the credential from {secret.source} cannot be given to a VM",
            hint="set credential_proxy = true",
        )
    bag.variables[secret.variable] = secret.value
    bag.api_key = secret.value if secret.variable == _API_KEY else ""
    if base := ports.belongings.environment.get(_BASE_URL, ""):
        bag.variables[_BASE_URL] = base
    bag.carried.append(Carried(secret.variable, "credential_proxy", secret.source))
    if ports.network is Network.PROXY:
        bag.told.append(
            'the VM reaches nothing: it does without the proxy, and network is "proxy";'
            ' set network = "open"'
        )


async def _pack_servers(bag: _Bag, ports: Ports, files: ClaudeFiles, project: Path) -> None:
    environment = ports.belongings.environment

    def chosen(secret: str) -> mcp_servers.Servers:
        return mcp_servers.servers(
            settings=files.settings,
            state=files.state,
            project=project,
            environment=environment,
            supplied=mcp_servers.supplied(secret, environment),
        )

    found = chosen("")
    if found.definitions and ports.settings.credential_proxy:
        found = chosen(await _supplied_secret(ports))
    bag.variables |= found.exported
    bag.servers = found.definitions
    if found.in_settings:
        bag.settings["mcpServers"] = {name: bag.servers[name] for name in found.in_settings}
    bag.told += [f"not in the VM: {each}" for each in found.left_out]
    bag.carried += [
        Carried(name, "sync_mcp_servers", f"MCP server {server}") for name, server in found.carried
    ]


async def _supplied_secret(ports: Ports) -> str:
    try:
        return (await ports.credentials.current()).value
    except NoCredentialError:
        return ""  # then there is none that could be among the variables


async def _pack_github(bag: _Bag, ports: Ports) -> None:
    try:
        token = await ports.belongings.github_token()
    except HostError as error:
        bag.told.append(f"no GitHub login enters the VM (sync_gh_auth): {error.message}")
        return
    bag.variables[_GH_TOKEN] = token
    bag.carried.append(Carried(_GH_TOKEN, "sync_gh_auth", "gh"))


def _named(carried: list[Carried]) -> Iterator[str]:
    """Name everything, setting by setting, with what keeps it out."""
    for setting, without in _KEEPS_OUT.items():
        named = [f"{each.name} ({each.origin})" for each in carried if each.setting == setting]
        if named:
            yield (
                f"in the VM because of {setting}: {', '.join(named)};"
                f" {without} or strict_secrets = true keeps it out"
            )
