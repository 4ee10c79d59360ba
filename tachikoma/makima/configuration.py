"""The daemon's configuration: options, variables and files in, ``DaemonSettings`` out."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tachikoma.config.layers import Layer, MismatchError, Value
from tachikoma.config.load import RepositoryFile, Trusts, Withheld, contents, nobody, parsed
from tachikoma.host.paths import Paths
from tachikoma.makima.keys import BY_NAME, DEFAULT_PATHS, KEYS, DaemonKey
from tachikoma.makima.server_url import in_the_clear, without_user
from tachikoma.makima.settings import (
    AutoClone,
    DaemonSettings,
    LocalDbSettings,
    LoggingSettings,
    ProcessSettings,
    ReposSettings,
    ServerSettings,
    WorktreeSettings,
)
from tachikoma.makima.variables import Given, given_by
from tachikoma.model.errors import ConfigError
from tachikoma.model.errors_fleet import MakimaConfigError

DEFAULT = "default"
"""The source of a value that nobody sets."""
LOCAL_FILE = "makima-daemon.toml"
"""The file that is looked for in the current directory."""
_SECTIONS: Mapping[str, Callable[..., object]] = {
    "server": ServerSettings,
    "worktree": WorktreeSettings,
    "process": ProcessSettings,
    "repos": ReposSettings,
    "local_db": LocalDbSettings,
    "logging": LoggingSettings,
}
_SHOW_ALL = "`tachikoma makima config` shows all keys"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the daemon is started: what its configuration may come from.

    ``system_file`` is None where there is no such place (on macOS).
    """

    environ: Mapping[str, str]
    cwd: Path
    home: Path
    user_file: Path
    system_file: Path | None


def surroundings(environ: Mapping[str, str], cwd: Path, paths: Paths) -> Surroundings:
    """Give where a user's configuration is looked for on this machine."""
    return Surroundings(
        environ=environ,
        cwd=cwd,
        home=paths.home,
        user_file=paths.config.parent / "makima-daemon" / "config.toml",
        system_file=Path("/etc/makima-daemon/config.toml") if sys.platform == "linux" else None,
    )


@dataclass(frozen=True, slots=True)
class LoadedDaemon:
    """The settings, where each comes from, and what the user should hear about.

    ``sources`` has for each key (``server.url``) the file, variable or option, or ``default``.
    ``local`` is the current directory's file if it came with a repository.
    """

    settings: DaemonSettings
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    files: tuple[Path, ...] = ()
    local: RepositoryFile | None = None

    def value(self, key: str) -> object:
        """Give the value of a key by its name with the section."""
        section, _, name = key.partition(".")
        return getattr(getattr(self.settings, section), name)


@dataclass(frozen=True, slots=True)
class _Read:
    """What one file says, checked: values by key."""

    layer: Layer
    raw: bytes
    values: Mapping[str, object]


def load_daemon_settings(
    place: Surroundings,
    *,
    config: Path | None = None,
    options: Sequence[Given] = (),
    trusts: Trusts = nobody,
) -> LoadedDaemon:
    """Read all layers and merge them.

    The merge law: defaults < the system's file < the user's < ``makima-daemon.toml`` in the
    current directory < variables < ``options`` of the command line. A later layer wins key by key
    and as a whole: a list or table takes the place of the earlier one. ``config`` is read instead
    of all three files. A missing file is an empty layer, but not that one.

    A file in the current directory that lies in a git repository may come from anybody who wrote
    into that, an agent in a VM among them. What would make this host run, fetch or overwrite
    things, or bind it to another server, is left out of it with a warning, unless the user
    ``trusts`` that content. A file that the user names by ``config`` is his own word.

    Relative paths start from the file's directory; those in the user's and the system's file from
    the home directory, those in variables and options from the current one.

    Raises:
        MakimaConfigError: something cannot be used: names the file and line, variable or option.
    """
    warnings: list[str] = []
    values: dict[str, object] = {}
    sources = dict.fromkeys(BY_NAME, DEFAULT)
    files: list[Path] = []
    local: RepositoryFile | None = None
    for layer in _layers(place, config):
        read = _read(layer, needed=config is not None)
        if read is None:
            continue
        files.append(layer.file)
        given = read.values
        if layer.in_repository:
            local = _looked_at(read, values, trusts)
            given = {key: given[key] for key in given if not _held(local, key)}
            warnings += _held_back(local)
        warnings += _exposed(layer.file, given)
        values |= given
        sources |= dict.fromkeys(given, str(layer.file))
    told, unclear = given_by(place.environ)
    here = Layer(place.cwd, base=place.cwd, home=place.home, in_repository=False)
    for each in (*told, *options):
        values[each.key] = _checked(BY_NAME[each.key], each.value, here, each.source)
        sources[each.key] = each.source
    settings = _settings(values, place.home)
    warnings += [*unclear, *_about(settings)]
    return LoadedDaemon(settings, sources, tuple(warnings), tuple(files), local)


def check_complete(loaded: LoadedDaemon) -> None:
    """Raise MakimaConfigError unless the daemon knows its server and its key."""
    server = loaded.settings.server
    withheld = {each.key for each in loaded.local.withheld} if loaded.local else set()
    if not server.url:
        raise MakimaConfigError(
            "the daemon does not know its server",
            hint=_how(
                "server.url" in withheld,
                "give --server-url, set MAKIMA_DAEMON_SERVER_URL, or write `url` into [server] of"
                " ~/.config/makima-daemon/config.toml",
            ),
        )
    if not server.api_key:
        raise MakimaConfigError(
            f"the daemon has no key for {server.url}",
            hint=_how(
                "server.api_key" in withheld,
                "set MAKIMA_API_KEY, or write `api_key` into [server] of"
                " ~/.config/makima-daemon/config.toml (mode 0600)",
            ),
        )


def _how(withheld: bool, otherwise: str) -> str:  # noqa: FBT001 - one word decides on the other
    if withheld:
        return f"./{LOCAL_FILE} has one: `tachikoma trust`, or give it by --config"
    return otherwise


def _layers(place: Surroundings, config: Path | None) -> Iterator[Layer]:
    home = place.home
    if config is not None:
        file = place.cwd / (home / str(config)[2:] if str(config).startswith("~/") else config)
        yield Layer(file, base=file.parent, home=home, in_repository=False)
        return
    for own in (place.system_file, place.user_file):
        if own is not None:
            yield Layer(own, base=home, home=home, in_repository=False)
    local = place.cwd / LOCAL_FILE
    if _is_there(local):
        yield Layer(local, base=place.cwd, home=home, in_repository=_in_repository(local))


def _in_repository(file: Path) -> bool:
    """Tell whether a file lies in a git repository, or is a link to one that does."""
    around = {*file.parents, *file.resolve().parents}
    return any((each / ".git").exists() for each in around)


def _is_there(file: Path) -> bool:
    """Look for a file; where all may write, anybody can put one, so another user's is refused."""
    try:
        owner = file.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise MakimaConfigError(
            f"{file} cannot be read: {error.strerror}", hint="correct the file, or move it away"
        ) from error
    if owner not in (os.geteuid(), 0):
        raise MakimaConfigError(
            f"{file} belongs to another user",
            hint=f"if you want it, give it yourself: --config {LOCAL_FILE}",
        )
    return True


def _read(layer: Layer, *, needed: bool) -> _Read | None:
    try:
        raw = contents(layer.file)
        document = parsed(raw, layer.file) if raw is not None else {}
    except ConfigError as error:
        raise MakimaConfigError(error.message, hint=f"correct it; {_SHOW_ALL}") from error
    if raw is None:
        if needed:
            raise MakimaConfigError(
                f"there is no file {layer.file}", hint="give another one by --config, or none"
            )
        return None
    lines = raw.decode("utf-8").splitlines()
    return _Read(layer, raw, dict(_values(document, layer, lines)))


def _values(
    document: Mapping[str, object], layer: Layer, lines: Sequence[str]
) -> Iterator[tuple[str, object]]:
    for section, table in document.items():
        if section not in _SECTIONS:
            where = _where(layer.file, lines, section, None)
            raise _unknown(where, f"section {section!r}", section, list(_SECTIONS))
        if not isinstance(table, dict):
            raise MakimaConfigError(
                f"{_where(layer.file, lines, section, None)}: {section} should be a table",
                hint=f"write its keys below [{section}]",
            )
        for name, found in table.items():
            where = _where(layer.file, lines, section, name)
            key = BY_NAME.get(f"{section}.{name}")
            if key is None:
                raise _unknown(where, f"key {section}.{name}", f"{section}.{name}", list(BY_NAME))
            yield key.name, _checked(key, found, layer, f"{where}: {key.name}")


def _where(file: Path, lines: Sequence[str], section: str, key: str | None) -> str:
    """Name a place in a file, with the line where that is plain to see."""
    below = ""
    for number, line in enumerate(lines, 1):
        if header := re.match(r"\s*\[+\s*([\w.-]+)\s*\]", line):
            below = header[1]
            if below == (f"{section}.{key}" if key else section):
                return f"{file}, line {number}"
        wanted = key if below == section else f"{section}.{key}" if key else section
        if wanted and re.match(rf"\s*{re.escape(wanted)}\s*[.=]", line):
            return f"{file}, line {number}"
    return str(file)


def _unknown(where: str, what: str, name: str, known: Sequence[str]) -> MakimaConfigError:
    near = difflib.get_close_matches(name, known, n=1)
    return MakimaConfigError(
        f"{where}: there is no {what}", hint=f"did you mean {near[0]}?" if near else _SHOW_ALL
    )


def _checked(key: DaemonKey, found: object, layer: Layer, where: str) -> object:
    try:
        return key.kind.check(found, layer)
    except MismatchError as error:
        why = f": {error}" if str(error) else ""
        raise MakimaConfigError(
            f"{where} is {shown(key, found)}, and should be {key.kind.expected}{why}",
            hint=f"correct it, or leave it out; {_SHOW_ALL}",
        ) from error


def shown(key: DaemonKey, value: object) -> str:
    """Give a value as it may be printed: short, without secrets and control characters."""
    if key.secret:
        return "[redacted]"
    match value:
        case bool() | int() | float() | Path():
            return str(value).lower() if isinstance(value, bool) else str(value)
        case str():
            return repr(without_user(value)[:80])
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return "a table" if isinstance(value, dict) else type(value).__name__


def _looked_at(read: _Read, own: Mapping[str, object], trusts: Trusts) -> RepositoryFile:
    """Say what of a repository's file takes trust: what the user's own files do not say as well."""
    digest = hashlib.sha256(read.raw).hexdigest()
    withheld = tuple(
        Withheld(name, _whole(key, value), key.why_not)
        for name, value in read.values.items()
        if (key := BY_NAME[name]).why_not and value not in (key.harmless, own.get(name))
    )
    file = read.layer.file
    return RepositoryFile(file, digest, trusts(file, digest), withheld)


def _whole(key: DaemonKey, value: object) -> Value:
    """Give a value as who is asked to trust it has to see it: whole, but for the key."""
    match value:
        case str() if key.name == "server.api_key":
            return "[redacted]"
        case Mapping():
            return tuple(f"{name}={each}" for name, each in value.items())
        case tuple():
            return tuple(each.url if isinstance(each, AutoClone) else str(each) for each in value)
        case bool() | int() | str() | Path():
            return value
        case _:
            raise AssertionError(f"no key holds {value!r}")


def _held(file: RepositoryFile, key: str) -> bool:
    return not file.trusted and any(each.key == key for each in file.withheld)


def _held_back(file: RepositoryFile) -> Iterator[str]:
    if not file.trusted and file.withheld:
        keys = ", ".join(each.key for each in file.withheld)
        yield (
            f"{file.file} lies in a git repository, so it is not applied in {keys};"
            " if it is yours, run `tachikoma trust`, or give it by --config"
        )


def _exposed(file: Path, given: Mapping[str, object]) -> Iterator[str]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o044 and given.keys() & {"server.api_key", "process.env_vars"}:
        yield f"{file} holds a secret, and others on this machine can read it: chmod 600 {file}"


def _about(settings: DaemonSettings) -> Iterator[str]:
    if settings.server.api_key and in_the_clear(settings.server.url):
        yield (
            f"your key and all that agents say go to {settings.server.url} unencrypted;"
            " wss:// is for servers on other machines"
        )


def _settings(values: Mapping[str, object], home: Path) -> DaemonSettings:
    whole = {name: home / below for name, below in DEFAULT_PATHS.items()} | dict(values)
    parts: dict[str, Any] = {
        section: make(
            **{
                key.key: whole[key.name]
                for key in KEYS
                if key.section == section and key.name in whole
            }
        )
        for section, make in _SECTIONS.items()
    }
    assert parts.keys() == {each.name for each in fields(DaemonSettings)}
    return DaemonSettings(**parts)
