"""What no committed file may hold. Prints each breach with its place and ends with status 1."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VAGUE = {"utils", "util", "helpers", "common", "misc", "manager"}
# Whoever installs may use a mirror: its address is set up on his machine, not written here.
REGISTRY = re.compile(
    r"\b(?:(?:files\.)?pythonhosted|pypi|registry\.npmjs|(?:deb|security|snapshot)\.debian"
    r"|(?:archive|security|ports)\.ubuntu|(?:static\.|index\.)?crates|proxy\.golang)\.(?:com|io|org)\b"
)
SUPPRESSION = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b(?P<rest>.*)")
EXPLAINED = re.compile(r"(?::\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*|\[[\w\-, ]+\])(?: - |  # |  )\w+")


def main() -> int:
    breaches = [breach for path in _files() if path.is_file() for breach in _breaches(path)]
    for breach in sorted(breaches):
        print(breach)
    return 1 if breaches else 0


def _files() -> Iterator[Path]:
    """What is committed, or would be by `git add -A`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    yield from (ROOT / name for name in listed.stdout.decode().split("\0") if name)


def _breaches(path: Path) -> Iterator[str]:
    name = path.relative_to(ROOT)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        yield f"{name}: not UTF-8 text"
        return
    for number, line in enumerate(text.splitlines(), 1):
        for what in _in_line(line, in_python=path.suffix == ".py"):
            yield f"{name}:{number}: {what}"
    if VAGUE & {part.partition(".")[0] for part in name.parts}:
        yield f"{name}: a file is named for a thing"


def _in_line(line: str, *, in_python: bool) -> Iterator[str]:
    if REGISTRY.search(line):
        yield "names a package registry"
    if f"{ROOT}/" in line:
        yield "names a place on this machine"
    found = SUPPRESSION.search(line) if in_python else None
    if found and not EXPLAINED.match(found["rest"]):
        yield "a suppression needs its code and a reason (`noqa: CODE - why`)"


if __name__ == "__main__":
    sys.exit(main())
