from __future__ import annotations

import json

import pytest

from tachikoma.hypervisor.tart.output import (
    Described,
    Entry,
    decode_get,
    decode_list,
    decode_percent,
    decode_version,
)
from tachikoma.model.errors import HypervisorError
from tachikoma.model.vm import VmState

ENTRY = {
    "Source": "local",
    "Name": "ubuntu",
    "Disk": 20,
    "Size": 3,
    "Accessed": "2026-05-12T21:45:18Z",
    "Running": False,
    "State": "stopped",
}


def test_versions_are_numbers_and_a_snapshot_has_none() -> None:
    assert decode_version("2.32.1\n") == (2, 32, 1)
    assert decode_version("SNAPSHOT") is None
    with pytest.raises(HypervisorError, match="no version of Tart") as refused:
        decode_version("tart: a pastry")
    assert "which -a tart" in refused.value.hint


def test_a_list_is_understood_with_times_and_states() -> None:
    assert decode_list(json.dumps([ENTRY])) == [
        Entry("ubuntu", False, 3_000_000_000, 1778622318.0, VmState.STOPPED)
    ]
    assert decode_list("[\n\n]") == []


def test_a_state_that_nobody_knows_is_unknown() -> None:
    (entry,) = decode_list(json.dumps([ENTRY | {"State": "paused"}]))
    assert entry.state is VmState.UNKNOWN


def test_a_list_of_an_older_tart_has_no_time() -> None:
    old = {name: value for name, value in ENTRY.items() if name != "Accessed"}
    assert decode_list(json.dumps([old]))[0].accessed == 0.0


def test_only_images_are_named_by_digest() -> None:
    remote = ENTRY | {"Source": "OCI", "Name": "h/i@sha256:ab"}
    local = ENTRY | {"Name": "h/i@sha256:ab"}
    assert [each.by_digest for each in decode_list(json.dumps([remote, local]))] == [True, False]


def test_a_description_is_understood() -> None:
    raw = {"CPU": 4, "Memory": 4096, "Size": "2.871", "State": "running"}
    assert decode_get(json.dumps(raw)) == Described(4, 4096, 2_871_000_000, VmState.RUNNING)


@pytest.mark.parametrize("said", ["", "{}", "[]", "[1]", '{"CPU": "many"}', "Error"])
def test_what_is_no_answer_is_told_with_what_was_said(said: str) -> None:
    with pytest.raises(HypervisorError, match="tart get") as refused:
        decode_get(said)
    assert refused.value.details == said
    if said not in ("{}", "[]"):
        with pytest.raises(HypervisorError, match="tart list"):
            decode_list(said)


def test_a_line_may_say_how_much_is_done() -> None:
    assert [decode_percent(line) for line in ("0%", " 41% ", "100%", "140%")] == [0, 0.41, 1, 1]
    assert decode_percent("pulling manifest...") is None
