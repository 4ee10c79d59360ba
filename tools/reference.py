"""Writes docs/reference/: a page for each command from its help, makima's protocol from its types
the daemon's settings from the table of its keys, also as an example file, and the server's API from
its endpoints; `--check` compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import makima_protocol
import makima_settings
import server_api

from tachikoma.cli.app import tree
from tachikoma.makima.describe import example

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PLACE = REFERENCE / "cli"
NOTE = "Generated from the program's own help by `make docs`."


def main() -> int:
    pages = dict(_pages())
    others = {
        REFERENCE / "makima-protocol.md": makima_protocol.page(
            "Generated from the program's own types by `make docs`."
        ),
        REFERENCE / "makima-daemon.md": makima_settings.page(
            "Generated from the program's own table by `make docs`."
        ),
        REFERENCE / "makima-server.md": server_api.page(
            "Generated from the program's own types by `make docs`."
        ),
        ROOT / "makima-daemon.toml.example": example(),
    }
    there = {path.name for path in PLACE.glob("*.md")} if PLACE.is_dir() else set()
    if "--check" not in sys.argv[1:]:
        PLACE.mkdir(parents=True, exist_ok=True)
        for name in there - set(pages):
            (PLACE / name).unlink()
        for name, text in pages.items():
            (PLACE / name).write_text(text, encoding="utf-8")
        for path, text in others.items():
            path.write_text(text, encoding="utf-8")
        return 0
    wrong = sorted(there ^ set(pages))
    wrong += [
        name
        for name in sorted(there & set(pages))
        if (PLACE / name).read_text(encoding="utf-8") != pages[name]
    ]
    for name in wrong:
        print(f"docs/reference/cli/{name} is not what the program's help says: run `make docs`")
    for path, text in others.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            wrong.append(path.name)
            print(f"{path.relative_to(ROOT)} is not what the program says: run `make docs`")
    return 1 if wrong else 0


def _pages() -> Iterator[tuple[str, str]]:
    """Give the index and a page for each verb; the commands of a group are on its page."""
    context = _context(tree, ("tachikoma",))
    verbs = {name: tree.get_command(context, name) for name in tree.list_commands(context)}
    rows = "".join(
        f"- [`tachikoma {name}`]({name}.md): {_first_sentence(command)}\n"
        for name, command in verbs.items()
        if command is not None
    )
    yield (
        "index.md",
        f"# The command line\n\n{NOTE}\n\n{rows}\n{_shown(tree, ('tachikoma',))}",
    )
    for name, command in verbs.items():
        assert command is not None
        sections = "\n".join(_sections(command, ("tachikoma", name), "#"))
        yield f"{name}.md", sections.replace("\n\n", f"\n\n{NOTE}\n\n", 1)


def _sections(command: click.Command, name: tuple[str, ...], mark: str) -> Iterator[str]:
    yield f"{mark} {' '.join(name)}\n\n{_shown(command, name)}"
    if isinstance(command, click.Group):
        context = _context(command, name)
        for verb in command.list_commands(context):
            inner = command.get_command(context, verb)
            assert inner is not None
            if not inner.hidden:
                yield from _sections(inner, (*name, verb), mark + "#")


def _shown(command: click.Command, name: tuple[str, ...]) -> str:
    return f"```text\n{command.get_help(_context(command, name)).strip()}\n```\n"


def _context(command: click.Command, name: tuple[str, ...]) -> click.Context:
    return click.Context(
        command, info_name=" ".join(name), terminal_width=100, max_content_width=100
    )


def _first_sentence(command: click.Command) -> str:
    paragraph = " ".join((command.help or "").partition("\n\n")[0].split())
    first, stop, _ = paragraph.partition(". ")
    return first + "." if stop else paragraph


if __name__ == "__main__":
    sys.exit(main())
