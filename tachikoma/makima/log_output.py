"""The daemon's log: one line an event, for people or as JSON, with no secret in it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from tachikoma.host.process import redacted
from tachikoma.makima.settings import LoggingSettings

TRACE = 5
"""The level below debug: what is said on the wire."""
_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_OURS = "tachikoma"
_HIDDEN = re.compile(
    r"(?:^|_)(?:api_?key|tool_key|token|secret|password|authorization)$", re.IGNORECASE
)
_SHORTEST_SECRET = 6
"""Replacing a shorter one would garble words, and it keeps nobody out."""

Event = MutableMapping[str, Any]


@contextlib.contextmanager
def logging_to(
    stream: TextIO, settings: LoggingSettings, *, colour: bool, secrets: Sequence[str] = ()
) -> Iterator[None]:
    """Write what is logged in the block to ``stream``, that of other packages from warnings on.

    Both loggers of the standard library (with ``extra`` as fields) and structlog's end here.
    ``secrets`` never appear, whatever logs them, nor does what looks like a credential.
    """
    logging.addLevelName(TRACE, "TRACE")
    level = _LEVELS[settings.level]
    handler = _Handler(stream)
    handler.setFormatter(_formatter(settings, colour=colour, secrets=secrets))
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    before = root.level, ours.level, list(root.handlers)
    root.handlers[:] = [handler]
    root.setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    ours.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_beginning(settings),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.handlers[:] = before[2]
        root.setLevel(before[0])
        ours.setLevel(before[1])


def _beginning(settings: LoggingSettings) -> tuple[Processor, ...]:
    people = settings.format == "pretty"
    return (
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ" if people else "iso", utc=True),
    )


def _formatter(
    settings: LoggingSettings, *, colour: bool, secrets: Sequence[str]
) -> ProcessorFormatter:
    pretty = settings.format == "pretty"
    ending: tuple[Processor, ...] = (
        (_on_one_line, _for_people(colour=colour))
        if pretty
        else (structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer())
    )
    return ProcessorFormatter(
        foreign_pre_chain=_beginning(settings),
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _tidy,
            _Hiding(secrets),
            *ending,
        ],
    )


def _for_people(*, colour: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colour,
        pad_event_to=0,
        level_styles={
            **structlog.dev.ConsoleRenderer.get_default_level_styles(colors=colour),
            "trace": "",
        },
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream that may be gone: a daemon does not end because nobody reads its log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - named by logging
        """Let the line go."""
        del record


class _Hiding:
    """Takes out secrets, from texts and from all that holds texts."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [each for each in secrets if len(each) >= _SHORTEST_SECRET]

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Give the event without them."""
        return {name: self._hidden(name, value) for name, value in event.items()}

    def _hidden(self, name: str, value: object) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case Mapping():
                return {str(key): self._hidden(str(key), each) for key, each in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._hidden(name, each) for each in value]
            case _ if _HIDDEN.search(name):
                return "[redacted]"
            case _:
                return self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return redacted(text)


def _tidy(_logger: object, _method: str, event: Event) -> Event:
    for left_by_other_handlers in ("message", "asctime"):
        event.pop(left_by_other_handlers, None)
    event["logger"] = str(event.get("logger", "")).removeprefix(f"{_OURS}.")
    return event


def _on_one_line(_logger: object, _method: str, event: Event) -> Event:
    """Make what would command a terminal, or pretend to be a line of ours, visible."""
    return {
        name: _visible(value) if isinstance(value, str) and name != "exception" else value
        for name, value in _flat(event)
    } | ({"exception": _visible_lines(event["exception"])} if "exception" in event else {})


def _flat(event: Event) -> Iterator[tuple[str, object]]:
    for name, value in event.items():
        yield name, str(value) if isinstance(value, list | dict) else value


def _visible(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _visible_lines(text: object) -> str:
    return "\n".join(_visible(line) for line in str(text).split("\n"))
