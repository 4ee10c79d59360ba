"""A repository that a guest writes to, as something to fetch from: its objects and nothing else."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tachikoma.git.linked import check_objects
from tachikoma.host import files

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tcommitGraph = false\n"


@contextlib.contextmanager
def exported(repository: Path, refs: Mapping[str, str], *, head: str) -> Iterator[Path]:
    """Make a git directory with just ``refs`` (full names and commits), HEAD being one of them.

    Neither configuration nor hooks, replacements nor grafts of ``repository`` are in it.

    Raises:
        GitError: ``repository`` gives out other repositories' objects for its own.
    """
    check_objects(repository)
    made = Path(tempfile.mkdtemp(prefix="tachikoma-export-"))
    try:
        with files.translated(made):
            (made / "refs").mkdir()
            (made / "config").write_text(_CONFIG, encoding="ascii")
            (made / "HEAD").write_text(f"ref: {head}\n", encoding="utf-8")
            (made / "objects").symlink_to(repository / "objects")
            lines = [f"{commit} {ref}\n" for ref, commit in sorted(refs.items())]
            (made / "packed-refs").write_text("".join(lines), encoding="utf-8")
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
