"""How sizes, times and paths read, and how wide text is on a terminal (pure)."""

from __future__ import annotations

import unicodedata
from pathlib import Path

_KIB = 1024
_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def size(count: int) -> str:
    """Give bytes as people read them: ``0``, ``812 KiB``, ``1.5 GiB``."""
    if count < _KIB:
        return f"{count} B" if count else "0"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= _KIB
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{value / _KIB:.1f} TiB"


def memory(mib: int) -> str:
    """Give MiB of memory as people read them: ``512 MiB``, ``8 GiB``."""
    if mib < _KIB:
        return f"{mib} MiB"
    return f"{mib / _KIB:.1f}".removesuffix(".0") + " GiB"


def seconds(spent: float) -> str:
    """Give a time that something took: ``0.3 s``, ``12.4 s``, ``2 min 5 s``."""
    if spent < 99.95:
        return f"{spent:.1f} s"
    return f"{int(spent) // _MINUTE} min {int(spent) % _MINUTE} s"


def age(then: float | None, now: float) -> str:
    """Say how long ago ``then`` was; ``-`` where nobody knows."""
    if then is None:
        return "-"
    past = max(0.0, now - then)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if past >= unit:
            return f"{int(past // unit)} {name} ago"
    return "now"


def left(then: float | None, now: float) -> str:
    """Say how long it is until ``then``; ``-`` where nobody knows."""
    if then is None:
        return "-"
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if then - now >= unit:
            return f"in {int((then - now) // unit)} {name}"
    return "now"


def count(number: int, thing: str) -> str:
    """Give ``1 VM``, ``2 VMs``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def kind(name: str) -> str:
    """Give the kind of a credential as people read it: ``api key``."""
    return name.replace("_", " ")


def home(path: Path | None, at: Path) -> str:
    """Give ``path`` with the home directory as ``~``; ``-`` for none."""
    if path is None:
        return "-"
    return str(path) if not path.is_relative_to(at) else str(Path("~", path.relative_to(at)))


def clean(text: str) -> str:
    """Give ``text`` with every control character but line ends and tabs made visible.

    What a guest or a log said may hold sequences that would command the user's terminal.
    """
    return "".join(
        f"\\x{ord(char):02x}" if unicodedata.category(char) == "Cc" and char not in "\n\t" else char
        for char in text.replace("\r\n", "\n")
    )


def plain(value: object) -> object:
    """Give a setting's value as JSON has it: paths and tuples become texts and lists."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def width(text: str) -> int:
    """Tell how many columns ``text`` takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def fit(text: str, columns: int, *, keep_end: bool = False) -> str:
    """Shorten ``text`` to ``columns``, with ``…`` where something is missing."""
    if width(text) <= columns:
        return text
    kept, room = "", columns - 1
    for char in reversed(text) if keep_end else text:
        if width(char) > room:
            break
        room -= width(char)
        kept = char + kept if keep_end else kept + char
    return f"…{kept}" if keep_end else f"{kept}…"


def pad(text: str, columns: int) -> str:
    """Fill ``text`` up with spaces to ``columns``."""
    return text + " " * max(0, columns - width(text))
