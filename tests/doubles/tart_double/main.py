"""The way in: parse, ask for the fault that was ordered, run, and end as Tart ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import TextIO

from tests.doubles.tart_double.commands import COMMANDS, Call
from tests.doubles.tart_double.contract import Fail, HelpAsked, contract, error_of, fault
from tests.doubles.tart_double.parsing import parse, validate
from tests.doubles.tart_double.store import Store

VERSION = "2.32.1"
_KEEPS_RUBBISH = ("pull", "clone")


def program() -> int:
    """Be the program."""
    # Python would raise KeyboardInterrupt: of Tart's commands only `run` and `exec` hear it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return invoke(sys.argv[1:], os.environ, sys.stdout, sys.stderr)


def invoke(argv: list[str], environ: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    """Do what a command line asks for and give the exit status."""
    try:
        return _invoke(argv, environ, out, err)
    except HelpAsked:
        out.write(f"USAGE: tart {argv[0]} ...\n")
        return 0
    except Fail as failed:
        err.write(f"{failed.text}\n")
        return failed.status


def _invoke(argv: list[str], environ: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    parsed = parse(argv)
    if parsed is None:
        asks_version = argv[:1] == ["--version"]
        if asks_version:
            store = Store(environ)
            store.note(["tart", *argv])
            out.write(f"{store.settings.get('version', VERSION)}\n")
        else:
            out.write(f"USAGE: tart <subcommand>\n\nSUBCOMMANDS: {', '.join(_names())}\n")
        return 0
    validate(parsed)
    store = Store(environ)
    store.note(["tart", *argv])
    settings = store.settings
    if settings.get("noise") and parsed.command not in _KEEPS_RUBBISH:
        err.write("Failed to perform garbage collection: Permission denied\n")
    late = _ordered_fault(parsed.command, store)
    call = Call(parsed, store, environ, out)
    if parsed.command == "run":
        from tests.doubles.tart_double.run import run

        return run(call, late)
    if parsed.command == "exec":
        from tests.doubles.tart_double.guest import execute

        return execute(call)
    COMMANDS[parsed.command](call)
    return 0


def _ordered_fault(command: str, store: Store) -> Fail | None:
    """Fail as ordered; what comes only after a VM was launched is given back."""
    name = store.take_fault(command)
    if name is None:
        return None
    failure = fault(command, name)
    if failure is None:
        sys.stderr.write(f"{error_of(command, name)['example']}\n")
        sys.stderr.flush()
        signal.signal(signal.SIGTRAP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTRAP)
        raise AssertionError("unreachable")
    if error_of(command, name)["layer"] == "run.started":
        return failure
    raise failure


def _names() -> list[str]:
    return [name for name, each in contract()["commands"].items() if not each.get("hidden")]
