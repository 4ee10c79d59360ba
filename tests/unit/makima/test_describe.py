from __future__ import annotations

from pathlib import Path

import tomli

from tachikoma.makima.configuration import Surroundings, load_daemon_settings
from tachikoma.makima.describe import default, entries, example
from tachikoma.makima.keys import BY_NAME, KEYS
from tests.conftest import ROOT


def uncommented() -> str:
    lines = [line.removeprefix("# ") for line in example().splitlines()]
    table = next(number for number, line in enumerate(lines) if "[[repos" in line)
    kept = [
        line for line in lines[:table] if not line.startswith(" ") and ("= " in line or "[" in line)
    ]
    kept += [line for line in lines[table + 5 :] if "= " in line or line.startswith("[")]
    return "\n".join(line for line in kept if line.split(" =")[0].isidentifier() or line[0] == "[")


def place(directory: Path) -> Surroundings:
    return Surroundings(
        environ={},
        cwd=directory,
        home=directory,
        user_file=directory / "user.toml",
        system_file=None,
    )


def test_the_example_in_the_repository_is_the_one_that_the_table_gives() -> None:
    # `make docs` renews it
    file = ROOT / "makima-daemon.toml.example"
    assert file.read_text(encoding="utf-8") == example()


def test_the_example_sets_nothing() -> None:
    assert tomli.loads(example()) == {}


def test_the_example_with_every_comment_removed_gives_the_defaults(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.user_file.write_text(uncommented())
    here.user_file.chmod(0o600)
    loaded, unset = load_daemon_settings(here), load_daemon_settings(place(tmp_path / "none"))
    assert set(loaded.sources.values()) == {str(here.user_file)}
    for key in KEYS:
        if default(key) and not default(key).startswith('"~'):
            assert loaded.value(key.name) == unset.value(key.name)


def test_an_entry_shows_no_secret_and_nothing_where_nothing_is_set(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.user_file.write_text("[server]\napi_key = 'k'\n[process.env_vars]\nA = 'geheim'\n")
    here.user_file.chmod(0o600)
    found = {each.key: each for each in entries(load_daemon_settings(here))}
    assert found["server.api_key"].value == "[redacted]"
    assert found["server.url"].value is None
    assert found["process.env_vars"].value == {"A": "[redacted]"}
    assert found["worktree.base_dir"].value == str(tmp_path / ".makima/worktrees")
    assert found["server.url"].explanation == (
        "Where the makima server is. Without a path it gets /ws/daemon; http(s) means ws(s)."
        " Default: none, and the daemon does not start without."
    )


def test_defaults_are_written_as_toml_has_them() -> None:
    assert default(BY_NAME["local_db.path"]) == '"~/.makima/daemon.db"'
    assert default(BY_NAME["process.claude_args"]) == "[]"
    assert default(BY_NAME["process.env_vars"]) == "{}"
    assert default(BY_NAME["server.url"]) == ""
    assert default(BY_NAME["worktree.cleanup_on_start"]) == "false"
