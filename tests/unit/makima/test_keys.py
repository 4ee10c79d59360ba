from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_type_hints

import pytest

from tachikoma.config.layers import Layer, MismatchError
from tachikoma.makima.keys import BY_NAME, KEYS
from tachikoma.makima.settings import AutoClone, DaemonSettings

LAYER = Layer(Path("/here/f"), base=Path("/here"), home=Path("/home/ada"), in_repository=False)


def test_the_table_has_every_setting_once() -> None:
    settings = [
        f"{section}.{field.name}"
        for section, kind in get_type_hints(DaemonSettings).items()
        if is_dataclass(kind)
        for field in fields(kind)
    ]
    assert sorted(BY_NAME) == sorted(settings)
    assert len(KEYS) == len(BY_NAME)


def test_no_variable_means_two_keys() -> None:
    names = [name for key in KEYS for name in key.variables]
    assert len(set(names)) == len(names)


def test_the_names_of_variables_are_those_of_the_seed() -> None:
    assert BY_NAME["process.max_concurrent_tasks"].variables == (
        "MAKIMA_DAEMON_PROCESS_MAXCONCURRENTTASKS",
        "MAKIMA_DAEMON_PROCESS__MAX_CONCURRENT_TASKS",
    )
    assert BY_NAME["local_db.path"].variables == (
        "MAKIMA_DAEMON_LOCALDB_PATH",
        "MAKIMA_DAEMON_LOCAL_DB__PATH",
    )


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("process.max_concurrent_tasks", " 8 ", 8),
        ("process.enable_permissions", "True", True),
        ("process.enable_permissions", "0", False),
        ("process.claude_args", '["--model", "a b"]', ("--model", "a b")),
        ("process.claude_args", "--model 'a b'", ("--model", "a b")),
        ("process.claude_command", "claude", "claude"),
        ("process.claude_command", "~/bin/claude", "/home/ada/bin/claude"),
        ("process.claude_command", "./bin/claude", "/here/bin/claude"),
        ("process.env_vars", '{"A": "b", "N": 1}', MappingProxyType({"A": "b", "N": "1"})),
        ("process.isolation", "VM", "vm"),
        ("worktree.base_dir", "~/trees", Path("/home/ada/trees")),
        ("worktree.base_dir", "trees", Path("/here/trees")),
        ("server.api_key", " key\n", "key"),
        ("logging.level", "DEBUG", "debug"),
        (
            "repos.auto_clone",
            "github:a/b github:a/c",
            (
                AutoClone(url="https://github.com/a/b.git", name="b"),
                AutoClone(url="https://github.com/a/c.git", name="c"),
            ),
        ),
        (
            "repos.auto_clone",
            '[{"url": "github:a/b", "shallow": true}]',
            (AutoClone(url="https://github.com/a/b.git", name="b", shallow=True),),
        ),
    ],
)
def test_what_a_variable_means(name: str, written: str, value: object) -> None:
    key = BY_NAME[name]
    assert key.kind.check(key.read(written), LAYER) == value


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("process.max_concurrent_tasks", "0"),
        ("process.max_concurrent_tasks", "many"),
        ("process.max_concurrent_tasks", "9" * 30),
        ("process.enable_permissions", "maybe"),
        ("process.claude_args", "'open"),
        ("process.claude_command", "  "),
        ("process.env_vars", "A=b"),
        ("process.env_vars", '{"A B": "c"}'),
        ("process.env_vars", '{"A": ["c"]}'),
        ("process.isolation", "docker"),
        ("worktree.base_dir", "~bob/trees"),
        ("worktree.branch_prefix", "a..b"),
        ("worktree.branch_prefix", "-x"),
        ("worktree.branch_prefix", ""),
        ("server.api_key", "two words"),
        ("server.heartbeat_interval_secs", "0"),
        ("logging.format", "xml"),
    ],
)
def test_what_a_key_does_not_accept(name: str, written: str) -> None:
    key = BY_NAME[name]
    with pytest.raises(MismatchError):
        key.kind.check(key.read(written), LAYER)
