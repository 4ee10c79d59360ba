"""Writes docs/reference/cli.md from the command tree; `--check` only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tachikoma.cli.app import tree

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# The command line

Generated from the program's own help by `make docs`.
"""


def main() -> int:
    page = HEAD + "".join(_sections(tree, ("tachikoma",)))
    if "--check" not in sys.argv[1:]:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{PAGE.name} is not what the program's help says: run `make docs`")
    return 1


def _sections(command: click.Command, name: tuple[str, ...]) -> Iterator[str]:
    context = click.Context(
        command, info_name=" ".join(name), terminal_width=100, max_content_width=100
    )
    yield f"\n## {' '.join(name)}\n\n```text\n{command.get_help(context).strip()}\n```\n"
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            inner = command.get_command(context, verb)
            assert inner is not None
            yield from _sections(inner, (*name, verb))


if __name__ == "__main__":
    sys.exit(main())
