from __future__ import annotations

import re
from typing import Any

import pytest

from tachikoma.hypervisor.tart.refusals import (
    TABLE,
    essence,
    is_already_running,
    is_broken_off,
    translated,
)
from tachikoma.model.errors import (
    AgentError,
    DiskFullError,
    HypervisorError,
    HypervisorMissingError,
    ImageError,
    ImageNotFoundError,
    PermissionDeniedError,
    TachikomaError,
    UnsupportedError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)
from tests.doubles.tart_double.contract import commands, contract

USAGE = "\nUsage: tart run ...\n  See 'tart run --help' for more information."
CASES = [(name, each) for name, table in commands().items() for each in table["errors"]] + [
    ("list", each) for each in contract()["common_errors"]
]
KINDS: dict[str, type[TachikomaError]] = {
    "vm_does_not_exist": VmNotFoundError,
    "vm_does_not_exist_in_validate": VmNotFoundError,
    "vm_not_running": VmNotRunningError,
    "vm_not_running_double": VmNotRunningError,
    "softnet_missing": HypervisorMissingError,
    "unsupported_os": UnsupportedError,
    "macos13": UnsupportedError,
    "unsupported_arch": ImageError,
    "agent_unreachable": AgentError,
    "guest_cannot_start_command": AgentError,
    "stream_broken": AgentError,
    "agent_rpc": AgentError,
    "registry_http": ImageNotFoundError,
    "registry_auth": ImageError,
    "invalid_credentials": ImageError,
    "keychain": ImageError,
    "bad_remote_name": ImageError,
    "bad_host": ImageError,
    "oci_storage": ImageNotFoundError,
    "pull_decompress": ImageError,
    "legacy_disk_v1": ImageError,
    "access_date": PermissionDeniedError,
    "rename_target_exists": VmExistsError,
}
"""The errors that are more than ``HypervisorError``."""
OPAQUE = {"network", "fallback"}
"""Texts that depend on the language of the host: told as they are."""
NEVER_ASKED_FOR = {"disk_mode", "nested_macos", "pty", "vnc_no_ip"}
"""Failures of what tachikoma never asks for."""


@pytest.mark.parametrize(("command", "case"), CASES, ids=[f"{c}-{e['id']}" for c, e in CASES])
def test_every_error_of_the_contract_is_one_of_ours_with_a_hint(
    command: str, case: dict[str, Any]
) -> None:
    usage = USAGE if case["layer"].endswith("ValidationError") else ""
    status = case["exit_code"]
    error = translated(command, status, case["example"] + usage)
    assert type(error) is KINDS.get(case["id"], HypervisorError)
    assert error.hint
    assert error.message
    assert "{" not in error.message
    assert error.details == case["example"]
    known = any(row.found_in(line) for row in TABLE for line in case["example"].splitlines())
    refused_line = status == 64
    assert known or refused_line or case["id"] in OPAQUE | NEVER_ASKED_FOR


def test_names_in_the_table_are_unique_and_every_row_has_its_hint() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)
    for row in TABLE:
        assert row.hint
        re.compile(row.pattern)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("Error: write: No space left on device", DiskFullError, "no space is left"),
        ('VM "b" already exists, use --overwrite', VmExistsError, "there is a VM b already"),
        (
            'Keychain returned unsuccessful status -25308\nError: AuthFailed(why: "x")',
            ImageError,
            "does not let this user in",
        ),
        ("Keychain returned unsuccessful status -25308", ImageError, "keychain is locked"),
        (
            'Error: UnexpectedHTTPStatusCode(when: "pulling manifest", code: 403, details: "")',
            ImageError,
            "refused this user (403, pulling manifest)",
        ),
        (
            'Error: UnexpectedHTTPStatusCode(when: "pulling manifest", code: 503, details: "")',
            ImageError,
            "answered with 503",
        ),
        ("sudo: a password is required", AgentError, "may not use sudo: a password is required"),
        (
            "The number of VMs exceeds the system limit (other running VMs: a, b)",
            HypervisorError,
            "macOS runs no more VMs at once (running: a, b)",
        ),
        ("The number of VMs exceeds the system limit", HypervisorError, "VMs at once"),
        (
            'Error Domain=VZErrorDomain Code=1 "The virtual machine failed to start."',
            HypervisorError,
            "macOS did not start the VM",
        ),
    ],
)
def test_what_users_meet_is_told_in_their_words(
    said: str, kind: type[TachikomaError], message: str
) -> None:
    error = translated("run", 1, said)
    assert type(error) is kind
    assert message in error.message
    assert error.hint


def test_the_locked_keychain_and_the_lost_count_have_a_way_out() -> None:
    keychain = translated("run", 1, 'Error Domain=VZErrorDomain Code=1 "x" UserInfo={}')
    assert "security unlock-keychain" in keychain.hint
    limit = translated("run", 1, "The number of VMs exceeds the system limit")
    assert "restart the Mac" in limit.hint


def test_noise_and_usage_are_no_part_of_a_failure() -> None:
    said = "Failed to perform garbage collection: x\nError: bad\nHelp:  a\nUsage: tart\n  See"
    assert essence(said) == ["Error: bad"]
    assert essence("\n\n") == []


def test_a_crash_and_silence_are_told_as_such() -> None:
    assert translated("get", -5, "").message == "`tart get` crashed: it did not say why"
    assert translated("get", 1, "odd thing").message == "`tart get` failed: odd thing"
    assert "did not understand `tart run`" in translated("run", 64, "Error: odd" + USAGE).message


def test_secrets_are_not_repeated() -> None:
    error = translated("pull", 1, "Error: https://user:hunter2@ghcr.io refused")
    assert "hunter2" not in error.message + error.details


def test_a_run_that_gave_way_is_known() -> None:
    assert is_already_running('noise\nVM "x" is already running!\n')
    assert not is_already_running('VM "x" is running')


def test_a_guest_that_was_lost_on_the_way_is_known() -> None:
    assert is_broken_off("half\nError: unavailable (14): closed\n")
    assert not is_broken_off("Error: unknown (2): x")
