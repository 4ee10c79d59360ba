"""Which hosts @apt, @pip, @npm, @cargo, @go and @git mean: those that this host is set up to use.

The tools of the host are asked, and the user's own files are read. Nothing is taken from a
repository: a VM can write there (``.git/config``, ``.npmrc``, ``.cargo/config.toml``), and would
open its own way out.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli

from tachikoma.host import process
from tachikoma.model.errors import HostError

_ASKED_S = 10.0
_LARGEST = 1 << 20
_URL = re.compile(r"(?:https?|ssh|git)(?:\+\w+)?://[^\s\"',;|]+", re.IGNORECASE)
_SCP = re.compile(r"(?:[\w.-]+@)?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+):(?!//)")
_WEB = {"http": 80, "https": 443}
_PIP = (
    "from pip._internal.models.index import PyPI as i; "
    "print(i.url, 'https://' + i.file_storage_domain)"
)
"""pip knows its own default; it stands in no file of ours."""


def hosts_of(text: str) -> Iterator[str]:
    """Yield the host of every URL in ``text``, with its port unless that is the usual one."""
    for url in _URL.findall(text):
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            continue
        if not host:
            continue
        shown = f"[{host}]" if ":" in host else host
        usual = port is None or port in _WEB.values() or parts.scheme not in _WEB
        yield shown if usual else f"{shown}:{port}"


class Groups:
    """Tells what the groups mean; each is found out once, until ``forget``.

    ``root`` is where the system's own files are.
    """

    def __init__(
        self, *, environment: Mapping[str, str], home: Path, root: Path = Path("/")
    ) -> None:
        self._environment = environment
        self._home = home
        self._root = root
        self._found: dict[str, tuple[str, ...]] = {}
        self._finders: dict[str, Callable[[], Awaitable[Iterable[str]]]] = {
            "@apt": self._apt,
            "@pip": self._pip,
            "@npm": self._npm,
            "@cargo": self._cargo,
            "@go": self._go,
            "@git": self._git,
        }

    def forget(self) -> None:
        """Find out anew next time."""
        self._found.clear()

    async def hosts(self, group: str) -> tuple[str, ...]:
        """Give the hosts that ``group`` means, each once; none if the host knows none."""
        if group not in self._found:
            self._found[group] = tuple(dict.fromkeys(await self._finders[group]()))
        return self._found[group]

    async def _apt(self) -> Iterable[str]:
        at = self._root / "etc" / "apt"
        lists = sorted(at.glob("sources.list.d/*.list"))
        lines = [
            line
            for file in (at / "sources.list", *lists, *sorted(at.glob("sources.list.d/*.sources")))
            for line in _text(file).splitlines()
            if not line.lstrip().startswith("#")
        ]
        return hosts_of("\n".join(lines))

    async def _pip(self) -> Iterable[str]:
        """The indexes in the environment and pip's files; without any, pip's own default."""
        files = [
            self._root / "etc" / "pip.conf",
            self._root / "etc" / "xdg" / "pip" / "pip.conf",
            self._home / ".pip" / "pip.conf",
            self._xdg("pip", "pip.conf"),
            Path(self._environment.get("PIP_CONFIG_FILE") or "/dev/null"),
        ]

        def told(variables: Iterable[str], *keys: str) -> list[str]:
            given = [self._environment.get(name, "") for name in variables]
            return list(hosts_of("\n".join([*given, *(v for f in files for v in _ini(f, keys))])))

        index = told(("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"), "index-url")
        more = told(("PIP_EXTRA_INDEX_URL", "UV_INDEX"), "extra-index-url", "find-links")
        if not index:
            index = list(hosts_of(await self._said("python3", "-I", "-c", _PIP)))
        return [*index, *more]

    async def _npm(self) -> Iterable[str]:
        """What npm says of its own settings, asked where no project's file is."""
        said = await self._said("npm", "config", "list", "--json", cwd=self._home)
        settings = _json(said)
        values = [
            str(value)
            for name, value in settings.items()
            if name == "registry" or name.endswith(":registry")
        ]
        return hosts_of("\n".join(values))

    async def _cargo(self) -> Iterable[str]:
        """The registries in cargo's own files, and those that it has used on this host."""
        at = Path(self._environment.get("CARGO_HOME") or self._home / ".cargo")
        told = [_text(at / "config.toml"), _text(at / "config")]
        told += [
            value
            for name, value in self._environment.items()
            if re.fullmatch(r"CARGO_REGISTRIES_\w+_INDEX", name)
        ]
        used = [_text(file) for file in sorted(at.glob("registry/index/*/config.json"))]
        used += [
            f"https://{place.name.rpartition('-')[0]}/" for place in at.glob("registry/index/*-*")
        ]
        replaced = "replace-with" in told[0] + told[1]
        return hosts_of("\n".join([*map(_toml_urls, told), *([] if replaced else used)]))

    async def _go(self) -> Iterable[str]:
        """What go says of its proxies and of the database of checksums."""
        said = await self._said("go", "env", "-json", "GOPROXY", "GOSUMDB", cwd=self._home)
        settings = _json(said)
        name, _, url = str(settings.get("GOSUMDB", "")).partition(" ")
        name = name.partition("+")[0]  # the key of the database stands behind it
        database = f"https://{name}" if name not in ("", "off") else ""
        return hosts_of("\n".join([str(settings.get("GOPROXY", "")), database, url]))

    async def _git(self) -> Iterable[str]:
        """The hosts of the user's own git settings, credentials and GitHub logins."""
        said = await self._said(
            *("git", "config", "--global", "--get-regexp"),
            r"^(url|credential|http|remote)\.",
            cwd=Path("/"),
        )
        stored = _text(self._home / ".git-credentials")
        logins = re.findall(r"^([a-z0-9.-]+):$", _text(self._xdg("gh", "hosts.yml")), re.MULTILINE)
        machines = re.findall(r"\bmachine\s+([A-Za-z0-9.-]+)", _text(self._home / ".netrc"))
        return [*hosts_of(f"{said}\n{stored}"), *_SCP.findall(said), *logins, *machines]

    async def _said(self, *argv: str, cwd: Path | None = None) -> str:
        """Give what a tool of the host prints; nothing if it is not there or fails."""
        try:
            done = await process.run(
                argv, deadline_s=_ASKED_S, env=self._environment, cwd=cwd, check=False
            )
        except HostError:
            return ""
        return done.text if done.status == 0 else ""

    def _xdg(self, *parts: str) -> Path:
        return Path(self._environment.get("XDG_CONFIG_HOME") or self._home / ".config", *parts)


def remote_hosts(urls: Iterable[str]) -> tuple[str, ...]:
    """Give the hosts of a repository's remotes, of either spelling, each once."""
    text = "\n".join(urls)
    return tuple(dict.fromkeys([*hosts_of(text), *_SCP.findall(text)]))


def _text(file: Path) -> str:
    """Give the text of a file of the user's or the system's; none if it cannot be read."""
    try:
        if file.is_file() and file.stat().st_size <= _LARGEST:
            return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        pass
    return ""


def _ini(file: Path, keys: Iterable[str]) -> list[str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(_text(file))
    except configparser.Error:
        return []
    found = [parser.get(section, key, fallback="") for section in parser.sections() for key in keys]
    return [value for value in found if value]


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _toml_urls(text: str) -> str:
    """Give the values of a TOML file, without its comments; other text as it is."""
    try:
        return json.dumps(tomli.loads(text))
    except (tomli.TOMLDecodeError, TypeError):
        return text
