"""The contract as data, and what fails by it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / "contract" / "tart-cli.json"
VALIDATION = 64

Json = dict[str, Any]


@cache
def contract() -> Json:
    found: Json = json.loads(FILE.read_bytes())
    return found


def commands() -> dict[str, Json]:
    found: dict[str, Json] = contract()["commands"]
    return found


def error_of(command: str, name: str) -> Json:
    """Give one error case of a command, or one that all have."""
    for each in (*commands()[command]["errors"], *contract()["common_errors"]):
        if each["id"] == name:
            found: Json = each
            return found
    raise KeyError(f"{command}: {name}")


def is_reference(name: str) -> bool:
    return re.match(contract()["name_rules"]["remote_reference_regex"], name) is not None


class Fail(Exception):
    """Tart gives up: exit status and what goes to standard error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class HelpAsked(Exception):
    """Somebody wants to be told how it is used."""


def misused(command: str, message: str) -> Fail:
    """A command line that cannot be parsed, or that ``validate()`` refuses."""
    usage = f"Usage: tart {command} ...\n  See 'tart {command} --help' for more information."
    return Fail(VALIDATION, f"Error: {message}\n{usage}")


def refused(message: str) -> Fail:
    """A ValidationError that comes only when the command runs: it shows the root's usage."""
    usage = "Usage: tart <subcommand>\n  See 'tart --help' for more information."
    return Fail(VALIDATION, f"Error: {message}\n{usage}")


def absent(name: str) -> Fail:
    return Fail(2, f'the specified VM "{name}" does not exist')


def not_running(name: str) -> Fail:
    return Fail(2, f'VM "{name}" is not running')


def fault(command: str, name: str) -> Fail | None:
    """The error case ``name`` as a failure; None for a crash."""
    case = error_of(command, name)
    text: str = case["example"]
    match case["layer"]:
        case "crash":
            return None
        case "parse" | "validate.ValidationError":
            return misused(command, text.removeprefix("Error: "))
        case "run.ValidationError":
            return refused(text.removeprefix("Error: "))
        case _:
            return Fail(case["exit_code"], text)
