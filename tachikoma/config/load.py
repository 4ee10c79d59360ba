"""Reading the layers: files in, ``Settings`` out, every value with its source."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tachikoma.config.layers import KEYS, Key, Layer, MismatchError, Value
from tachikoma.model.errors import BadValueError, ConfigError, UnknownKeyError
from tachikoma.model.settings import Settings

DEFAULT = "default"
"""The source of a value that no file sets."""

REPOSITORY_FILE = ".tachikoma.toml"
LOCAL_FILE = ".tachikoma.local.toml"
BY_NAME = {key.name: key for key in KEYS}
"""The keys by their names."""
_DEFAULTS = Settings()
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Withheld:
    """A value that a file in the repository may not set by itself, and why not."""

    key: str
    value: Value
    why: str


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file of settings in the repository as it was read: ``digest`` is its SHA-256, hex.

    ``withheld`` is what is not applied, or is only because the user trusts this content.
    """

    file: Path
    digest: str
    trusted: bool
    withheld: tuple[Withheld, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings; where each comes from (a file, or ``default``); what is not acted on."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    repository_files: tuple[RepositoryFile, ...] = ()


Trusts = Callable[[Path, str], bool]
"""Tells whether the user trusts a file with this content (its SHA-256, hex)."""


def nobody(_file: Path, _digest: str) -> bool:
    """Trust no file of any repository."""
    return False


def load(
    *, global_file: Path, repository: Path | None, home: Path, trusts: Trusts = nobody
) -> Loaded:
    """Read the layers and merge them.

    The merge law: defaults < ``global_file`` < ``.tachikoma.toml`` < ``.tachikoma.local.toml``,
    both of the repository. A later layer wins key by key and as a whole: its list takes the place
    of the earlier list, nothing is joined. A missing file is an empty layer.

    A file in the repository may narrow what a VM gets and say what it is. It may not set what runs
    or listens on this host, or give a VM more than the user does (a guest can write that file):
    such a value is left out, and a warning says so, unless the user ``trusts`` that file with
    exactly this content. Relative paths start from ``home``
    in the global file and from the repository in its files. A key that nothing acts on yet is
    read all the same, and a warning says so where it is set to something else than its default.

    Raises:
        UnknownKeyError: a key that does not exist; the hint names the nearest one.
        BadValueError: a value that its key does not accept.
        ConfigError: a file that cannot be read or is no TOML.
    """
    values: dict[str, Any] = {}
    own: dict[str, Any] = {}
    sources = dict.fromkeys(BY_NAME, DEFAULT)
    seen: list[RepositoryFile] = []
    for layer in _layers(global_file, repository, home):
        raw = contents(layer.file)
        if raw is None:
            continue
        given = dict(_values(raw, layer))
        if layer.in_repository:
            seen.append(_looked_at(layer, raw, given, own, trusts))
            if not seen[-1].trusted:
                given = {key: given[key] for key in given.keys() - _names(seen[-1])}
        else:
            own = given
        values |= given
        sources |= dict.fromkeys(given, str(layer.file))
    warnings = tuple(_not_applied(seen, global_file))
    settings = Settings(**values, explicit=frozenset(values))
    return Loaded(settings, sources, warnings, tuple(seen))


def _looked_at(
    layer: Layer, raw: bytes, given: Mapping[str, Value], own: Mapping[str, Value], trusts: Trusts
) -> RepositoryFile:
    """Say what of a file in the repository takes the user's trust, and whether it has that."""
    digest = hashlib.sha256(raw).hexdigest()
    withheld = tuple(
        Withheld(name, value, why_not)
        for name, value in given.items()
        if (why_not := _why_not(BY_NAME[name], value, own, layer))
    )
    return RepositoryFile(layer.file, digest, trusts(layer.file, digest), withheld)


def _names(file: RepositoryFile) -> set[str]:
    return {each.key for each in file.withheld}


def _not_applied(seen: list[RepositoryFile], global_file: Path) -> Iterator[str]:
    for file in seen:
        for each in () if file.trusted else file.withheld:
            yield (
                f"{file.file}: {each.key} is not applied, because {each.why};"
                f" set it in {global_file}, or run `tachikoma trust`, if that is what you want"
            )


def _why_not(key: Key, value: Value, own: Mapping[str, Value], layer: Layer) -> str:
    """Say why the repository may not set this; "" if it may."""
    users = own.get(key.name, getattr(_DEFAULTS, key.name))
    return "" if value == users else key.guard(value, users, layer)


def _layers(global_file: Path, repository: Path | None, home: Path) -> Iterator[Layer]:
    yield Layer(global_file, base=home, home=home, in_repository=False)
    if repository is not None:
        for name in (REPOSITORY_FILE, LOCAL_FILE):
            yield Layer(repository / name, base=repository, home=home, in_repository=True)


def check(name: str, found: object, layer: Layer) -> Value:
    """Give what a TOML value means to its key.

    Raises:
        UnknownKeyError: there is no such key; the hint names the nearest one.
        BadValueError: the key does not accept it.
    """
    key = BY_NAME.get(name)
    if key is None:
        raise _unknown(name, layer.file)
    try:
        return key.kind.check(found, layer)
    except MismatchError as error:
        raise BadValueError(
            f"{layer.file}: {name} is {_shown(found)}, and should be {key.kind.expected}",
            hint=f"correct it, or remove it for the default; {key.explanation}",
        ) from error


def _values(raw: bytes, layer: Layer) -> Iterator[tuple[str, Value]]:
    for name, found in parsed(raw, layer.file).items():
        yield name, check(name, found, layer)


def contents(file: Path) -> bytes | None:
    """Give what is in ``file``; None if it does not exist.

    A file in a repository may be anything a guest can make: a pipe that never ends, a device.

    Raises:
        ConfigError: it cannot be read, is no ordinary file, or is too large.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise _unreadable(file, "it is no ordinary file")
        if seen.st_size > _LARGEST:
            raise _unreadable(file, f"it is larger than {_LARGEST} bytes")
        return os.read(descriptor, _LARGEST)
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    finally:
        os.close(descriptor)


def parsed(raw: bytes, file: Path) -> dict[str, object]:
    """Give what a file of TOML holds.

    Raises:
        ConfigError: it is no TOML; names the line.
    """
    import tomli  # only who has a file pays for it

    try:
        found: dict[str, object] = tomli.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _no_toml(file, line, "it is not UTF-8") from error
    except tomli.TOMLDecodeError as error:
        raise _no_toml(file, error.lineno, error.msg) from error
    except (ValueError, RecursionError) as error:  # a number too long, nested too deep
        raise _no_toml(file, 1, str(error)) from error
    return found


def _no_toml(file: Path, line: int, why: str) -> ConfigError:
    return ConfigError(
        f"{file}, line {line}: {why}",
        hint="it should be TOML, such as `vm_cpus = 4`; `tachikoma config` shows all keys",
    )


def _unreadable(file: Path, why: str) -> ConfigError:
    return ConfigError(f"{file} cannot be read: {why}", hint="correct the file, or move it away")


def _unknown(name: str, file: Path) -> UnknownKeyError:
    import difflib

    near = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"did you mean {near[0]}?" if near else "`tachikoma config` shows all keys"
    return UnknownKeyError(f"{file}: there is no key {name!r}", hint=hint)


def _shown(value: object) -> str:
    """Give a value as it may be printed: short, without control characters."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "a table"
        case list():
            return "a list" + "".join(f" {_scalar(each)}" for each in value[:3])
        case _:
            return _scalar(value)


def _scalar(value: object) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float) else type(value).__name__
