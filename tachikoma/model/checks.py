"""What an engine finds when it looks at this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, why it matters, and what mends it.

    ``required`` is False where the engine works without it.
    """

    name: str
    ok: bool
    found: str
    why: str
    fix: str = ""
    required: bool = True
