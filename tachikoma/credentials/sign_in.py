"""What Claude Code of this host writes down of its sign-in, in a file or a keychain (pure).

Only the access token and its expiry are taken out. The refresh token beside them works once: if
anybody but its owner used it, the owner would be signed out.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[\x21-\x7e]+")
MISSHAPEN = "what it holds is not one word of printable ASCII"
EXPIRED = "its token has expired; start `claude` on this host to renew it"


class NobodySignedIn(ValueError):
    """The document is whole, and no sign-in is in it."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """An access token and when it expires: seconds since the epoch, None where unsaid."""

    token: str = field(repr=False)
    expires: float | None


def decode(text: str | bytes) -> SignIn:
    """Read the JSON document.

    Raises:
        NobodySignedIn: nobody has signed in.
        ValueError: it holds no usable token; says so without quoting the document.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # The decoder's own message may quote the document.
        raise ValueError("is not JSON") from None
    login = document.get("claudeAiOauth") if isinstance(document, dict) else None
    if not isinstance(login, dict):
        raise NobodySignedIn("holds no sign-in")
    token = login.get("accessToken")
    if not isinstance(token, str) or not token.strip():
        raise ValueError("holds no access token")
    return SignIn(one_word(token), _seconds(login.get("expiresAt")))


def one_word(text: str) -> str:
    """Give ``text`` without the white space around it: it must fit into a header, and only there.

    Raises:
        ValueError: it is more than one word, or not ASCII.
    """
    word = text.strip()
    if _TOKEN.fullmatch(word) is None:
        raise ValueError(MISSHAPEN)
    return word


def _seconds(milliseconds: object) -> float | None:
    """Give the seconds of what should be a count of milliseconds; None if it is none."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    try:
        seconds = milliseconds / 1000
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None
