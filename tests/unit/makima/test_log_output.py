from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from tachikoma.makima.log_output import TRACE, logging_to
from tachikoma.makima.settings import LogFormat, LoggingSettings, LogLevel

KEY = "mk_0123456789abcdef"
LOG = logging.getLogger("tachikoma.makima.trial")


def said(
    say: Callable[[], object],
    *,
    level: LogLevel = "info",
    form: LogFormat = "json",
    colour: bool = False,
) -> str:
    stream = io.StringIO()
    settings = LoggingSettings(level=level, format=form)
    with logging_to(stream, settings, colour=colour, secrets=[KEY]):
        say()
    return stream.getvalue()


def told(say: Callable[[], object], level: LogLevel = "info") -> dict[str, Any]:
    (line,) = said(say, level=level).splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_json_holds_time_level_logger_message_and_fields() -> None:
    found = told(lambda: LOG.info("task %s runs", "6ba7b810", extra={"isolation": "vm"}))
    time = found.pop("timestamp")
    assert time.endswith("Z")
    assert found == {
        "message": "task 6ba7b810 runs",
        "level": "info",
        "logger": "makima.trial",
        "isolation": "vm",
    }


def test_a_structured_logger_ends_in_the_same_place() -> None:
    log = structlog.get_logger("tachikoma.makima.trial")
    found = told(lambda: log.bind(task="6ba7b810").warning("it waits"))
    assert (found["message"], found["level"], found["task"]) == ("it waits", "warning", "6ba7b810")


def test_a_line_for_people_is_plain_without_colour() -> None:
    line = said(lambda: LOG.warning("it waits", extra={"tasks": 3}), form="pretty")
    time, _, rest = line.partition(" ")
    assert time.endswith("Z")
    assert rest.split() == ["[warning", "]", "it", "waits", "[makima.trial]", "tasks=3"]
    assert "\x1b" not in line
    assert "\x1b" in said(lambda: LOG.warning("it waits"), form="pretty", colour=True)


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("trace", ["trace", "debug", "info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warn", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_each_level_lets_through_what_is_as_grave(level: LogLevel, heard: list[str]) -> None:
    def say() -> None:
        for each in (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            LOG.log(each, "a word")

    lines = said(say, level=level).splitlines()
    assert [json.loads(line)["level"] for line in lines] == heard
    assert len(said(say, level=level, form="pretty", colour=True).splitlines()) == len(heard)


def test_other_packages_are_heard_from_warnings_on() -> None:
    other = logging.getLogger("somebody.else")
    assert said(lambda: other.info("chatter")) == ""
    assert told(lambda: other.warning("careful"))["logger"] == "somebody.else"
    assert told(lambda: other.debug("chatter"), level="debug")["message"] == "chatter"


def fail(text: str = f"the key {KEY} and sk-ant-api03-abcdefghijkl") -> None:
    try:
        int(text)
    except ValueError:
        LOG.exception("it failed")


@pytest.mark.parametrize("form", ["json", "pretty"])
@pytest.mark.parametrize(
    "say",
    [
        lambda: LOG.info("the key is %s", KEY),
        lambda: LOG.info("sent", extra={"frame": {"apiKey": KEY, "deep": [f"x{KEY}x"]}}),
        lambda: LOG.info("sent", extra={"api_key": "another-key-of-mine"}),
        lambda: LOG.info(
            "sent", extra={"headers": {"Authorization": "Bearer another-key-of-mine"}}
        ),
        lambda: LOG.info("sk-ant-api03-another-key-of-mine and ghp_anotherkeyofmine12345"),
        lambda: LOG.info("https://ada:another-key-of-mine@h.example/"),
        fail,
    ],
)
def test_no_secret_is_written(say: Callable[[], None], form: LogFormat) -> None:
    line = said(say, form=form)
    assert "redacted" in line
    for secret in (KEY, "another-key-of-mine", "anotherkeyofmine", "abcdefghijkl"):
        assert secret not in line


def test_what_others_say_cannot_command_a_terminal_or_forge_a_line() -> None:
    evil = "x\x1b[2J\r\n2026 [error] forged \u202e"
    line = said(
        lambda: LOG.info("server: %s", evil, extra={"why": evil, "more": [evil]}), form="pretty"
    )
    assert line.count("\n") == 1
    assert not set(line) & {"\x1b", "\r", "\u202e"}
    with_json = said(lambda: LOG.info(evil))
    assert with_json.count("\n") == 1
    assert "\x1b" not in with_json


def test_an_exception_keeps_its_lines_and_loses_its_escapes() -> None:
    class OddError(Exception):
        pass

    def say() -> None:
        LOG.error("it failed", exc_info=OddError("\x1b[2Jgone\nFrom here"))

    text = said(say, form="pretty")
    assert text.splitlines()[-1] == "From here"
    assert "\x1b" not in text


def test_a_stream_that_is_gone_ends_nothing() -> None:
    stream = io.StringIO()
    with logging_to(stream, LoggingSettings(), colour=False):
        stream.close()
        LOG.warning("nobody reads this")


def test_afterwards_logging_is_as_it_was() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), LOG.parent and LOG.parent.level)
    said(lambda: LOG.info("a word"), level="trace")
    assert (root.level, list(root.handlers), LOG.parent and LOG.parent.level) == before
