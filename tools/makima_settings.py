"""The reference page of the daemon's settings: every key with its default and variables."""

from __future__ import annotations

from collections.abc import Iterator

from tachikoma.makima.describe import default, explanation
from tachikoma.makima.keys import API_KEY_VARIABLE, KEYS, DaemonKey


def page(note: str) -> str:
    return "\n".join(_lines(note)) + "\n"


def _lines(note: str) -> Iterator[str]:
    yield "# The settings of makima-daemon"
    yield f"\n{note}\n"
    yield (
        "Files are TOML: `/etc/makima-daemon/config.toml` (Linux),"
        " `~/.config/makima-daemon/config.toml`, and `makima-daemon.toml` in the current directory;"
        " a later one wins key by key, and a list or table as a whole. `--config FILE` reads that"
        " file instead of the three. Variables win over files, options over variables. Every key"
        f" has two variables; `server.api_key` has `{API_KEY_VARIABLE}` besides, which wins. An"
        " empty variable counts as unset. Lists are JSON or words as in a shell, tables are JSON.\n"
    )
    yield (
        "`~/` is the home directory. Relative paths start from the directory of their file, in the"
        " first two files from the home directory, in variables and options from the current one.\n"
    )
    yield (
        "Keys marked * are not taken from a `makima-daemon.toml` that lies in a git repository,"
        " unless `tachikoma trust` was told that its content is wanted, or unless it is given by"
        " `--config`."
    )
    section = ""
    for key in KEYS:
        if key.section != section:
            section = key.section
            yield f"\n## [{section}]"
        yield from _about(key)


def _about(key: DaemonKey) -> Iterator[str]:
    yield f"\n### {key.key}{' *' if key.why_not else ''}\n"
    yield f"{explanation(key)}\n"
    yield f"- It is {key.kind.expected}."
    if value := default(key):
        yield f"- Default: `{value}`"
    yield "- Variables: " + ", ".join(f"`{name}`" for name in key.variables)
    if key.why_not:
        but = "" if key.harmless is None else f" (but for `{str(key.harmless).lower()}`)"
        yield f"- Takes trust{but}: {key.why_not}."
