from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tachikoma.cli.worker_kinds import Chosen, Site, choose
from tachikoma.model.errors import UsageError
from tachikoma.supervisor.workers import Options

PROGRAM = ("python", "-m", "tachikoma")
BOTH = (("proxy", "start", "--wait"), ("makima", "daemon"))


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(directory=tmp_path / "work")


def chosen(
    options: Options,
    *asked: str,
    environ: Mapping[str, str] | None = None,
    there: Sequence[tuple[str, ...]] = BOTH,
) -> Chosen:
    home = options.directory.parent / "home"
    site = Site(PROGRAM, lambda words: tuple(words) in there, environ or {}, home)
    return choose(site, options, asked)


def test_the_proxy_is_always_run_and_makima_where_it_is_configured(options: Options) -> None:
    found = chosen(options)
    assert [each.kind for each in found.workers] == ["proxy"]
    assert found.workers[0].argv == (*PROGRAM, "proxy", "start", "--wait")
    assert found.notes == (
        "worker 'makima' is not run: neither MAKIMA_DAEMON_SERVER_URL nor a makima-daemon.toml",
    )
    found = chosen(options, environ={"MAKIMA_API_KEY": "key"})
    assert [(each.kind, each.why) for each in found.workers] == [
        ("makima", "MAKIMA_API_KEY is set"),
        ("proxy", "VMs reach the API through it"),
    ]
    assert found.notes == ()


@pytest.mark.parametrize(
    "file", ["work/makima-daemon.toml", "home/.config/makima-daemon/config.toml"]
)
def test_a_file_of_the_makima_daemon_counts_as_configured(options: Options, file: str) -> None:
    path = options.directory.parent / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert chosen(options).workers[0].why == f"{path} is there"


def test_a_worker_without_a_command_is_neither_run_nor_spoken_of(options: Options) -> None:
    found = chosen(options, environ={"MAKIMA_API_KEY": "key"}, there=BOTH[:1])
    assert ([each.kind for each in found.workers], found.notes) == (["proxy"], ())
    with pytest.raises(UsageError, match="there is no worker 'makima'"):
        chosen(options, "makima", there=BOTH[:1])
    with pytest.raises(UsageError, match="there is no worker 'relay'"):
        chosen(options, "relay")


def test_only_what_was_asked_for_is_run(options: Options) -> None:
    found = chosen(options, "makima")
    assert [(each.kind, each.why) for each in found.workers] == [
        ("makima", "asked for by --worker")
    ]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("told", "argv", "environ"),
    [
        ({}, (), {}),
        ({"capacity": 7}, ("--max-tasks", "7"), {}),
        ({"sandbox": True}, (), {"MAKIMA_DAEMON_PROCESS_ISOLATION": "vm"}),
        ({"spawn_mode": "worktree"}, (), {}),
        (
            {"permission_mode": "plan"},
            (),
            {
                "MAKIMA_DAEMON_PROCESS_ENABLEPERMISSIONS": "true",
                "MAKIMA_DAEMON_PROCESS_CLAUDEARGS": "--permission-mode plan",
            },
        ),
        (
            {"permission_mode": "bypassPermissions"},
            (),
            {"MAKIMA_DAEMON_PROCESS_ENABLEPERMISSIONS": "false"},
        ),
    ],
)
def test_what_was_said_is_said_to_makima_in_its_own_words(
    tmp_path: Path, told: dict[str, object], argv: tuple[str, ...], environ: dict[str, str]
) -> None:
    options = Options(directory=tmp_path, **told)  # type: ignore[arg-type]  # fields
    (worker,) = chosen(options, "makima").workers
    assert worker.argv == (*PROGRAM, "makima", "daemon", *argv)
    assert worker.environ == environ
