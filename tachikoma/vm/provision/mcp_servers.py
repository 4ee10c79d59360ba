"""The user's MCP servers, and the variables that they take into a VM (pure).

They are those that ``claude mcp add`` keeps, for the user and for the project, and any that stand
in settings.json. What the repository brings in ``.mcp.json`` is none of them: it comes with the
worktree, and nothing of the host's environment is looked up for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_REFERENCE = re.compile(r"\$\{([a-zA-Z_][a-zA-Z0-9_]*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[\w .:@/-]{1,128}")
_ANTHROPIC_SECRET = re.compile(r"sk-ant-[\w-]{8}")
_LEAST_SECRET = 8
"""A shorter one would be found in innocent text."""

_SUPPLIED = re.compile(
    r"ANTHROPIC_(?:API_KEY|AUTH_TOKEN|\w*_API_KEY)|CLAUDE_CODE_\w*TOKEN|AWS_BEARER_TOKEN_BEDROCK",
    re.IGNORECASE,
)
"""What the proxy supplies in place of the client."""
_CLOUD = re.compile(r"AWS_\w+|GOOGLE_APPLICATION_CREDENTIALS|CLOUDSDK_\w+", re.IGNORECASE)
"""Supplied as well where the user's Claude Code works with another provider."""
_CLOUD_SWITCHES = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX")

_KEPT_TO_SERVER = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|SHLVL|PWD|OLDPWD|TERM|TZ|LANG|LANGUAGE|TE?MP|TMPDIR|HOSTNAME"
    r"|ENV|IFS|PS\d|PROMPT_COMMAND|EDITOR|VISUAL|PAGER|DISPLAY|UID|EUID|_"
    r"|(?:HTTPS?|ALL|NO|FTP)_PROXY|NODE_OPTIONS|NODE_PATH|NODE_EXTRA_CA_CERTS|DEBUG"
    r"|(?:ANTHROPIC|CLAUDE|TACHIKOMA|DISABLE|LD|DYLD|LC|XDG|SSH|GIT)_\w*"
    r"|MCP_(?:TIMEOUT|TOOL_TIMEOUT|CONNECT\w*)|CLAUDECODE|PYTHON\w*|BASH\w*",
    re.IGNORECASE,
)
"""What the whole shell would work differently with. A server has it; the shell does not."""


@dataclass(frozen=True, slots=True)
class Supplied:
    """How to tell what the proxy supplies: by its name, by the ``secret`` in it, by its looks."""

    secret: str = field(default="", repr=False)
    cloud: bool = False

    def by_name(self, name: str) -> bool:
        """Tell whether a variable of that name is for what the proxy supplies."""
        return bool(_SUPPLIED.fullmatch(name)) or (self.cloud and bool(_CLOUD.fullmatch(name)))

    def inside(self, text: str) -> bool:
        """Tell whether there is a credential for the API in ``text``."""
        found = len(self.secret) >= _LEAST_SECRET and self.secret in text
        return found or bool(_ANTHROPIC_SECRET.search(text))


@dataclass(frozen=True, slots=True)
class Servers:
    """What goes into a VM, and what does not.

    ``definitions`` are as Claude Code keeps them. ``exported`` are the variables for the shell,
    ``carried`` names all that may be a secret with its server: a variable, or
    ``header X``. ``left_out`` says what is not there, and why. ``in_settings`` names those that
    stand in settings.json.
    """

    definitions: dict[str, dict[str, object]] = field(default_factory=dict, repr=False)
    exported: dict[str, str] = field(default_factory=dict, repr=False)
    carried: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    in_settings: tuple[str, ...] = ()


def supplied(secret: str, environment: Mapping[str, str]) -> Supplied:
    """Give how to tell what the proxy supplies to this user."""
    return Supplied(secret, any(environment.get(name) for name in _CLOUD_SWITCHES))


def servers(
    *,
    settings: str,
    state: str,
    project: Path,
    environment: Mapping[str, str],
    supplied: Supplied,
) -> Servers:
    """Choose what of the user's MCP servers goes into a VM of ``project``. Never raises.

    ``settings`` and ``state`` are the texts of settings.json and ~/.claude.json.
    """
    definitions: dict[str, dict[str, object]] = {}
    exported: dict[str, str] = {}
    carried: list[tuple[str, str]] = []
    left_out: list[str] = []
    for name, found in _listed(settings, state, project).items():
        definition = _definition(found)
        if definition is None or not _NAME.fullmatch(name):
            left_out.append(f"the MCP server {name!r}, which is not understood")
            continue
        definition, names = _without_supplied(definition, supplied)
        left_out += [f"{each} of the MCP server {name}: the proxy supplies it" for each in names]
        if any(map(supplied.inside, _texts(definition))):
            left_out.append(f"the MCP server {name}: a credential for the API is in its definition")
            continue
        definitions[name] = definition
        mine = {
            variable: value
            for variable, value in _variables(definition, environment)
            if not supplied.by_name(variable) and not supplied.inside(value)
        }
        exported |= mine
        env, headers = (_table(definition.get(key)) for key in ("env", "headers"))
        carried += [(variable, name) for variable in dict.fromkeys([*env, *mine])]
        carried += [(f"header {header}", name) for header in headers]
    there = _table(_object(settings).get("mcpServers"))
    in_settings = tuple(name for name in definitions if name in there)
    return Servers(definitions, exported, tuple(carried), tuple(left_out), in_settings)


def _listed(settings: str, state: str, project: Path) -> dict[str, object]:
    """Give all servers by name; the project's own win over the user's."""
    kept = _object(state)
    projects = _table(kept.get("projects"))
    of_project = _table(_table(projects.get(str(project))).get("mcpServers"))
    everywhere = _table(_object(settings).get("mcpServers")) | _table(kept.get("mcpServers"))
    return everywhere | of_project


def _definition(found: object) -> dict[str, object] | None:
    """Give a server with what is known of it and nothing else; None if it would not work."""
    table = _table(found)
    kept = {key: table[key] for key in ("type", "command", "url") if _is_text(table.get(key))}
    if ("command" in kept) == ("url" in kept):
        return None
    if isinstance(table.get("alwaysLoad"), bool):
        kept["alwaysLoad"] = table["alwaysLoad"]
    arguments = table.get("args", [])
    if not isinstance(arguments, list) or not all(map(_is_text, arguments)):
        return None
    if arguments:
        kept["args"] = arguments
    for key in ("env", "headers"):
        values = _table(table.get(key))
        if not all(map(_is_text, [*values, *values.values()])):
            return None
        if key == "env" and not all(map(_VARIABLE.fullmatch, values)):
            return None
        if values:
            kept[key] = values
    return kept


def _without_supplied(
    definition: dict[str, object], supplied: Supplied
) -> tuple[dict[str, object], list[str]]:
    """Take out the variables that the proxy makes needless; gives their names, too."""
    env = _table(definition.get("env"))
    out = [
        name for name, text in env.items() if supplied.by_name(name) or supplied.inside(str(text))
    ]
    kept = {name: value for name, value in env.items() if name not in out}
    rest = {key: value for key, value in definition.items() if key != "env"}
    return (rest | {"env": kept} if kept else rest), out


def _variables(
    definition: dict[str, object], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Give the variables of a server and those that it refers to, as on the host."""
    for name, value in _table(definition.get("env")).items():
        text = _resolved(str(value), environment)
        if text is not None and not _KEPT_TO_SERVER.fullmatch(name):
            yield name, text
    for text in _texts(definition):
        for match in _REFERENCE.finditer(text):
            name = match[1]
            if name in environment and not _KEPT_TO_SERVER.fullmatch(name):
                yield name, environment[name]


def _resolved(text: str, environment: Mapping[str, str]) -> str | None:
    """Put the values of variables in the place of references; None where one is missing."""
    for match in _REFERENCE.finditer(text):
        if match[1] not in environment and match[2] is None:
            return None
    return _REFERENCE.sub(lambda match: environment.get(match[1], match[2] or ""), text)


def _texts(definition: Mapping[str, object]) -> Iterator[str]:
    for value in definition.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from map(str, value)
        elif isinstance(value, dict):
            yield from map(str, [*value, *value.values()])


def _object(text: str) -> dict[str, object]:
    try:
        return _table(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return {}


def _table(found: object) -> dict[str, object]:
    return dict(found) if isinstance(found, dict) else {}


def _is_text(value: object) -> bool:
    """Tell whether it is text that a file and an environment can hold."""
    return isinstance(value, str) and not any(
        each == "\0" or "\ud800" <= each <= "\udfff" for each in value
    )
