"""The keys for people: the example file, and every value with its source."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tachikoma.config.layers import KEYS, Key, anybody
from tachikoma.config.load import Loaded
from tachikoma.model.settings import Settings

Plain = bool | int | float | str | list[str] | None

_WIDTH = 96
_HEAD = """\
# The settings of tachikoma: every key with its default.
#
# They are read from ~/.config/tachikoma/config.toml, then .tachikoma.toml in the repository, then
# .tachikoma.local.toml beside it (for yourself, not committed). A later file wins key by key; a
# list takes the place of the earlier list. `tachikoma config` shows what holds, and why.
#
# In the first file a relative path starts from your home directory, in the others from the
# repository. What is marked (*) cannot be set by a repository where that would run something on
# this host, open a port of it, reach outside the repository or give a VM more than you do, unless
# you have looked at it and run `tachikoma trust`.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as `tachikoma config` shows it; ``value`` is as JSON has it."""

    key: str
    value: Plain
    source: str
    explanation: str


def entries(loaded: Loaded) -> tuple[Entry, ...]:
    """Give every key with its value and source, in the order of the example file."""
    return tuple(
        Entry(
            key=key.name,
            value=_plain(getattr(loaded.settings, key.name)),
            source=loaded.sources[key.name],
            explanation=explanation(key),
        )
        for key in KEYS
    )


def explanation(key: Key) -> str:
    """Give what a key means, and what holds where it is unset."""
    unset = f" Default: {key.unset}." if key.unset else ""
    return f"{key.explanation}{unset}"


def example() -> str:
    """Give ``.tachikoma.toml.example``: every key, explained and commented out."""
    defaults = Settings()
    return _HEAD + "".join(_commented(key, _plain(getattr(defaults, key.name))) for key in KEYS)


def _commented(key: Key, default: Plain) -> str:
    mark = "" if key.guard is anybody else "(*) "
    value = key.sample if default is None else toml(default)
    expected = key.kind.expected
    words = textwrap.wrap(f"{mark}{explanation(key)} It is {expected}.", width=_WIDTH)
    return "\n" + "".join(f"# {line}\n" for line in words) + f"# {key.name} = {value}\n"


def toml(value: Plain) -> str:
    """Give a value as TOML has it; JSON is TOML as far as these types go."""
    return json.dumps(value, ensure_ascii=False)


def _plain(value: object) -> Plain:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case tuple():
            return [str(each) for each in value]
        case _:
            raise AssertionError(f"no key holds {value!r}")
