"""Which Debian mirrors this host uses, so that building an image asks the same ones (pure).

Third-party repositories are left out. Without a Debian mirror in the host's own sources the
answer is empty, and mmdebstrap takes the mirrors that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CODENAMES = frozenset({"stable", "oldstable", "testing", "sid", "unstable"})
_POCKETS = ("", "-updates", "-security")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")
_HANDED_ON = re.compile(
    r"Acquire::(?:https?::|Retries |Check-Valid-Until |Check-Date |ForceIPv[46] )[^\n]*;"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One repository: where it is, its suite, and the options that apt needs to believe it."""

    uri: str
    suite: str
    options: tuple[str, ...] = ()


def debian_mirrors(texts: Iterable[str], *, host_suite: str, suite: str) -> str:
    """Give a sources.list for ``suite`` on the mirrors from which the host has ``host_suite``.

    ``texts`` are the contents of the host's sources files, of either format.
    """
    lines: dict[str, None] = {}
    known = _CODENAMES | {host_suite}
    for source in (source for text in texts for source in _sources(text)):
        base, pocket = _split(source.suite)
        if base not in known or "debian" not in source.uri.rstrip("/").rpartition("/")[2]:
            continue
        options = f"[{' '.join(source.options)}] " if source.options else ""
        lines[f"deb {options}{source.uri} {suite}{pocket} main\n"] = None
    return "".join(lines) if any(f" {suite} main" in line for line in lines) else ""


def apt_options(dump: str) -> str:
    """Pick from ``apt-config dump`` how the host reaches its mirrors: proxies, certificates."""
    return "".join(f"{line}\n" for line in dump.splitlines() if _HANDED_ON.fullmatch(line))


def os_release(text: str) -> dict[str, str]:
    """Read an os-release file."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def _split(suite: str) -> tuple[str, str]:
    for pocket in _POCKETS[1:]:
        if suite.endswith(pocket):
            return suite.removesuffix(pocket), pocket
    return suite, ""


def _sources(text: str) -> Iterable[Source]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in lines:
        if (found := _ONE_LINE.fullmatch(line.strip())) is not None:
            suite, *components = found["rest"].split("#")[0].split()
            if "main" in components:
                yield Source(found["uri"], suite, tuple((found["options"] or "").split()))
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        yield from _of_stanza(_fields(stanza))


def _of_stanza(fields: Mapping[str, str]) -> Iterable[Source]:
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
        return
    if "main" not in fields.get("components", "").split():
        return
    signed = fields.get("signed-by", "")
    options = (
        *((f"signed-by={signed}",) if signed.startswith("/") else ()),
        *((f"trusted={fields['trusted']}",) if "trusted" in fields else ()),
    )
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            yield Source(uri, suite, options)


def _fields(stanza: str) -> dict[str, str]:
    joined = re.sub(r"\n[ \t]+", " ", stanza)
    pairs = (line.partition(":") for line in joined.splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
