"""Names: branch slugs and VM names (pure)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NewType

VmName = NewType("VmName", str)
"""``tachikoma-<repo>-<branch-slug>``, always within ``[a-z0-9][a-z0-9-]{0,62}``."""

PREFIX = "tachikoma-"
LONGEST = 63
"""A VM name is also a host name: 63 characters at most."""
_LONGEST_SLUG = 40
_LEAST_SLUG = 8
_MARK = 6
_LONGEST_REPO = LONGEST - len(PREFIX) - 1 - (_LEAST_SLUG + 1 + _MARK)

_VALID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def slugify(text: str, *, longest: int = _LONGEST_SLUG) -> str:
    """Give ``text`` as lower-case ASCII letters, digits and single hyphens.

    Accents are dropped (``ünï`` gives ``uni``). What cannot be told any more from the slug alone
    (a text cut short, or one with nothing left in it) ends in six hex digits of its hash.
    The result is never empty and never longer than ``longest`` (at least 8).
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not slug:
        return mark(text)
    if len(slug) <= longest:
        return slug
    return f"{slug[: longest - _MARK - 1].rstrip('-')}-{mark(text)}"


def mark(*parts: str) -> str:
    """Give six hex digits that stand for ``parts``, the same on every machine."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:_MARK]


def vm_name(repo: str, branch: str, *, taken_by: str = "") -> VmName:
    """Give the name of the VM for ``branch`` of the repository called ``repo``.

    ``taken_by`` is "" for the simple name; a text that is unique to this repository and branch
    (such as the path of the repository and the branch) gives the name that is used when the
    simple one already belongs to another branch or repository.
    """
    base = slugify(repo, longest=_LONGEST_REPO)
    room = LONGEST - len(PREFIX) - len(base) - 1
    if taken_by:
        slug = slugify(branch, longest=min(_LONGEST_SLUG, room - _MARK - 1))
        return VmName(f"{PREFIX}{base}-{slug}-{mark(taken_by)}")
    return VmName(f"{PREFIX}{base}-{slugify(branch, longest=min(_LONGEST_SLUG, room))}")


def is_vm_name(text: str) -> bool:
    """Tell whether ``text`` could name a VM (and is therefore safe as a file name)."""
    return _VALID.fullmatch(text) is not None
