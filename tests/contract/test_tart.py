"""What Tart promises to whoever calls it: the double keeps to it, and our adapter relies on it."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tachikoma.host import process
from tachikoma.host.clock import SystemClock, attempts
from tachikoma.hypervisor.tart import argv
from tachikoma.hypervisor.tart.argv import Resolver
from tachikoma.hypervisor.tart.output import decode_get, decode_list
from tachikoma.model.names import VmName
from tachikoma.model.vm import Launch, Mount, Network, VmState
from tests.contract.tart_lines import accept
from tests.doubles.tart_double.contract import Fail, HelpAsked, commands, contract
from tests.doubles.tart_double.main import invoke
from tests.doubles.tart_double.parsing import parse, validate
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_world import TART, path_with_double

VM = VmName("tachikoma-app-main")
UBUNTU = "ghcr.io/cirruslabs/ubuntu:latest"
SOON_S = 30.0


@dataclass(frozen=True, slots=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The part of standard error that tells what is wrong."""
        lines = []
        for line in self.err.splitlines():
            if line.startswith(("Help:  ", "Usage: ")):
                break
            if not re.match(contract()["global"]["stderr_noise_on_success"][0], line):
                lines.append(line)
        return "\n".join(lines).rstrip("\n")


@dataclass(frozen=True, slots=True)
class World:
    """A home of Tart's, in which the double is called without a process of its own."""

    store: Store

    def __call__(self, *words: str, **environ: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        whole = {"TART_HOME": str(self.store.home), "PATH": "/nowhere"} | environ
        status = invoke(list(words), whole, out, err)
        return Ran(status, out.getvalue(), err.getvalue())

    def publish(self, name: str = "ghcr.io/cirruslabs/ubuntu/latest") -> None:
        self.store.write(self.store.registry / name)


@pytest.fixture
def tart(own_home: Path) -> World:
    store = Store({"HOME": str(own_home)})
    store.set(ip_poll_s=0.0, guest="pretended", agent_wait_s=0.0)
    return World(store)


# Command lines


@pytest.mark.parametrize("case", contract()["argv_cases"], ids=lambda case: " ".join(case["argv"]))
def test_a_command_line_is_taken_apart_as_tart_does(case: dict[str, Any]) -> None:
    expected, failed = case["expect"], None
    try:
        parsed = parse(case["argv"])
        if parsed is not None:
            validate(parsed)
    except Fail as fail:
        failed = fail
        parsed = None
    if expected.get("parse") == "ok":
        assert parsed is not None
        if "command" in expected:
            assert parsed.words == [expected["name"], *expected["command"]]
            assert ("-i" in parsed.options) == expected["interactive"]
            assert ("-t" in parsed.options) == expected["tty"]
    elif expected["exit"] == 0:
        assert (parsed, failed) == (None, None)
    else:
        assert failed is not None
        assert failed.status == expected["exit"]
        assert re.match(expected["stderr_regex"], Ran(64, "", failed.text).message)


@pytest.mark.live
async def test_the_program_ends_as_the_contract_says(own_home: Path) -> None:
    cases = [each for each in contract()["argv_cases"] if "exit" in each["expect"]]
    assert len(cases) > 15
    env = {"TART_HOME": str(own_home / "t"), "PATH": path_with_double()}
    ended = [
        await process.run([str(TART), *case["argv"]], deadline_s=SOON_S, env=env, check=False)
        for case in cases
    ]
    for case, ran in zip(cases, ended, strict=True):
        expected = case["expect"]
        assert ran.status == expected["exit"], case
        message = Ran(0, "", ran.stderr.decode()).message
        assert re.match(expected.get("stderr_regex", "^$"), message), case
        assert re.match(expected.get("stdout_regex", ""), ran.text), case


# Errors

CASES = [(name, each) for name, table in commands().items() for each in table["errors"]]
PLAIN = [(name, each) for name, each in CASES if each["layer"] != "crash"]
CALLS = {
    "create": ["--linux", "x"],
    "clone": ["a", "b"],
    "run": ["a"],
    "exec": ["a", "ls"],
    "push": ["a", "ghcr.io/a/b"],
    "prune": ["--gc"],
    "import": ["f", "b"],
    "rename": ["a", "b"],
    "list": [],
}


@pytest.mark.parametrize(
    ("command", "case"), PLAIN, ids=[f"{name}-{each['id']}" for name, each in PLAIN]
)
def test_every_error_of_the_contract_can_be_had(
    tart: World, command: str, case: dict[str, Any]
) -> None:
    tart.store.make("a")
    tart.store.set(faults={command: case["id"]})
    ran = tart(command, *CALLS.get(command, ["a"]))
    assert ran.status == case["exit_code"]
    assert re.match(case["stderr_regex"], ran.message)
    assert ("Usage: " in ran.err) == case["layer"].endswith(("ValidationError", "parse"))
    assert tart.store.take_fault(command) is None, "a fault is of one call"


NATURAL: dict[tuple[str, str], Callable[[World], Ran]] = {
    ("get", "vm_does_not_exist"): lambda tart: tart("get", "nope"),
    ("set", "vm_does_not_exist"): lambda tart: tart("set", "nope", "--cpu", "2"),
    ("set", "resources_too_small"): lambda tart: tart("set", "a", "--cpu", "0"),
    ("set", "disk_shrink"): lambda tart: tart("set", "a", "--disk-size", "10"),
    ("clone", "vm_does_not_exist"): lambda tart: tart("clone", "nope", "b"),
    ("clone", "registry_http"): lambda tart: tart("clone", "ghcr.io/a/nope", "b"),
    ("clone", "vm_missing_files"): lambda tart: tart("clone", "half", "b"),
    ("get", "vm_missing_files"): lambda tart: tart("get", "half"),
    ("delete", "vm_does_not_exist"): lambda tart: tart("delete", "nope"),
    ("stop", "vm_not_running"): lambda tart: tart("stop", "a"),
    ("stop", "vm_does_not_exist"): lambda tart: tart("stop", "nope"),
    ("suspend", "vm_not_running_double"): lambda tart: tart("suspend", "a"),
    ("exec", "vm_not_running"): lambda tart: tart("exec", "a", "ls"),
    ("exec", "vm_does_not_exist"): lambda tart: tart("exec", "nope", "ls"),
    ("ip", "no_ip"): lambda tart: tart("ip", "a"),
    ("ip", "vm_does_not_exist"): lambda tart: tart("ip", "nope"),
    ("run", "vm_does_not_exist_in_validate"): lambda tart: tart("run", "nope"),
    ("run", "vm_missing_files_in_validate"): lambda tart: tart("run", "half"),
    ("run", "suspend_linux"): lambda tart: tart("run", "--suspendable", "a"),
    ("run", "softnet_missing"): lambda tart: tart("run", "--net-softnet", "a"),
    ("run", "dir_names"): lambda tart: tart("run", "--dir=/a", "--dir=/b", "a"),
    ("rename", "rename_missing"): lambda tart: tart("rename", "nope", "b"),
    ("rename", "rename_target_exists"): lambda tart: tart("rename", "a", "half"),
    ("pull", "bad_remote_name"): lambda tart: tart("pull", "nope"),
    ("pull", "registry_http"): lambda tart: tart("pull", "ghcr.io/a/nope"),
    ("fqn", "oci_storage"): lambda tart: tart("fqn", "ghcr.io/a/nope:1"),
    ("prune", "bad_entries"): lambda tart: tart("prune", "--gc", "--entries", "x"),
    ("import", "import_failed"): lambda tart: tart("import", "/nowhere", "b"),
}


@pytest.mark.parametrize(("command", "name"), NATURAL, ids=str)
def test_what_goes_wrong_goes_wrong_in_tarts_words(tart: World, command: str, name: str) -> None:
    tart.store.make("a")
    half = tart.store.make("half")
    (half / "nvram.bin").unlink()
    (case,) = (each for each in commands()[command]["errors"] if each["id"] == name)
    ran = NATURAL[command, name](tart)
    assert ran.status == case["exit_code"], ran
    assert re.match(case["stderr_regex"], ran.message), ran


def test_noise_of_the_garbage_collection_is_no_failure(tart: World) -> None:
    tart.store.set(noise=True)
    ran = tart("list")
    assert (ran.status, ran.message) == (0, "")
    assert ran.err.startswith("Failed to perform garbage collection: ")


# Outputs


def breaches(schema: dict[str, Any], value: Any, place: str = "it") -> list[str]:
    """Hold a value against as much of JSON Schema as the contract uses."""
    kinds = {"array": list, "object": dict, "string": str, "boolean": bool, "integer": int}
    wanted = kinds.get(schema.get("type", ""), object)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"{place}: {value!r} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and re.search(schema["pattern"], str(value)) is None:
        found.append(f"{place}: {value!r} is not like {schema['pattern']}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{place}: {value!r} is too small")
    if isinstance(value, list):
        for number, each in enumerate(value):
            found += breaches(schema["items"], each, f"{place}[{number}]")
    if isinstance(value, dict):
        found += [f"{place}: no {name}" for name in schema.get("required", []) if name not in value]
        for name, part in schema.get("properties", {}).items():
            if name in value:
                found += breaches(part, value[name], f"{place}.{name}")
    return found


def test_the_examples_of_the_contract_keep_to_its_schemas_and_are_understood() -> None:
    schemas, examples = contract()["outputs"], contract()["output_examples"]
    assert breaches(schemas["list"], examples["list"]) == []
    assert breaches(schemas["get"], examples["get"]) == []
    assert breaches(schemas["get"], examples["get"] | {"Size": 2.871}) != []
    entries = decode_list(json.dumps(examples["list"]))
    assert [(each.name, each.remote, each.state) for each in entries[:3]] == [
        ("agent-1", False, VmState.RUNNING),
        ("agent-2", False, VmState.STOPPED),
        (UBUNTU, True, VmState.STOPPED),
    ]
    assert [each.by_digest for each in entries] == [False, False, False, True]
    described = decode_get(json.dumps(examples["get"]))
    assert (described.cpus, described.memory_mib, described.size_bytes) == (4, 4096, 2_871_000_000)


def test_the_double_lists_and_describes_as_tart_does(tart: World) -> None:
    tart.publish()
    tart.store.make("zebra")
    assert tart("pull", UBUNTU, CI="1").status == 0
    assert tart("clone", UBUNTU, "vm1").out == ""
    schemas = contract()["outputs"]
    listed = json.loads(tart("list", "--format", "json").out)
    assert breaches(schemas["list"], listed) == []
    names = [each["Name"] for each in listed]
    assert names[:3] == ["vm1", "zebra", UBUNTU]
    assert re.fullmatch(r"ghcr.io/cirruslabs/ubuntu@sha256:[0-9a-f]{64}", names[3])
    assert tart("fqn", UBUNTU).out.strip() == names[3]
    got = tart("get", "--format", "json", "vm1").out
    assert breaches(schemas["get"], json.loads(got)) == []
    assert '"CPU" : 4' in got
    assert tart("list", "-q").out.split() == names
    assert json.loads(World(tart.store)("list", "--format=json", "--source=oci").out) == listed[2:]


def test_the_double_has_tarts_traps(tart: World) -> None:
    tart.store.make("a")
    tart.store.make("b", memorySize=1 << 30)
    tart("clone", "a", "b")
    assert json.loads(tart("get", "b", "--format=json").out)["Memory"] == 4096, "replaced"
    first = json.loads((tart.store.vms / "a" / "config.json").read_bytes())["macAddress"]
    assert json.loads((tart.store.vms / "b" / "config.json").read_bytes())["macAddress"] != first
    assert tart("delete", "a", "nope", "b").status == 2
    assert tart.store.local_names() == ["b"], "it stops at the first failure"


def test_progress_moves_the_cursor_unless_told_not_to(tart: World) -> None:
    tart.publish()
    assert "\x1b[1A\r\x1b[J41%\n" in tart("pull", UBUNTU).out
    tart("delete", UBUNTU)
    plain = tart("pull", UBUNTU, CI="").out.splitlines()
    assert plain[0] == f"pulling {UBUNTU}..."
    assert plain[-4:] == ["0%", "41%", "100%", "pulling NVRAM..."]


# What our adapter says to Tart

OUR_LINES = [
    argv.version_argv(),
    argv.list_argv(),
    argv.get_argv(VM),
    argv.clone_argv("ubuntu", VM),
    argv.clone_argv(UBUNTU, VM),
    argv.renew_mac_argv(VM),
    argv.resources_argv(VM, cpus=4, memory_mib=8192),
    argv.run_argv(VM, Launch()),
    argv.run_argv(VM, Launch(network=Network.OPEN, display="1024x768")),
    argv.run_argv(
        VM,
        Launch(
            mounts=(
                Mount("code", Path("/Users/a b/app")),
                Mount("claude-agents", Path("/Users/a/.claude/agents"), read_only=True),
            )
        ),
    ),
    *(argv.ip_argv(VM, wait_s=2, resolver=resolver) for resolver in Resolver),
    argv.exec_argv(VM, ("sh", "-c", "ls ---x; -i", "", "--help"), stdin=False),
    argv.exec_argv(VM, ("cat",), stdin=True),
    argv.stop_argv(VM, timeout_s=0),
    argv.delete_argv(VM),
    argv.delete_argv(UBUNTU),
    argv.pull_argv(UBUNTU),
    argv.push_argv("ubuntu", "ghcr.io/me/image:1"),
    argv.fqn_argv(UBUNTU),
]


@pytest.mark.parametrize("line", OUR_LINES, ids=lambda line: " ".join(line[1:4]))
def test_every_command_line_of_ours_is_one_that_tart_takes(line: list[str]) -> None:
    accept(line)


@pytest.mark.parametrize(
    "line",
    [
        ["tart", "exec", VM, "--", "ls"],
        ["tart", "exec", "-t", "--", VM, "ls"],
        ["tart", "clone", "ubuntu", "Strange_Name"],
        ["tart", "run", "--dir=/unnamed:tag=code", VM],
        ["tart", "run", "--net-softnet-allow=", VM],
        ["tart", "stop", "-t5", VM],
    ],
    ids=" ".join,
)
def test_a_command_line_with_a_trap_would_be_noticed(line: list[str]) -> None:
    with pytest.raises((AssertionError, Fail, HelpAsked)):
        accept(line)


def test_guests_get_their_commands_exactly() -> None:
    command = ["sh", "-c", "a  b", "--", "-i", "---x", "--help", ""]
    parsed = parse(argv.exec_argv(VM, command, stdin=True)[1:])
    assert parsed is not None
    assert parsed.words == [VM, *command]


@pytest.mark.live
async def test_of_two_runs_of_a_vm_one_gives_way(own_home: Path) -> None:
    store = Store({"HOME": str(own_home)})
    store.set(guest="pretended")
    store.make("a")
    env = {"PATH": path_with_double()}
    first = process.detach(["tart", "run", "a"], log=own_home / "log", env=env)
    try:
        control = store.vms / "a" / "control.sock"
        async for _ in attempts(SystemClock(), deadline_s=SOON_S):
            if control.exists():
                break
        said = await process.run(["tart", "run", "a"], deadline_s=SOON_S, env=env, check=False)
        assert (said.status, said.stderr) == (2, b'VM "a" is already running!\n')
        told = await process.run(["tart", "delete", "a"], deadline_s=SOON_S, env=env, check=False)
        assert (told.status, told.stderr) == (1, b'VM "a" is running\n')
        await process.run(["tart", "stop", "a"], deadline_s=SOON_S, env=env)
        assert (own_home / "log").read_text() == "Stopping VM...\n"
    finally:
        started = process.start_time(first)
        await asyncio.to_thread(process.end_process, first, started=started)
