"""The host's settings of Claude Code made fit for a VM (pure).

The result is written anew from a list of what may go in, key by key, each value checked: Claude
Code passes over a whole file for one value that it does not like. So what is not known here stays
out, and with it all that makes the agent run something, reach somewhere, use another account, or
that names a place of the host: ``hooks``, ``statusLine``, ``env`` (it beats the environment of the
process), every ``*Helper``, ``sandbox``, plugins and marketplaces, the mode of permissions, and
rules about paths of the host, such as those below ``~/Library``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Json = Mapping[str, object]
Check = Callable[[object], bool]

_LONGEST = 4096
_MOST_RULES = 1000
_MODEL = re.compile(
    r"(?:default|opusplan|(?:opus|sonnet|haiku|fable|claude-[a-z0-9.-]+)(?:\[1m\])?)"
)
_RULE = re.compile(
    r"(?:[A-Z][A-Za-z]*|mcp__[A-Za-z0-9_-]+(?:\*)?)(?:\((?P<about>[^\x00-\x1f]+)\))?"
)
_HOST_PATH = re.compile(r"""(?:^|[\s"'`=,;|&<>({])(?:~|//?[^/\s]|\$\{?HOME\b)|/Library/""")
"""A path from the root or from a home directory, as a word of its own."""


@dataclass(frozen=True, slots=True)
class Sanitised:
    """What may enter a VM. ``broken`` says why the file could not be used at all, if so."""

    settings: dict[str, object] = field(default_factory=dict)
    broken: str = ""


def sanitised(text: str, *, is_secret: Callable[[str], bool]) -> Sanitised:
    """Make what stands in a settings.json fit for a VM; "" is no file. Never raises.

    A rule or text in which ``is_secret`` sees a secret stays out as well: permissions are often
    given to whole command lines.
    """
    if not text.strip():
        return Sanitised()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Sanitised(broken="it is not JSON")
    if not isinstance(found, dict):
        return Sanitised(broken="it is not a JSON object")
    kept = {
        key: found[key]
        for key, fits in _KEPT.items()
        if key in found and fits(found[key]) and not is_secret(json.dumps(found[key]))
    }
    if rules := _permissions(found.get("permissions"), is_secret):
        kept["permissions"] = rules
    return Sanitised(kept)


def _permissions(found: object, is_secret: Callable[[str], bool]) -> dict[str, list[str]]:
    """Give the rules that mean in a VM what they mean on the host."""
    if not isinstance(found, dict):
        return {}
    rules = {}
    for kind in ("allow", "ask", "deny"):
        listed = found.get(kind)
        if isinstance(listed, list):
            rules[kind] = [rule for rule in listed if _is_portable(rule) and not is_secret(rule)][
                :_MOST_RULES
            ]
    return {kind: kept for kind, kept in rules.items() if kept}


def _is_portable(rule: object) -> bool:
    """Tell whether a rule is one, and about nothing that only the host has."""
    if not _is_text(rule):
        return False
    assert isinstance(rule, str)
    match = _RULE.fullmatch(rule)
    return match is not None and not _HOST_PATH.search(match["about"] or "")


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and _is_unicode(value)


def _is_unicode(value: str) -> bool:
    """JSON may hold halves of characters, which no file can."""
    return not any("\ud800" <= each <= "\udfff" for each in value)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w .-]{1,64}", value) is not None


def _is_model(value: object) -> bool:
    """Another provider's names for models mean nothing to the API behind the proxy."""
    return isinstance(value, str) and len(value) <= _LONGEST and bool(_MODEL.fullmatch(value))


def _is_days(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000


def _is_attribution(value: object) -> bool:
    return isinstance(value, dict) and all(
        key in ("commit", "pr") and _is_text(text) for key, text in value.items()
    )


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


_KEPT: Mapping[str, Check] = {
    "model": _is_model,
    "effortLevel": _one_of("low", "medium", "high", "xhigh", "max"),
    "alwaysThinkingEnabled": _is_flag,
    "outputStyle": _is_word,
    "language": _is_word,
    "theme": _is_word,
    "editorMode": _one_of("normal", "vim", "emacs"),
    "verbose": _is_flag,
    "attribution": _is_attribution,
    "includeCoAuthoredBy": _is_flag,
    "includeGitInstructions": _is_flag,
    "cleanupPeriodDays": _is_days,
    "autoCompactEnabled": _is_flag,
    "respectGitignore": _is_flag,
    "spinnerTipsEnabled": _is_flag,
    "prefersReducedMotion": _is_flag,
}
