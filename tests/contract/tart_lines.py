"""Whether a command line is one that Tart takes as it is meant, by the contract."""

from __future__ import annotations

import re

from tests.doubles.tart_double.contract import contract
from tests.doubles.tart_double.parsing import parse, validate


def accept(line: list[str]) -> None:
    """Hold a command line of ours against the contract."""
    rules, words = contract()["name_rules"], line[1:]
    assert line[0] == "tart"
    parsed = parse(words)
    if parsed is None:
        assert words == ["--version"], line
        return
    validate(parsed)
    before_guest = words[: words.index("--")] if parsed.command == "exec" else words
    assert not any(each == "" or each.endswith("=") for each in before_guest), line
    for name in _names(parsed.command, parsed.words):
        known = rules["adapter_must_use"], rules["remote_reference_regex"]
        assert any(re.match(pattern, name) for pattern in known), line
    assert all(
        re.match(contract()["dirspec"]["adapter_must_use"], each)
        for each in words
        if each.startswith("--dir")
    ), line
    if parsed.command == "exec":
        interactive = ["-i"] if "-i" in parsed.options else []
        assert words[: 2 + len(interactive)] == ["exec", *interactive, "--"], line
        assert "-t" not in parsed.options
    if parsed.command == "set":
        assert "--display" not in parsed.options


def _names(command: str, words: list[str]) -> list[str]:
    return words[:1] if command == "exec" else words
