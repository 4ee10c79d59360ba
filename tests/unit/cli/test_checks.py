from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tachikoma.cli.checks import Check, Verdict, features_of, look_all
from tachikoma.cli.door import Door
from tachikoma.hypervisor.synthetic import Synthetic
from tachikoma.model.errors import HypervisorError, StateCorruptError
from tachikoma.model.vm import Feature, Features
from tachikoma.vm.provision.rehearsal import RehearsedGuest
from tests.unit.cli.stand import CommandLine


def looked(door: Door) -> dict[str, Check]:
    """Look, and leave out what each thing is good for."""
    return {check.name: replace(check, why="") for check in door.run(look_all, settled=False)}


def configure(line: CommandLine, text: str) -> None:
    file = line.home / ".config/tachikoma/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_everything_is_looked_at_in_the_order_in_which_it_is_needed(door: Door) -> None:
    assert list(looked(door)) == [
        "python",
        "git",
        "settings",
        "ssh",
        "engine",
        "image",
        "VMs",
        "ssh key",
        "proxy",
        "credential",
        "gh",
        "disk",
        "memory",
    ]


def test_versions_are_told_without_the_words_around_them(door: Door) -> None:
    found = looked(door)
    assert found["git"] == Check("git", Verdict.OK, "9.1")
    assert found["ssh"] == Check("ssh", Verdict.OK, "ssh version 9.1")


def test_what_fails_says_what_helps_and_the_rest_is_looked_at(
    line: CommandLine, door: Door
) -> None:
    line.engine.fail_next("vms", HypervisorError("it is broken", hint="mend it"))
    found = looked(door)
    assert found["VMs"] == Check("VMs", Verdict.FAIL, "it is broken", "mend it")
    assert found["ssh key"].verdict is Verdict.OK


def test_two_checks_with_one_cause_tell_it_once(line: CommandLine, door: Door) -> None:
    cause = StateCorruptError("the file is broken", hint="move it away")
    line.engine.fail_next("images", cause)
    line.engine.fail_next("vms", cause)
    found = looked(door)
    assert found["image"].verdict is Verdict.FAIL
    assert "VMs" not in found


class Fetching(Synthetic):
    """An engine whose images are fetched."""

    @property
    def features(self) -> Features:
        no, yes = Feature(available=False, why="they are fetched"), Feature(available=True)
        return replace(super().features, build_images=no, pull_images=yes)


def test_an_image_that_can_be_fetched_is_only_a_warning(line: CommandLine, door: Door) -> None:
    line.engine = Fetching(file=None, clock=line.clock, guest=RehearsedGuest())
    configure(line, 'base_image = "other"\n')
    check = looked(door)["image"]
    assert (check.verdict, check.found) == (Verdict.WARN, "other is not here yet")
    assert "image pull" in check.hint


def test_the_settings_that_were_set_are_counted(line: CommandLine, door: Door) -> None:
    configure(line, "vm_cpus = 2\nvm_memory = 1024\n")
    assert looked(door)["settings"] == Check("settings", Verdict.OK, "2 keys set")


def test_a_proxy_that_is_switched_off_is_not_asked(line: CommandLine, door: Door) -> None:
    configure(line, "credential_proxy = false\n")
    assert looked(door)["proxy"].found == "switched off (credential_proxy = false)"


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        (True, "127.0.0.1:19280, running"),
        (False, "127.0.0.1:19280, not running; spawn starts it"),
    ],
)
def test_the_proxy_is_told_with_its_address(
    line: CommandLine, door: Door, runs: bool, found: str
) -> None:
    line.proxy_runs = runs
    assert looked(door)["proxy"] == Check("proxy", Verdict.OK, found)


def test_a_vm_as_large_as_the_host_is_a_warning(line: CommandLine, door: Door) -> None:
    total_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    configure(line, f"vm_memory = {total_mib}\n")
    check = looked(door)["memory"]
    assert (check.verdict, check.hint) == (
        Verdict.WARN,
        "set vm_memory to less than the host has",
    )


def test_an_ssh_key_is_told_by_its_place(line: CommandLine, door: Door) -> None:
    assert looked(door)["ssh key"].found == "the first spawn makes it"
    key: Path = door.runtime.paths.ssh_key
    key.parent.mkdir(parents=True)
    key.write_text("key")
    assert looked(door)["ssh key"].found == str(Path("~", key.relative_to(line.home)))


def test_everything_says_what_it_is_good_for(door: Door) -> None:
    assert [check.name for check in door.run(look_all, settled=False) if not check.why] == []


def test_gh_may_be_missing(line: CommandLine, door: Door) -> None:
    line.missing.add("gh")
    assert looked(door)["gh"].verdict is Verdict.OK
    assert "by hand" in looked(door)["gh"].found


def test_an_engine_is_told_feature_by_feature(line: CommandLine) -> None:
    told = features_of(line.engine.features)
    assert told["engine"] == "synthetic"
    assert told["suspend"] == {"available": True, "why": ""}
    assert told["default_network"] == "proxy"
