"""``python -m bench.printer MEGABYTES``: a stand-in for Claude Code that prints as fast as it may.

Its lines are of the kind and length that Claude Code prints most of. It ends when its input does.
"""

from __future__ import annotations

import json
import sys

LINE_BYTES = 1000
_LINES_A_TIME = 500


def line() -> str:
    """Give what a tool said, as Claude Code tells it."""
    return _told('a line, as "JSON" with its quotes, and so on\n' * (LINE_BYTES // 48))


def _told(text: str) -> str:
    content = [{"type": "tool_result", "tool_use_id": "toolu_01", "content": text}]
    return json.dumps(
        {"type": "user", "message": {"role": "user", "content": content}}, separators=(",", ":")
    )


def main(megabytes: int) -> None:
    """Take the order, print, say that the turn is over, and wait for the end of the input."""
    sys.stdin.readline()
    lines = f"{line()}\n" * _LINES_A_TIME
    for _ in range(megabytes * 1_000_000 // len(lines)):
        sys.stdout.write(lines)
    result = {"type": "result", "subtype": "success", "is_error": False, "result": "", "usage": {}}
    print(json.dumps(result), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
