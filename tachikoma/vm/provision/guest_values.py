"""Values as the guest's files want them (pure), for Python 3.9 or newer.

``plan.guest_script`` puts this text in its place in ``guest``: one program goes to the guest.
"""

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]


def merged(kept: "Plan", before: "Plan", ours: "Plan") -> "Plan":
    """Give ``kept`` with what is new in ``ours`` since ``before``, objects merged in depth.

    What was changed here and not on the host stays changed; what the host has no more goes.
    """
    result = dict(kept)
    for key in {**before, **ours}:
        old, new, here = before.get(key), ours.get(key), kept.get(key)
        gone = key not in ours and isinstance(old, dict) and isinstance(here, dict)
        if isinstance(new, dict) or gone:
            parts = [each if isinstance(each, dict) else {} for each in (here, old, new)]
            result[key] = merged(*parts)
            if key not in ours and not result[key]:
                del result[key]
        elif key in ours and (new != old or key not in kept):
            result[key] = new
        elif key not in ours and here == old:
            result.pop(key, None)
    return result


def decoded(encoded: str) -> str:
    """Give the text that is sent in base64."""
    return binascii.a2b_base64(encoded).decode("utf-8", "surrogateescape")


def quoted(text: str) -> str:
    """Give a text as one word of the shell's, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"


def git_quoted(text: str) -> str:
    """Give a value as git's configuration files spell it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t") + '"'
