from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tachikoma.cli.commands.logs import is_of, request
from tachikoma.model.errors import HypervisorError
from tachikoma.model.names import VmName
from tests.unit.cli.stand import CommandLine

VM = VmName("tachikoma-box-main")


def entry(vm: str, **more: object) -> str:
    told = {
        "time": "2026-11-21T10:00:00.000+00:00",
        "vm": vm,
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "duration_s": 1.25,
        "verdict": "forwarded",
        "why": "",
    }
    return json.dumps({**told, **more})


@pytest.fixture
def spoken(line: CommandLine) -> CommandLine:
    """A VM that was set up and has asked the proxy."""
    line("spawn")
    logs = line.home / ".config/tachikoma/logs"
    lines = [entry(VM), entry("tachikoma-box-other"), "broken", entry(VM, status=None, why="x\x1b")]
    (logs / "proxy-requests.jsonl").write_text("".join(f"{each}\n" for each in lines))
    return line


def test_each_log_is_shown_with_its_name(spoken: CommandLine) -> None:
    lines = spoken("logs").out.splitlines()
    assert [each for each in lines if each.startswith("proxy")] == [
        "proxy   | 2026-11-21T10:00:00.000+00:00 POST /v1/messages 200 1.2 s forwarded",
        "proxy   | 2026-11-21T10:00:00.000+00:00 POST /v1/messages 1.2 s forwarded: x\\x1b",
    ]
    setup = [each.split(" | ")[1].split(" ", 1)[1] for each in lines if each.startswith("setup")]
    assert setup[0] == "clone: Making the VM's disk"
    assert setup[-1] == "provision: done in 0.0 s"
    assert any(each.startswith("@tachikoma ready") for each in setup)
    assert not any("tachikoma-" in each and "token" in each for each in setup)


def test_one_log_has_no_name_before_its_lines(spoken: CommandLine) -> None:
    ran = spoken("logs", "main", "--source", "proxy", "-n", "1")
    assert ran.out == "2026-11-21T10:00:00.000+00:00 POST /v1/messages 1.2 s forwarded: x\\x1b\n"
    assert spoken("logs", "--source", "console").err == f"nothing was said about {VM} yet\n"


def test_a_machine_gets_the_lines_as_they_are(spoken: CommandLine) -> None:
    logs = spoken("logs", "--json", "-n", "1").data["logs"]
    assert json.loads(logs["proxy"]["lines"][0])["why"] == "x\x1b"
    assert Path(logs["setup"]["path"]).name == f"{VM}.log"
    assert spoken("logs", "--json", "-f").status == 2


def test_a_destroyed_vm_leaves_no_log(spoken: CommandLine) -> None:
    kept = spoken.home / f".config/tachikoma/logs/vms/{VM}.log"
    assert kept.exists()
    spoken("destroy", "--yes")
    assert not kept.exists()
    assert spoken("logs", "--json").error["code"] == "vm.not_found"


def test_following_ends_when_the_vm_is_gone(spoken: CommandLine) -> None:
    file = spoken.home / ".config/tachikoma/logs/proxy-requests.jsonl"
    looks = 0
    sleep = spoken.clock.sleep

    async def one_more(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            with file.open("a") as out:
                out.write(f"{entry(VM, path='/v1/more')}\n")
        if looks == 3:
            with spoken.store.edit() as ledger:
                ledger.drop(VM)
        await sleep(seconds)

    spoken.clock.sleep = one_more  # type: ignore[method-assign]  # somebody writes meanwhile
    ran = spoken("logs", "-f", "-n", "0", "--source", "proxy")
    assert (ran.status, ran.err) == (0, f"{VM} is gone\n")
    assert ran.out == "2026-11-21T10:00:00.000+00:00 POST /v1/more 200 1.2 s forwarded\n"
    assert threading.active_count() >= 1


def test_a_line_is_of_the_vm_that_it_names_and_of_no_other() -> None:
    assert is_of(VM, entry(VM))
    assert not is_of(VM, entry(f"{VM}-2"))
    assert not is_of(VM, entry("x", path=f"/{VM}"))
    assert not is_of(VM, f'"{VM}"')
    assert request("no json") == ""


def test_why_a_spawn_failed_is_in_its_log(line: CommandLine) -> None:
    line("spawn")
    line("halt")
    line.engine.fail_next("start", HypervisorError("no power", hint="plug it in"))
    assert line("spawn").status == 1
    assert line("logs", "--source", "setup", "-n", "1").out.endswith("Z failed: no power\n")
