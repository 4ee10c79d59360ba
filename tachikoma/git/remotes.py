"""What a remote's URL says: whether it only carries data, and what it is on a forge (pure)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tachikoma.git.port import Remote
from tachikoma.model.errors import PushFailed

PROTOCOLS = ("file", "http", "https", "ssh")
"""What git may use to get to a remote."""
_URL = re.compile(r"(?:https?|ssh|file)://[^\x00-\x20]+")
_SCP = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+):(?P<path>[^/\x00-\x20][^\x00-\x20]*)")
_WEB = re.compile(
    r"(?:https?://(?:[^@/\s]+@)?|ssh://(?:[\w.-]+@)?|(?:[\w.-]+@)(?=[\w.-]+:))"
    r"(?P<host>[\w.-]+)(?::\d+(?=/))?[:/](?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?"
)


@dataclass(frozen=True, slots=True)
class Slug:
    """A repository of a forge."""

    host: str
    owner: str
    name: str

    def __str__(self) -> str:
        """Give it as ``gh`` takes it."""
        return f"{self.host}/{self.owner}/{self.name}"


def decode_remote(raw: str, root: Path) -> Remote | None:
    """Read ``git config -z --get-regexp`` for the URLs: origin's, or those of the only remote."""
    urls: dict[str, dict[str, str]] = {}
    for item in filter(None, raw.split("\0")):
        key, _, value = item.partition("\n")
        name, _, kind = key.removeprefix("remote.").rpartition(".")
        urls.setdefault(name, {}).setdefault(kind, value)
    name = "origin" if "origin" in urls else next(iter(urls)) if len(urls) == 1 else ""
    if not name:
        return None
    url = urls[name].get("pushurl") or urls[name]["url"]
    is_path = "://" not in url and not _SCP.fullmatch(url) and "::" not in url
    return Remote(name, os.path.normpath(root / url) if is_path and url else url)


def check(remote: Remote) -> None:
    """Raise PushFailed unless ``remote`` only carries data: ``ext::`` would run a program."""
    if not is_plain(remote):
        raise PushFailed(
            f"tachikoma does not push to {remote.url!r}",
            hint="https, ssh and local paths are known: `git remote set-url` changes the remote",
        )


def is_plain(remote: Remote) -> bool:
    """Tell whether ``remote`` only carries data."""
    url = remote.url
    if _URL.fullmatch(url) or url.startswith("/"):
        return True
    return bool(_SCP.fullmatch(url)) and "::" not in url and not url.startswith("-")


def local_path(remote: Remote) -> Path | None:
    """Give the directory that the remote is on this host; None if it is elsewhere."""
    if remote.url.startswith("/"):
        return Path(os.path.realpath(remote.url))
    if remote.url.startswith("file://"):
        return Path(os.path.realpath("/" + remote.url.removeprefix("file://").lstrip("/")))
    return None


def slug_of(remote: Remote) -> Slug | None:
    """Give the repository of a forge that the URL means; None for anything else."""
    found = _WEB.fullmatch(remote.url)
    return Slug(found["host"], found["owner"], found["name"]) if found else None


def shown(url: str) -> str:
    """Give a URL as it may be printed: without a password."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", url)
