"""Command lines as swift-argument-parser 1.6.1 takes them apart, by the contract's tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.doubles.tart_double.contract import Fail, HelpAsked, Json, commands, misused

_RANGES = {
    "uint16": (0, (1 << 16) - 1),
    "uint64": (0, (1 << 64) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
}


@dataclass(slots=True)
class Parsed:
    """A command with the values of its options (by long name) and its positionals."""

    command: str
    options: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def get(self, name: str, default: Any = None) -> Any:
        return self.options.get(name, default)


def parse(argv: list[str]) -> Parsed | None:
    """Give what ``argv`` asks for; None for the help text or the version."""
    if not argv or argv[0] in ("-h", "--help", "help", "--version", "--help-hidden"):
        return None
    if argv[0] not in commands():
        raise misused("<subcommand>", f"Unexpected argument '{argv[0]}'")
    _refuse_invalid(argv)
    parser = _Parser(argv[0])
    parser.take(argv[1:])
    return parser.parsed


def _refuse_invalid(argv: list[str]) -> None:
    for word in argv[1:]:
        if word == "--":
            return
        if word.startswith("---") or (word.startswith("-=") and len(word) > 1):
            raise misused(argv[0], f"Invalid option: {word}")


class _Parser:
    def __init__(self, command: str) -> None:
        self.parsed = Parsed(command)
        self._table = commands()[command]
        self._left: list[str] = []

    def take(self, words: list[str]) -> None:
        self._left = list(words)
        while self._left:
            word = self._left.pop(0)
            if word == "--":
                self.parsed.words += self._left
                break
            if word in ("-h", "--help"):
                raise HelpAsked
            if word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and len(word) > 1:
                self._short(word)
            else:
                self.parsed.words.append(word)
                if self._passes_on:
                    self.parsed.words += self._left
                    break
        self._check_words()

    @property
    def _passes_on(self) -> bool:
        return any(each.get("passthrough") for each in self._table["positionals"])

    def _option(self, word: str) -> Json | None:
        for each in self._table["options"]:
            if word in (each["name"], each.get("short"), each.get("inversion")):
                found: Json = each
                return found
        return None

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._option(name)
        if option is None:
            raise self._wrong(f"Unknown option '{name}'")
        if option["kind"] == "flag":
            if equals:
                raise self._wrong(
                    f"The option '{name}' does not take any value, but '{value}' was specified."
                )
            self._set(option, name != option.get("inversion"))
        else:
            self._set(option, value if value else self._next(option, name), name)

    def _short(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._option(name)
        if option is not None:
            if option["kind"] == "flag":
                self._set(option, True)
            else:
                self._set(option, value if equals and value else self._next(option, name), name)
            return
        letters = [self._option(f"-{letter}") for letter in word[1:]]
        if all(each is not None and each["kind"] == "flag" for each in letters):
            for each in letters:
                assert each is not None
                self._set(each, True)
            return
        first = letters[0]
        if first is None or first["kind"] == "flag":
            raise self._wrong(f"Unknown option '{word}'")
        shown = f"{word[:2]} <{first['value_name']}>"
        if not self._left or self._left[0].startswith("-"):
            raise self._wrong(
                f"Unknown option '{word}'\n   or: Missing value for '{shown}' in '{word}'"
            )
        self._set(first, self._left.pop(0), word[:2])

    def _next(self, option: Json, name: str) -> str:
        if not self._left or self._left[0].startswith("-"):
            raise self._wrong(f"Missing value for '{name} <{option['value_name']}>'")
        return self._left.pop(0)

    def _set(self, option: Json, value: Any, name: str = "") -> None:
        long = option["name"]
        if option["kind"] != "flag":
            value = self._typed(option, value, name or long)
        if option.get("repeatable"):
            self.parsed.options.setdefault(long, []).append(value)
            return
        if "inversion" in option and self.parsed.options.get(long, value) != value:
            raise self._wrong(f"Value to be set with flag '{option['inversion']}' had already")
        self.parsed.options[long] = value

    def _typed(self, option: Json, value: str, name: str) -> Any:
        kind = option["type"]
        invalid = f"The value '{value}' is invalid for '{name} <{option['value_name']}>'"
        if kind in _RANGES:
            least, most = _RANGES[kind]
            if not value.removeprefix("-").isdecimal() or not least <= int(value) <= most:
                raise self._wrong(invalid)
            return int(value)
        # Tart itself looks at some when the command runs, with words of its own.
        if kind == "enum" and option["name"] not in ("--source", "--entries"):
            allowed = option["enum"]
            if value not in allowed:
                raise self._wrong(f"{invalid}. Please provide one of {_either(allowed)}.")
        return value

    def _check_words(self) -> None:
        given = len(self.parsed.words)
        for place, each in enumerate(self._table["positionals"]):
            if given <= place and each["required"]:
                more = " ..." if each["repeating"] else ""
                raise self._wrong(f"Missing expected argument '<{each['name']}>{more}'")
        most = len(self._table["positionals"])
        if given > most and not any(each["repeating"] for each in self._table["positionals"]):
            raise self._wrong(f"Unexpected argument '{self.parsed.words[most]}'")

    def _wrong(self, message: str) -> Fail:
        return misused(self.parsed.command, message)


def _either(allowed: list[str]) -> str:
    quoted = [f"'{each}'" for each in allowed]
    if len(quoted) == 2:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def validate(parsed: Parsed) -> None:
    """What each command's ``validate()`` refuses without looking at a file."""
    options, words = parsed.options, parsed.words
    match parsed.command:
        case "list" if options.get("--source", "local") not in ("local", "oci"):
            raise misused("list", f"'{options['--source']}' is not a valid <source>")
        case "clone" | "rename" if "/" in words[1]:
            raise misused(parsed.command, "<new-name> should be a local name")
        case "import" if "/" in words[1]:
            raise misused("import", "<name> should be a local name")
        case "clone" | "pull" if options.get("--concurrency") == 0:
            raise misused(parsed.command, "network concurrency cannot be less than 1")
        case "create" if not {"--linux", "--from-ipsw"} & options.keys():
            raise misused("create", "Please specify either a --from-ipsw or --linux option!")
        case "login" if ("--username" in options) != ("--password-stdin" in options):
            raise misused("login", "both --username and --password-stdin are required")
        case "prune":
            _validate_prune(options)
        case "run":
            _validate_run(options)
        case _:
            pass


def _validate_prune(options: dict[str, Any]) -> None:
    if "--cache-budget" in options:
        raise misused("prune", "--cache-budget is deprecated, please use --space-budget")
    if not {"--older-than", "--space-budget", "--gc"} & options.keys():
        raise misused("prune", "at least one pruning criteria must be specified")


def _validate_run(options: dict[str, Any]) -> None:
    def given(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in options)

    if sum(map(given, ("--net-bridged", "--net-softnet", "--net-host"))) > 1:
        raise misused("run", "--net-bridged, --net-softnet and --net-host are mutually exclusive")
    for one, other in (("--vnc", "--vnc-experimental"), ("--graphics", "--no-graphics")):
        if one in options and other in options:
            raise misused("run", f"{one} and {other} are mutually exclusive")
