"""How the state file of an earlier tachikoma becomes one of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping

VERSION = 1
"""What this tachikoma writes. Raise it whenever an older one would misread the file."""

Document = dict[str, object]
Migration = Callable[[Document], Document]

MIGRATIONS: dict[int, Migration] = {}
"""From each old version, the step to the next one: ``{1: from_1_to_2, ...}``.

A step changes what the document holds; ``migrated`` sets its version. Each has a stored sample
of its version among the tests.
"""


class NotOursError(ValueError):
    """The document is not what any tachikoma wrote; says why."""


class TooNewError(ValueError):
    """The document comes from a later tachikoma."""


def migrated(
    document: Document,
    *,
    steps: Mapping[int, Migration] = MIGRATIONS,
    to: int = VERSION,
) -> Document:
    """Give ``document`` as version ``to`` would have written it.

    Raises:
        TooNewError: it is of a later version.
        NotOursError: it has no version, or one that never was.
    """
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise NotOursError("it has no version")
    if version > to:
        raise TooNewError(f"it is of version {version}, and this tachikoma knows {to}")
    if version < 1:
        raise NotOursError(f"there never was a version {version}")
    for step in range(version, to):
        document = {**steps[step](document), "version": step + 1}
    return document
