from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from tachikoma.credentials.os_keychain import OsKeychain, bus_address, login_name, reader_argv
from tachikoma.model.errors import KeychainError


def test_the_account_is_the_name_that_the_user_logs_in_with() -> None:
    assert login_name({"USER": "alice", "LOGNAME": "bob"}) == "alice"
    assert login_name({"USER": "", "LOGNAME": "bob"}) == "bob"
    assert login_name({}) == pwd.getpwuid(os.geteuid()).pw_name


def test_nothing_of_what_is_looked_for_stands_in_the_argument_list() -> None:
    assert reader_argv()[1:] == ["-P", "-m", "tachikoma.credentials.keychain_reader"]


def test_the_session_is_where_its_variable_says_or_at_its_usual_place(own_home: Path) -> None:
    runtime = own_home.parent / "run"
    environment = {"XDG_RUNTIME_DIR": str(runtime)}
    assert bus_address(environment) is None
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(runtime / "bus"))
        assert bus_address(environment) == f"unix:path={runtime}/bus"
    given = {**environment, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}
    assert bus_address(given) == "unix:path=/x"
    assert bus_address({}) is None
    assert bus_address({"XDG_RUNTIME_DIR": "run"}) is None


@pytest.mark.parametrize(
    ("platform", "name", "why"),
    [
        ("linux", "Secret Service", "no desktop session"),
        ("freebsd", "OS keychain", "none that is known"),
    ],
)
async def test_a_host_without_one_is_told_without_starting_anything(
    platform: str, name: str, why: str
) -> None:
    keychain = OsKeychain(environment={}, platform=platform)
    assert keychain.name == name
    with pytest.raises(KeychainError, match=why) as caught:
        await keychain.read(["a"], "me")
    assert caught.value.hint == ""


def test_macos_has_its_own() -> None:
    assert OsKeychain(environment={}, platform="darwin").name == "macOS Keychain"


def test_the_reader_gets_what_leads_to_the_keychain_and_no_credential() -> None:
    environment = {
        "HOME": "/home/alice",
        "USER": "alice",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x",
        "PYTHON_KEYRING_BACKEND": "plain.Text",
        "ANTHROPIC_API_KEY": "hidden",
    }
    on_linux = OsKeychain(environment=environment, platform="linux")._variables()
    assert sorted(on_linux) == ["DBUS_SESSION_BUS_ADDRESS", "HOME", "USER"]
    on_macos = OsKeychain(environment=environment, platform="darwin")._variables()
    assert sorted(on_macos) == ["HOME", "USER"]
