from __future__ import annotations

from pathlib import Path

import pytest

from tachikoma.makima.relay.settings import RelaySettings, checked_name, from_environment
from tachikoma.model.errors_fleet import MakimaConfigError

READY = {"MAKIMA_SERVER_URL": "wss://makima.example", "MAKIMA_API_KEY": "key"}


def settings(**environ: str) -> RelaySettings:
    return from_environment(READY | environ, bind="::1", port=1, database=Path("/db"))


def test_the_relay_is_to_its_server_what_the_seed_says() -> None:
    server = settings().server
    assert server.url == "wss://makima.example/ws/daemon"
    assert server.api_key == "key"
    assert server.heartbeat_interval_secs == 30
    assert server.reconnect_interval_secs == 1
    assert server.max_reconnect_attempts == 20


def test_daemons_connect_with_the_relay_s_own_key_unless_they_have_some() -> None:
    assert settings().daemon_keys == ("key",)
    assert settings(MAKIMA_RELAY_DAEMON_KEYS=" one, two,,").daemon_keys == ("one", "two")
    assert settings(MAKIMA_RELAY_DAEMON_KEYS=" , ").daemon_keys == ("key",)


def test_no_key_is_shown_with_the_settings() -> None:
    shown = repr(settings(MAKIMA_API_KEY="up-key", MAKIMA_RELAY_DAEMON_KEYS="down-key"))
    assert "up-key" not in shown
    assert "down-key" not in shown


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"MAKIMA_API_KEY": ""}, "MAKIMA_API_KEY is not set"),
        ({"MAKIMA_API_KEY": "a key"}, "MAKIMA_API_KEY cannot be an API key"),
        ({"MAKIMA_SERVER_URL": ""}, "MAKIMA_SERVER_URL is not set"),
        ({"MAKIMA_SERVER_URL": "ftp://x"}, "MAKIMA_SERVER_URL: ftp://x cannot be used"),
        ({"MAKIMA_SERVER_URL": "ws://u:secret@x"}, "MAKIMA_SERVER_URL"),
        ({"MAKIMA_RELAY_DAEMON_KEYS": "ok,schlüssel"}, "MAKIMA_RELAY_DAEMON_KEYS"),
        ({"MAKIMA_AGENT_NAME": "two\nlines"}, "MAKIMA_AGENT_NAME"),
    ],
)
def test_what_is_missing_or_wrong_is_told_with_its_name(environ: dict[str, str], told: str) -> None:
    with pytest.raises(MakimaConfigError) as caught:
        settings(**environ)
    assert told in caught.value.message
    assert caught.value.hint
    assert "secret" not in caught.value.message


def test_a_name_may_have_spaces() -> None:
    assert checked_name("edge of the world") == "edge of the world"
