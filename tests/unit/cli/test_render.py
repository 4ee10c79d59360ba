from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from tachikoma.cli.render import ENVELOPE_VERSION
from tachikoma.model.vm import Features
from tests.unit.cli.stand import CommandLine, Output


def _shape(value: Any) -> Any:
    """Give the keys and kinds of a value: what a program that reads it depends on."""
    if isinstance(value, dict):
        return {key: _shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__


_ADDRESS = {"host": "str", "port": "int"}
_VM = {
    "name": "str",
    "branch": "str",
    "repository": "str",
    "repository_name": "str",
    "worktree": "str",
    "engine": "str",
    "image": "str",
    "state": "str",
    "cpus": "int",
    "memory_mib": "int",
    "disk_bytes": "int",
    "created": "float",
    "last_used": "float",
    "orphan": "bool",
}
_HOST = {
    "engine": "str",
    "vms": "int",
    "running": "int",
    "memory_mib": "int",
    "disk_bytes": "int",
    "proxy": {"endpoint": _ADDRESS, "running": "bool"},
}
_IMAGE = {
    "name": "str",
    "size_bytes": "int",
    "snapshot_bytes": "int",
    "created": "float",
    "digest": "str",
    "contents": {"engine": "str"},
}
_CHECKPOINT = {
    "name": "str",
    "branch": "str",
    "label": "str",
    "worktree": "str",
    "halted": "bool",
}
_FEATURES = {
    each.name: {"available": "bool", "why": "str"} if each.type == "Feature" else "str"
    for each in fields(Features)
}
_SHAPES: dict[tuple[str, ...], Any] = {
    ("spawn",): {
        "name": "str",
        "branch": "str",
        "repository": "str",
        "worktree": "str",
        "how": "str",
        "address": _ADDRESS,
        "user": "str",
        "ssh": ["str"],
        "steps": [{"name": "str", "seconds": "float"}],
        "carried": [],
    },
    ("list",): {"vms": [_VM]},
    ("status",): {
        "vm": {
            **_VM,
            "phase": "str",
            "address": _ADDRESS,
            "mounts": [{"tag": "str", "path": "str"}],
            "log": "str",
        },
        "host": _HOST,
    },
    ("enter",): {
        "name": "str",
        "branch": "str",
        "worktree": "str",
        "address": _ADDRESS,
        "user": "str",
        "ssh": ["str"],
    },
    ("exec", "--", "true"): {
        "name": "str",
        "status": "int",
        "stdout": "str",
        "stderr": "str",
    },
    ("cd",): {"branch": "str", "worktree": "str"},
    ("config",): {
        "values": [{"key": "str", "value": "str", "source": "str"}],
        "warnings": [],
    },
    ("doctor",): {
        "ready": "bool",
        "checks": [{"name": "str", "verdict": "str", "found": "str", "why": "str", "hint": "str"}],
        "features": _FEATURES,
    },
    ("image", "list"): {"images": [_IMAGE]},
    ("image", "build"): _IMAGE,
    ("image", "warm"): _IMAGE,
    ("proxy", "status"): {
        "running": "bool",
        "endpoint": _ADDRESS,
        "pid": "int",
        "version": "str",
        "upstream": "str",
        "since": "float",
    },
    ("checkpoint", "save", "one"): _CHECKPOINT,
    ("checkpoint", "list"): {
        "name": "str",
        "branch": "str",
        "checkpoints": [{"label": "str", "created": "float"}],
    },
    ("checkpoint", "restore", "one", "--yes"): _CHECKPOINT,
    ("checkpoint", "delete", "one"): _CHECKPOINT,
    ("suspend",): {
        "name": "str",
        "branch": "str",
        "was_running": "bool",
        "how": "str",
        "why": "str",
    },
    ("halt",): {"name": "str", "branch": "str", "was_running": "bool"},
    ("destroy", "--yes"): {"name": "str", "branch": "str", "worktree": "str"},
}


def test_every_command_answers_in_the_shape_that_programs_rely_on(line: CommandLine) -> None:
    seen = {argv: line("--json", *argv) for argv in _SHAPES}
    assert {argv: _shape(ran.data) for argv, ran in seen.items()} == _SHAPES
    assert all(ran.err == "" and ran.status == 0 for ran in seen.values())


def test_a_success_is_enveloped_with_version_and_command(line: CommandLine) -> None:
    assert line("ls", "--json").envelope == {
        "version": ENVELOPE_VERSION,
        "ok": True,
        "command": "list",
        "data": {"vms": []},
    }


def test_a_failure_is_enveloped_like_a_success(line: CommandLine) -> None:
    assert line("--json", "stop", "nope").envelope == {
        "version": 1,
        "ok": False,
        "command": "halt",
        "error": {
            "code": "vm.not_found",
            "message": "there is no VM for nope",
            "hint": "`tachikoma list` shows all VMs; `tachikoma spawn` makes one",
            "details": "",
        },
    }


@pytest.mark.parametrize(
    "argv",
    [
        ("halt", "--nope"),
        ("image",),
        ("image", "paint"),
        ("list", "surplus"),
        ("exec", "main"),
        ("destroy",),
        ("lst",),
        ("proxy", "start", "--port", "0"),
        ("--hypervisor", "bochs", "list"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error_in_both_voices(
    line: CommandLine, argv: tuple[str, ...]
) -> None:
    told, enveloped = line(*argv), line("--json", *argv)
    assert (told.status, enveloped.status) == (2, 2)
    assert enveloped.error["code"] == "cli.usage"
    assert enveloped.err == ""
    assert told.out == ""
    assert told.err == (f"error: {enveloped.error['message']}\nhint: {enveloped.error['hint']}\n")


def test_text_that_is_no_utf_8_survives_the_envelope(line: CommandLine) -> None:
    ran = line("--json", "cd", "caf\udce9")
    assert ran.status == 1
    assert "\\udce9" in ran.out
    assert "caf" in json.loads(ran.out)["error"]["message"]


def test_an_error_shows_its_details_indented_and_its_hint_last(line: CommandLine) -> None:
    from tachikoma.model.errors import HypervisorError

    line.engine.fail_next(
        "clone", HypervisorError("it broke", hint="mend it", details="$ engine --go\nbad luck")
    )
    ran = line("spawn")
    assert ran.status == 1
    assert ran.err.endswith("error: it broke\n  $ engine --go\n  bad luck\nhint: mend it\n")


def test_what_a_guest_says_cannot_command_the_terminal(line: CommandLine) -> None:
    from tachikoma.model.errors import HypervisorError

    line.engine.fail_next("clone", HypervisorError("bad\x1b[2J", hint="\x07", details="\x1b]0;x"))
    ran = line("spawn", tty=True, env={"TERM": "xterm"})
    assert "bad\\x1b[2J" in ran.err
    assert "\\x1b]0;x" in ran.err
    assert "\x07" not in ran.err


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    line: CommandLine, env: dict[str, str], coloured: bool
) -> None:
    assert line("spawn", "--json").status == 0
    ran = line("list", tty=True, env=env)
    assert ("\x1b[32mrunning\x1b[0m" in ran.out) is coloured
    assert "\x1b" not in line("list", env=env).out


def test_raw_output_goes_on_as_the_bytes_it_came_in(line: CommandLine) -> None:
    del line
    with Output() as out:
        from tachikoma.cli.render import Screen
        from tests.unit.cli.stand import terminal_on

        terminal = terminal_on(out, out)
        write = Screen(terminal, command="exec", as_json=False).raw(out.stream)
        write(b"\xff\x00")
        write(b"")
        write(b"end")
        assert out.text() == "\udcff\x00end"


def test_a_terminal_without_utf_8_gets_ascii_marks(line: CommandLine) -> None:
    line.encoding = "ascii"
    ran = line("doctor")
    assert "+ python" in ran.out
    assert "✓" not in ran.out
