"""The daemon's settings in environment variables (pure)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from tachikoma.makima.keys import API_KEY_VARIABLE, KEYS, PREFIX, DaemonKey


@dataclass(frozen=True, slots=True)
class Given:
    """A value for a key from outside any file; ``source`` is the variable or option it stood in."""

    key: str
    value: object
    source: str


def given_by(environ: Mapping[str, str]) -> tuple[list[Given], list[str]]:
    """Give what the variables say, and warnings about those that say nothing.

    An empty variable counts as unset. Where both variables of a key are set, the one without the
    underscores wins.
    """
    found: list[Given] = []
    warnings: list[str] = []
    for key in KEYS:
        names = [name for name in _names(key) if environ.get(name)]
        if not names:
            continue
        first, *others = names
        found.append(Given(key.name, key.read(environ[first]), first))
        warnings += [
            f"{other} is not applied: {first} is set, too, and wins"
            for other in others
            if environ[other] != environ[first]
        ]
    known = {name: key.name for key in KEYS for name in key.variables}
    warnings += [
        _unknown(name, known)
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known and environ[name]
    ]
    return found, warnings


def _names(key: DaemonKey) -> tuple[str, ...]:
    return (API_KEY_VARIABLE, *key.variables) if key.name == "server.api_key" else key.variables


def _unknown(name: str, known: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    meant = f"did you mean {near[0]} ({known[near[0]]})?" if near else "there is no such key"
    return f"{name} is not applied: {meant}"
