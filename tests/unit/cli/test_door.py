from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest

from tachikoma.cli.door import Door, Terminated
from tachikoma.model.errors import ConfigError, UsageError
from tachikoma.model.names import VmName
from tachikoma.model.vm import Endpoint
from tachikoma.runtime import Runtime
from tests.unit.cli.stand import CommandLine, Output


async def cpus(runtime: Runtime) -> int:
    return runtime.settings.vm_cpus


async def nothing(_runtime: Runtime) -> str:
    return "done"


def configure(line: CommandLine, text: str) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_work_finds_the_settings_loaded(line: CommandLine, door: Door) -> None:
    configure(line, "vm_cpus = 3\n")
    assert door.run(cpus) == 3


def test_work_that_needs_no_settings_runs_with_broken_ones(line: CommandLine, door: Door) -> None:
    configure(line, "vm_cpus = 'many'\n")
    assert door.run(nothing, settled=False) == "done"
    with pytest.raises(ConfigError):
        door.run(nothing)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_work_which_gives_back_what_it_holds(
    door: Door, number: signal.Signals
) -> None:
    ended: list[str] = []

    async def held(_runtime: Runtime) -> None:
        try:
            signal.raise_signal(number)
            await asyncio.Event().wait()
        finally:
            ended.append("given back")

    with pytest.raises(Terminated) as caught:
        door.run(held)
    assert (caught.value.number, ended) == (number, ["given back"])
    assert signal.getsignal(number) is signal.SIG_DFL


def test_work_that_cancels_itself_was_not_ended_by_a_signal(door: Door) -> None:
    async def gives_up(_runtime: Runtime) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        door.run(gives_up)


def test_a_signal_that_is_ignored_stays_ignored(door: Door) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def hung_up(_runtime: Runtime) -> str:
        signal.raise_signal(signal.SIGHUP)
        return "done"

    try:
        assert door.run(hung_up) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nobody_is_asked_where_nobody_could_answer(line: CommandLine, door: Door) -> None:
    both = replace(door.terminal, stdin_tty=True, err_tty=True)
    with Output() as out, Output() as err:
        as_json = replace(line.door(out, err, as_json=True), terminal=both)
        for one in (door, as_json):
            with pytest.raises(UsageError, match="no terminal to ask on"):
                one.confirm("Really?")
    replace(door, terminal=both).check_somebody_answers()


@pytest.mark.parametrize(
    ("stdin", "out", "interactive"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_person_sits_there_only_with_both_ends_a_terminal(
    door: Door, stdin: bool, out: bool, interactive: bool
) -> None:
    here = replace(door, terminal=replace(door.terminal, stdin_tty=stdin, out_tty=out))
    assert here.interactive is interactive


def test_going_into_a_vm_becomes_its_ssh_session(line: CommandLine, door: Door) -> None:
    became: list[list[str]] = []

    def become(argv: object) -> int:
        assert isinstance(argv, list)
        became.append(argv)
        return 7

    login = line.shell.login(VmName("tachikoma-box-main"), Endpoint("127.0.0.1", 1), "ada")
    here = replace(door, terminal=replace(door.terminal, become=become))
    assert here.go_into(login, directory="/src/box", command=("make",)) == 7
    assert became == [["ssh", "-t", "ada@tachikoma-box-main", "/src/box", "make"]]
