"""The agent's last words in a VM, as the message of a commit (pure, and one look into the guest).

What a guest says is text: it is cut, and control characters are taken out.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

from tachikoma.git.port import Commit
from tachikoma.model.errors import SshError
from tachikoma.ssh.port import Login, Shell

_TAIL = 1 << 18
_LONGEST_SUBJECT = 72
_LONGEST_BODY = 4000
_LAST_TRANSCRIPT = """\
last=$(ls -t "$HOME/.claude/projects/$1"/*.jsonl 2>/dev/null | head -n 1)
[ -z "$last" ] || tail -c "$2" -- "$last"
"""
_BULLETS = re.compile(r"^[\s#*>`_-]+|[\s*`_]+$")


async def last_summary(shell: Shell, login: Login, worktree: Path) -> Commit | None:
    """Give what Claude Code said last about ``worktree`` in a running VM; None if nobody knows."""
    said = bytearray()
    command = ("sh", "-c", _LAST_TRANSCRIPT, "tachikoma", slug_of(worktree), str(_TAIL))
    try:
        await shell.run(
            login,
            command,
            directory="",
            stdin=None,
            on_stdout=lambda data: said.extend(data[: _TAIL - len(said)]),
            on_stderr=lambda _data: None,
        )
    except SshError:
        return None
    words = last_words(bytes(said))
    return as_message(words) if words else None


def slug_of(worktree: Path) -> str:
    """Give the name under which Claude Code keeps what was said in a directory."""
    return re.sub(r"[^A-Za-z0-9]", "-", str(worktree))


def last_words(transcript: bytes) -> str:
    """Give the last text of the agent in the end of a transcript; "" if there is none."""
    for line in reversed(transcript.decode("utf-8", "replace").splitlines()):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the first line may be cut
        if isinstance(entry, dict) and (text := _text(entry)):
            return text
    return ""


def _text(entry: dict[str, object]) -> str:
    message = entry.get("message")
    if (
        entry.get("type") != "assistant"
        or entry.get("isSidechain")
        or not isinstance(message, dict)
    ):
        return ""
    parts = message.get("content")
    texts = [
        part["text"]
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
    ]
    return "\n\n".join(texts).strip()


def as_message(text: str) -> Commit | None:
    """Make a commit message of what somebody said: a subject of one line, and all of it as body."""
    lines = [line.rstrip() for line in _plain(text).strip().splitlines()]
    subject = next((found for line in lines if (found := _BULLETS.sub("", line))), "")
    if not subject:
        return None
    short = shortened(subject, _LONGEST_SUBJECT)
    body = "\n".join(lines)[:_LONGEST_BODY].strip()
    return Commit(short, "" if body == short else body)


def shortened(text: str, longest: int) -> str:
    """Cut ``text`` at a word, with an ellipsis."""
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    head, space, _ = cut.rpartition(" ")
    return f"{(head if space and len(head) > longest // 2 else cut).rstrip(' ,;:')}…"


def _plain(text: str) -> str:
    return "".join(
        char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")
    )
