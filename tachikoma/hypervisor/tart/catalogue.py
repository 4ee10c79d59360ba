"""Names of images: short ones, references to registries, and what each stands for here (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tachikoma.hypervisor.tart.output import Entry
from tachikoma.model.errors import ImageError
from tachikoma.model.names import PREFIX, VmName

CHECKPOINT = "checkpoint."
"""What the names of checkpoints begin with; no image is called so."""
KNOWN = {
    name: f"ghcr.io/cirruslabs/{name}:latest" for name in ("ubuntu", "debian", "fedora", "rocky")
}
"""Short names for images that Tart's own authors publish."""

# Tart takes what contains a slash and matches this for a reference, and all else for a local name.
_LABEL = r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_PART = r"[A-Za-z0-9]+(?:[._-]?[A-Za-z0-9]+)*[._-]?"
_REFERENCE = re.compile(
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?)/(?P<path>{_PART}(?:/{_PART})*)"
    r"(?P<version>:[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*|@sha256:[A-Za-z0-9]+)?"
)


def reference(name: str) -> str:
    """Give the reference to a registry, with its tag, that ``name`` stands for.

    Raises:
        ImageError: it stands for none.
    """
    full = KNOWN.get(name, name)
    found = _REFERENCE.fullmatch(full)
    if found is None:
        raise ImageError(
            f"{name!r} is no name of an image in a registry",
            hint=f"write HOST/PATH:TAG, or one of {', '.join(KNOWN)}",
        )
    return full if found["version"] else f"{full}:latest"


def is_reference(name: str) -> bool:
    """Tell whether ``name`` can be pulled."""
    return name in KNOWN or _REFERENCE.fullmatch(name) is not None


def source_of(image: str, entries: Sequence[Entry]) -> str | None:
    """Give what to clone for ``image`` among what is here: a local VM first; None if nothing."""
    if image.startswith((PREFIX, CHECKPOINT)):
        return None
    local = {entry.name for entry in entries if not entry.remote}
    if image in local:
        return image
    cached = {entry.name for entry in entries if entry.remote}
    return reference(image) if is_reference(image) and reference(image) in cached else None


def checkpoint_name(vm: VmName, label: str) -> VmName:
    """Give the name that a checkpoint of ``vm`` has in Tart."""
    return VmName(f"{CHECKPOINT}{vm}.{label}")


def called(entry: Entry, entries: Sequence[Entry]) -> str:
    """Give the name under which users know an image: the short one where it is free."""
    local = {each.name for each in entries if not each.remote}
    short = {full: name for name, full in KNOWN.items() if name not in local}
    return short.get(entry.name, entry.name) if entry.remote else entry.name
