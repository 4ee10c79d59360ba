"""What ``auto_clone`` lists: URLs, shorthands and tables, as repositories to clone (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tachikoma.makima.settings import AutoClone

EXPECTED = (
    "a list of repositories: a URL, github:USER/REPO, gitlab:USER/REPO, or a table of url and, if"
    " wanted, name, branch, shallow"
)
_SHORT = {"github:": "https://github.com/", "gitlab:": "https://gitlab.com/"}
_SLUG = re.compile(r"[\w.-]+(?:/[\w.-]+)+")
_BY_SSH = re.compile(r"(?:[\w.-]+@)?[\w.-]+:(?!:)[^\s]+")
_SCHEMES = ("https", "http", "ssh", "git", "file")
_NAME = re.compile(r"(?!\.)[\w.@+-]+")
_BRANCH = re.compile(r"(?![-/.])[^\s~^:?*\[\\\x00-\x1f\x7f]+")


def clone_list(found: object, home: Path) -> tuple[AutoClone, ...]:
    """Give the repositories that a list in a file, or in a variable, names.

    Raises:
        ValueError: one cannot be understood, or two would go to the same directory.
    """
    if not isinstance(found, list):
        raise ValueError("it is no list")  # noqa: TRY004 - who calls translates this one
    clones = tuple(_numbered(found, home))
    seen: dict[str, AutoClone] = {}
    for each in clones:
        # Disks of Macs do not tell cases apart.
        if (twin := seen.setdefault(each.name.lower(), each)) is not each:
            raise ValueError(
                f"{twin.url} and {each.url} would both go to the directory {each.name!r}; give one"
                " of them a name of its own"
            )
    return clones


def _numbered(found: Sequence[object], home: Path) -> Iterator[AutoClone]:
    for number, each in enumerate(found, 1):
        try:
            yield _clone(each, home)
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from error


def _clone(found: object, home: Path) -> AutoClone:
    match found:
        case str():
            url = url_of(found, home)
            return AutoClone(url=url, name=name_from(url))
        case dict():
            return _from_table(found, home)
        case _:
            raise ValueError("it is neither a text nor a table")


def _from_table(table: Mapping[str, object], home: Path) -> AutoClone:
    if strange := sorted(table.keys() - {"url", "name", "branch", "shallow"}):
        raise ValueError(f"there is no key {strange[0]!r}; there are url, name, branch, shallow")
    given, shallow = table.get("url"), table.get("shallow", False)
    if not isinstance(given, str):
        raise ValueError("it needs a url")  # noqa: TRY004 - who calls translates this one
    if not isinstance(shallow, bool):
        raise ValueError("shallow is neither true nor false")  # noqa: TRY004 - as above
    url = url_of(given, home)
    name = _matching(table.get("name", None), _NAME, "name", "the name of one directory")
    branch = _matching(table.get("branch", None), _BRANCH, "branch", "the name of a branch")
    return AutoClone(url=url, name=name or name_from(url), branch=branch, shallow=shallow)


def _matching(found: object, pattern: re.Pattern[str], key: str, what: str) -> str | None:
    if found is None:
        return None
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise ValueError(f"{key} is not {what}")
    return found


def url_of(text: str, home: Path) -> str:
    """Give what git is told for ``text``; ``~/`` is the home directory.

    Raises:
        ValueError: it is no address of a repository, or holds a password.
    """
    for short, base in _SHORT.items():
        if text.startswith(short):
            slug = text.removeprefix(short).removesuffix(".git").strip("/")
            if not _SLUG.fullmatch(slug):
                raise ValueError(f"{text!r} is not {short}USER/REPO")
            return f"{base}{slug}.git"
    if text.startswith("~/"):
        return str(home / text.removeprefix("~/"))
    if text.startswith("/") and text.isprintable():
        return text
    if "://" in text:
        return _whole_url(text)
    if _BY_SSH.fullmatch(text):
        return text
    raise ValueError(
        f"{text[:60]!r} is no address of a repository; a path is absolute or begins with ~/"
    )


def _whole_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES or not text.isprintable() or " " in text:
        raise ValueError(f"a URL begins with one of {', '.join(_SCHEMES)}, and has no spaces")
    if "@" in parts.netloc and (parts.scheme != "ssh" or ":" in parts.netloc.rpartition("@")[0]):
        raise ValueError("its URL holds a password or token; leave that to git's credential helper")
    return text


def name_from(url: str) -> str:
    """Give the directory that git itself would clone ``url`` into.

    Raises:
        ValueError: nothing in it can be the name of a directory.
    """
    path = url.rstrip("/").removesuffix("/.git").removesuffix(".git").rstrip("/")
    name = re.split(r"[/:]", path)[-1]
    if not _NAME.fullmatch(name):
        raise ValueError("no name for its directory can be taken from the url; give a name")
    return name
