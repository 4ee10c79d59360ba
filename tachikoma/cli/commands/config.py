"""``tachikoma config [get|set|unset|path|validate]``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from tachikoma.cli.completing import keys
from tachikoma.cli.door import Door
from tachikoma.cli.table import Column
from tachikoma.cli.verb import Verb, VerbGroup
from tachikoma.config.describe import Entry, Plain, entries, toml
from tachikoma.config.files import SettingsFiles
from tachikoma.config.load import BY_NAME
from tachikoma.model.errors import (
    ConfigError,
    HypervisorError,
    TachikomaError,
    UnknownKeyError,
    UsageError,
)
from tachikoma.runtime import Runtime

_COLUMNS = (
    Column("KEY"),
    Column("VALUE", least=12),
    Column("SOURCE", least=12, keep_end=True),
)
_EXAMPLES = """\b
Examples:
  tachikoma config                       every key, its value, and who says so
  tachikoma config set vm_memory 4096
  tachikoma config --edit
"""
_GET_EXAMPLES = """\b
Examples:
  tachikoma config get vm_cpus
  tachikoma config get claude_flags --json
"""
_SET_EXAMPLES = """\b
Examples:
  tachikoma config set vm_cpus 8
  tachikoma config set --repo claude_flags '["--model", "opus"]'
  tachikoma config set share_claude_dirs rules agents
"""
_UNSET_EXAMPLES = """\b
Examples:
  tachikoma config unset vm_cpus
  tachikoma config unset --local network
"""
_PATH_EXAMPLES = """\b
Examples:
  tachikoma config path
  cat "$(tachikoma config path --repo)"
"""
_VALIDATE_EXAMPLES = """\b
Examples:
  tachikoma config validate && git commit .tachikoma.toml
"""
_repo = click.option("--repo", is_flag=True, help="The repository's .tachikoma.toml.")
_local = click.option(
    "--local", is_flag=True, help="The repository's .tachikoma.local.toml, for yourself alone."
)


@click.group("config", cls=VerbGroup, invoke_without_command=True, epilog=_EXAMPLES)
@click.option("--edit", is_flag=True, help="Open a settings file in $VISUAL or $EDITOR.")
@_repo
@_local
@click.pass_context
def command(context: click.Context, *, edit: bool, repo: bool, local: bool) -> int:
    """Show every setting with its value and the file that it comes from.

    Later files win: ~/.config/tachikoma/config.toml, then .tachikoma.toml of the repository,
    then .tachikoma.local.toml beside it. A repository cannot set what runs on the host, unless
    you `tachikoma trust` it.
    """
    if context.invoked_subcommand is not None:
        return 0
    door = context.find_object(Door)
    assert door is not None
    if (repo or local) and not edit:
        raise UsageError("--repo and --local go with --edit here", hint="add --edit")
    return _edit(door, repo=repo, local=local) if edit else _show(door)


@command.command("get", cls=Verb, epilog=_GET_EXAMPLES)
@click.argument("key", shell_complete=keys)
@click.pass_obj
def get(door: Door, *, key: str) -> int:
    """Print the value of KEY, as it holds here; an empty line where it is not set."""
    door.run(lambda runtime: runtime.load_settings())
    found = {each.key: _effective(door, each) for each in entries(door.runtime.loaded)}
    entry = found.get(key)
    if entry is None:
        raise _no_key(key)
    door.screen.give(
        {"key": key, "value": entry.value, "source": entry.source}, [_printed(entry.value)]
    )
    return 0


@command.command("set", cls=Verb, epilog=_SET_EXAMPLES)
@click.argument("key", shell_complete=keys)
@click.argument("values", nargs=-1, required=True, metavar="VALUE...")
@_repo
@_local
@click.pass_obj
def put(door: Door, *, key: str, values: tuple[str, ...], repo: bool, local: bool) -> int:
    """Set KEY in your own settings file, or in one of the repository. The rest of the file stays.

    VALUE is written as in TOML; quotes round a text may be left out, and a list may be given as
    several VALUEs.
    """
    file, value = door.run(
        lambda runtime: _put(runtime, key, values, repo=repo, local=local), settled=False
    )
    where = _short(str(file), door.runtime.paths.home)
    door.screen.give(
        {"key": key, "value": json.loads(value), "file": str(file)}, [f"{key} = {value}  ({where})"]
    )
    door.run(lambda runtime: runtime.load_settings())
    door.warn()
    return 0


@command.command("unset", cls=Verb, epilog=_UNSET_EXAMPLES)
@click.argument("key", shell_complete=keys)
@_repo
@_local
@click.pass_obj
def unset(door: Door, *, key: str, repo: bool, local: bool) -> int:
    """Take KEY out of a settings file, so that an earlier file or the default holds."""
    file, was_set = door.run(
        lambda runtime: _unset(runtime, key, repo=repo, local=local), settled=False
    )
    said = f"{key} is not set in {file} any more" if was_set else f"{key} was not set in {file}"
    door.screen.give({"key": key, "file": str(file), "was_set": was_set}, [said])
    return 0


@command.command("path", cls=Verb, epilog=_PATH_EXAMPLES)
@_repo
@_local
@click.pass_obj
def path(door: Door, *, repo: bool, local: bool) -> int:
    """Print where a settings file is, whether it exists or not (default: your own)."""
    _, file = door.run(lambda r: _file(r, repo=repo, local=local), settled=False)
    door.screen.give({"file": str(file), "exists": file.exists()}, [str(file)])
    return 0


@command.command("validate", cls=Verb, epilog=_VALIDATE_EXAMPLES)
@click.pass_obj
def validate(door: Door) -> int:
    """Read all settings files that hold here. Exit status 1 if one cannot be used.

    What is read but not applied is told as a warning.
    """
    door.run(lambda runtime: runtime.load_settings())
    return _valid(door)


def _valid(door: Door) -> int:
    used = sorted(set(door.runtime.loaded.sources.values()) - {"default"})
    warnings = list(door.runtime.warnings)
    home = door.runtime.paths.home
    told = [f"ok: {_short(file, home)}" for file in used] or ["ok: no file sets anything"]
    door.screen.give({"valid": True, "files": used, "warnings": warnings}, told)
    _tell_warnings(door)
    return 0


def _show(door: Door) -> int:
    door.run(lambda runtime: runtime.load_settings())
    found = [_effective(door, entry) for entry in entries(door.runtime.loaded)]
    data: dict[str, object] = {
        "values": [
            {"key": entry.key, "value": entry.value, "source": entry.source} for entry in found
        ],
        "warnings": list(door.runtime.warnings),
    }
    home = door.runtime.paths.home
    rows = [
        [
            entry.key,
            "-" if entry.value is None else toml(entry.value),
            _short(entry.source, home),
        ]
        for entry in found
    ]
    door.screen.give(data, door.screen.table(_COLUMNS, rows))
    _tell_warnings(door)
    return 0


def _tell_warnings(door: Door) -> None:
    for warning in door.runtime.warnings:
        door.screen.note(f"warning: {warning}")


def _edit(door: Door, *, repo: bool, local: bool) -> int:
    """Let the user edit a file, made with every key explained if there is none, and check it."""
    if not door.interactive:
        raise UsageError(
            "an editor needs a terminal", hint="`tachikoma config set KEY VALUE` does without"
        )
    files, file = door.run(lambda r: _file(r, repo=repo, local=local), settled=False)
    files.ensure(file)
    environ = door.terminal.environ
    editor = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "vi")
    status = door.terminal.call([*editor, str(file)])
    if status != 0:
        raise ConfigError(
            f"the editor {editor[0]!r} ended with exit status {status}",
            hint="set VISUAL or EDITOR to another one",
        )
    try:
        door.run(lambda runtime: runtime.load_settings())
    except TachikomaError as error:
        error.hint = f"it is saved as you left it; `tachikoma config --edit` again. {error.hint}"
        raise
    return _valid(door)


async def _file(runtime: Runtime, *, repo: bool, local: bool) -> tuple[SettingsFiles, Path]:
    if repo and local:
        raise UsageError("--repo and --local are two files", hint="give one of them")
    files = await runtime.settings_files()
    file = files.local if local else files.shared if repo else files.own
    if file is None:
        raise ConfigError(
            f"{runtime.cwd} is in no git repository, so there is no such file",
            hint="change to a repository, or leave --repo and --local out",
        )
    return files, file


async def _put(
    runtime: Runtime, key: str, values: Sequence[str], *, repo: bool, local: bool
) -> tuple[Path, str]:
    files, file = await _file(runtime, repo=repo, local=local)
    if key not in BY_NAME:
        raise _no_key(key)
    value = files.understood(key, values, file)
    files.change(file, key, value)
    return file, value


async def _unset(runtime: Runtime, key: str, *, repo: bool, local: bool) -> tuple[Path, bool]:
    files, file = await _file(runtime, repo=repo, local=local)
    if key not in BY_NAME:
        raise _no_key(key)
    return file, files.change(file, key, None)


def _no_key(key: str) -> UnknownKeyError:
    import difflib

    near = difflib.get_close_matches(key, BY_NAME, n=1)
    return UnknownKeyError(
        f"there is no key {key!r}",
        hint=f"did you mean {near[0]}?" if near else "`tachikoma config` shows all keys",
    )


def _printed(value: Plain) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            return toml(value)


def _short(source: str, home: Path) -> str:
    return source.replace(f"{home}/", "~/", 1) if source.startswith(f"{home}/") else source


def _effective(door: Door, entry: Entry) -> Entry:
    """Put in the engine's own default where the user has set nothing."""
    if entry.key in door.runtime.settings.explicit:
        return entry
    try:
        features = door.runtime.hypervisor.features
    except HypervisorError:
        return entry
    own: dict[str, str] = {
        "base_image": features.default_image,
        "credential_proxy_bind": features.proxy_bind,
        "network": features.default_network.value,
    }
    if entry.key not in own:
        return entry
    return replace(entry, value=own[entry.key], source=f"default of {features.engine}")
