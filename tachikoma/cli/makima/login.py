"""``tachikoma makima login [URL]``."""

from __future__ import annotations

import sys

import click

from tachikoma.cli.door import Door
from tachikoma.cli.verb import Verb
from tachikoma.makima.client.account import (
    DEFAULT_URL,
    Account,
    account,
    account_file,
    keep,
    server_url,
)
from tachikoma.makima.client.calls import Json, ServerCalls
from tachikoma.model.errors import UsageError
from tachikoma.runtime import Runtime

_EXAMPLES = """\b
Examples:
  tachikoma makima login https://makima.example       asks for the key
  pass show makima | tachikoma makima login https://makima.example
  tachikoma makima login --show                       the key, to sign in with a browser
"""


@click.command("login", cls=Verb, epilog=_EXAMPLES)
@click.argument("url", default=DEFAULT_URL)
@click.option("--show", is_flag=True, help="Show the server and the key that are kept, instead.")
@click.pass_obj
def command(door: Door, *, url: str, show: bool) -> int:
    """Work with the makima server at URL from now on (http://127.0.0.1:8080). The key is asked for,
    or read from standard input, tried, and kept in a file that only you can read.
    """
    if show:
        return _show(door)
    made = Account(server_url(url), _key(door))

    async def work(runtime: Runtime) -> Json:
        async with ServerCalls(made, clock=runtime.clock) as calls:
            return await calls.get("/self")

    who = door.run(work, settled=False)
    file = account_file(door.runtime.paths.config)
    keep(file, made)
    door.screen.give(
        {"url": made.url, "name": who["name"], "file": str(file)},
        [f"you are {who['name']} at {made.url}; `tachikoma task list` shows its tasks"],
    )
    return 0


def _show(door: Door) -> int:
    kept = account(account_file(door.runtime.paths.config), {})
    door.screen.give({"url": kept.url, "key": kept.key}, [kept.url, kept.key])
    return 0


def _key(door: Door) -> str:
    terminal = door.terminal
    if terminal.stdin is None:
        raise UsageError("there is no key on standard input", hint="pipe it in, or type it")
    if terminal.stdin_tty:
        key = str(click.prompt("Key", hide_input=True, err=True))
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise UsageError("the key is empty", hint="`tachikoma makima keys create NAME` makes one")
    return key.strip()
