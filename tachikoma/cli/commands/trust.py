"""``tachikoma trust``: the user's one-time trust of a repository's settings files."""

from __future__ import annotations

import json

import click

from tachikoma.cli import words
from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.config.load import RepositoryFile
from tachikoma.model.errors import ConfigError
from tachikoma.runtime import Runtime

_EXAMPLES = """\b
Examples:
  tachikoma trust              show what it would allow, and ask
  tachikoma trust --show       only show it
  tachikoma trust --revoke
"""


@click.command("trust", cls=Verb, epilog=_EXAMPLES)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--show", is_flag=True, help="Only show what trust would allow. Changes nothing.")
@click.option("--revoke", is_flag=True, help="Trust this repository's files no longer.")
@click.pass_obj
def command(door: Door, *, yes: bool, show: bool, revoke: bool) -> int:
    """Let the settings files of this repository do what a repository may not do by itself.

    That is: run commands on this host (credential_command, api_key_command), run its scripts in
    your VMs, name paths outside of it, give a VM more than you do, and, by a makima-daemon.toml in
    this directory, bind the makima daemon to a server. What each file would be allowed is shown
    first. Trust holds for exactly this content: whoever changes the file, a VM
    for instance, ends it. It does not cover programs that a command names: look at them, too.
    """
    files = door.run(_look)
    if revoke:
        return _revoke(door, files)
    asking = [each for each in files if each.withheld and not each.trusted]
    lines = [line for each in files for line in _described(door, each)]
    if show or not asking:
        door.screen.give(_data(files), lines or ["there is nothing that takes trust here"])
        if not asking and lines and not show:
            door.screen.note("nothing to do: all of this is trusted already")
        return 0
    if not yes:
        for line in (line for each in files for line in _described(door, each)):
            door.screen.note(line)
        if not door.confirm("Trust exactly this content?"):
            door.screen.note("nothing was changed")
            return 1
    for each in asking:
        door.runtime.trusted.grant(each.file, each.digest)
    told = [f"trusted: {each.file}" for each in asking]
    door.screen.give(_data(door.run(_look_again)), [*lines, *told] if yes else told)
    return 0


async def _look(runtime: Runtime) -> tuple[RepositoryFile, ...]:
    if (await runtime.settings_files()).repository is None:
        raise ConfigError(
            f"{runtime.cwd} is in no git repository",
            hint="change to the repository whose settings you want to trust",
        )
    return _all_files(runtime)


async def _look_again(runtime: Runtime) -> tuple[RepositoryFile, ...]:
    await runtime.load_settings(anew=True)
    return _all_files(runtime)


def _all_files(runtime: Runtime) -> tuple[RepositoryFile, ...]:
    """Give the files of tachikoma's own settings, and that of the makima daemon if there is one."""
    if not (runtime.cwd / "makima-daemon.toml").exists():
        return runtime.loaded.repository_files
    local = runtime.load_makima().local
    return (*runtime.loaded.repository_files, *([local] if local else []))


def _revoke(door: Door, files: tuple[RepositoryFile, ...]) -> int:
    known = [each.file for each in files if door.runtime.trusted.known(each.file)]
    for file in known:
        door.runtime.trusted.revoke(file)
    said = [f"not trusted any more: {file}" for file in known]
    door.screen.give(
        {"revoked": [str(file) for file in known]}, said or ["nothing was trusted here"]
    )
    return 0


def _data(files: tuple[RepositoryFile, ...]) -> dict[str, object]:
    return {
        "files": [
            {
                "file": str(each.file),
                "sha256": each.digest,
                "trusted": each.trusted,
                "takes_trust": [
                    {"key": one.key, "value": words.plain(one.value), "why": one.why}
                    for one in each.withheld
                ],
            }
            for each in files
        ]
    }


def _described(door: Door, file: RepositoryFile) -> list[str]:
    """Say of a file what takes trust, value by value, or nothing if nothing does."""
    if not file.withheld:
        return []
    state = "trusted" if file.trusted else "not trusted"
    lines = [f"{words.clean(str(file.file))} ({state})"]
    for each in file.withheld:
        shown = words.clean(json.dumps(words.plain(each.value), ensure_ascii=False))
        lines += [f"  {each.key} = {shown}", *_indented(door, each.why)]
    return lines


def _indented(door: Door, text: str) -> list[str]:
    return [f"      {line}" for line in door.screen.wrapped(text, indent=6)]
