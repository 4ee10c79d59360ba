from __future__ import annotations

from pathlib import Path

import tomli

from tachikoma.config.describe import Entry, entries, example
from tachikoma.config.load import load
from tachikoma.model.settings import Settings
from tests.conftest import ROOT


def uncommented(text: str) -> str:
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    return "\n".join(line for line in lines if line.split(" =")[0].isidentifier() and " = " in line)


def test_the_example_in_the_repository_is_the_one_that_the_table_gives() -> None:
    # To renew it: python -c 'from tachikoma.config.describe import *; print(example()[:-1])'
    assert (ROOT / ".tachikoma.toml.example").read_text(encoding="utf-8") == example()


def test_the_example_sets_nothing() -> None:
    assert tomli.loads(example()) == {}


def test_the_example_with_every_comment_removed_gives_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(uncommented(example()))
    loaded = load(global_file=file, repository=None, home=tmp_path)
    keys = [each.key for each in entries(loaded)]
    assert loaded.settings.explicit == set(keys)
    defaults = Settings()
    for key in keys:
        if getattr(defaults, key) is not None:
            assert getattr(loaded.settings, key) == getattr(defaults, key)


def test_an_entry_holds_value_source_and_what_holds_where_nothing_is_set(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('worktree_dir = "~/trees"\nshare_claude_dirs = ["rules"]\n')
    found = {
        each.key: each for each in entries(load(global_file=file, repository=None, home=tmp_path))
    }
    assert found["worktree_dir"] == Entry(
        key="worktree_dir",
        value=str(tmp_path / "trees"),
        source=str(file),
        explanation="Directory that holds the worktrees of branches."
        " Default: the directory that the repository lies in.",
    )
    assert found["share_claude_dirs"].value == ["rules"]
    assert (found["network"].value, found["network"].source) == (None, "default")
    assert (found["vm_cpus"].value, found["vm_cpus"].source) == (4, "default")
