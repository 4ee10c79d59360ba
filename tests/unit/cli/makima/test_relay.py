from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from tachikoma.cli.makima.relay import init
from tests.unit.cli.stand import CommandLine

READY = {
    "MAKIMA_SERVER_URL": "wss://makima.example",
    "MAKIMA_API_KEY": "mk_0123456789",
    "MAKIMA_AGENT_NAME": "edge-1",
}
INIT = ("makima", "relay", "init", "--no-check")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay.env"


def values(file: Path) -> dict[str, str]:
    lines = [each for each in file.read_text().splitlines() if "=" in each]
    return dict(each.split("=", 1) for each in lines if not each.startswith("#"))


def test_without_a_key_or_a_server_the_relay_does_not_start(line: CommandLine) -> None:
    ran = line("makima", "relay", env={"MAKIMA_SERVER_URL": "wss://makima.example"})
    assert ran.status == 78
    assert "MAKIMA_API_KEY is not set" in ran.err
    assert "relay init" in ran.err
    ran = line("makima", "relay", env={"MAKIMA_API_KEY": "mk_0123456789"})
    assert ran.status == 78
    assert "MAKIMA_SERVER_URL is not set" in ran.err


def test_a_port_that_is_none_is_a_wrong_command_line(line: CommandLine) -> None:
    assert line("makima", "relay", "--port", "70000", env=READY).status == 2


def test_a_file_of_variables_that_is_not_there_is_told(line: CommandLine, file: Path) -> None:
    ran = line("makima", "relay", "--env-file", str(file))
    assert ran.status == 1
    assert str(file) in ran.err.replace("\n", "")


def test_init_writes_a_file_for_its_user_with_a_key_for_daemons(
    line: CommandLine, file: Path
) -> None:
    ran = line(*INIT, "--output", str(file), env=READY)
    assert ran.status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = values(file)
    assert re.fullmatch(r"mrd_[\w-]{43}", told.pop("MAKIMA_RELAY_DAEMON_KEYS"))
    assert told == {
        "MAKIMA_SERVER_URL": "wss://makima.example/ws/daemon",
        "MAKIMA_API_KEY": "mk_0123456789",
        "MAKIMA_AGENT_NAME": "edge-1",
    }
    assert "mk_0123456789" not in ran.out + ran.err
    assert f"tachikoma makima relay --env-file {file}" in ran.out


def test_init_takes_options_before_variables_and_the_key_from_a_file(
    line: CommandLine, file: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("mk_of_the_file\n")
    ran = line(
        *(*INIT, "--output", str(file), "--same-key", "--name", "other"),
        *("--server-url", "http://127.0.0.1:9000/makima", "--key-file", str(key)),
        env=READY,
    )
    assert ran.status == 0
    assert values(file) == {
        "MAKIMA_SERVER_URL": "ws://127.0.0.1:9000/makima",
        "MAKIMA_API_KEY": "mk_of_the_file",
        "MAKIMA_AGENT_NAME": "other",
    }


def test_init_asks_for_what_it_was_not_told(line: CommandLine, file: Path) -> None:
    line.answer = "edge-of-the-answer\n"
    environ = {name: value for name, value in READY.items() if name != "MAKIMA_AGENT_NAME"}
    ran = line(*INIT, "--output", str(file), env=environ, tty=True)
    assert ran.status == 0
    assert "Name of this relay: " in ran.err
    assert values(file)["MAKIMA_AGENT_NAME"] == "edge-of-the-answer"


def test_init_without_a_terminal_says_what_to_give(line: CommandLine, file: Path) -> None:
    ran = line(*INIT, "--output", str(file))
    assert ran.status == 2
    assert "--server-url, --name and --key-file" in ran.err
    assert not file.exists()


def test_init_replaces_a_file_only_when_told_to(line: CommandLine, file: Path) -> None:
    file.write_text("precious")
    assert line(*INIT, "--output", str(file), env=READY).status == 2
    assert file.read_text() == "precious"
    assert line(*INIT, "--output", str(file), "--force", env=READY).status == 0
    assert "precious" not in file.read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAKIMA_AGENT_NAME", "two words"), ("MAKIMA_API_KEY", "a b"), ("MAKIMA_SERVER_URL", "x")],
)
def test_init_writes_nothing_that_cannot_work(
    line: CommandLine, file: Path, name: str, value: str
) -> None:
    ran = line(*INIT, "--output", str(file), env=READY | {name: value})
    assert ran.status == 78
    assert not file.exists()


def test_a_key_that_would_go_over_the_net_in_the_clear_is_told(
    line: CommandLine, file: Path
) -> None:
    environ = READY | {"MAKIMA_SERVER_URL": "ws://makima.example"}
    assert "unencrypted" in line(*INIT, "--output", str(file), env=environ).out


def test_with_json_the_outcome_is_data(line: CommandLine, file: Path) -> None:
    data = line(*INIT, "--output", str(file), "--json", env=READY).data
    assert data["file"] == str(file)
    assert data["checked"] is False


def test_no_option_takes_a_key_itself() -> None:
    assert not any("--key" in each.opts or "--api-key" in each.opts for each in init.params)
