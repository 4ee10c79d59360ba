from __future__ import annotations

import pytest

from tachikoma.model.names import VmName
from tests.unit.cli.stand import CommandLine

VM = VmName("tachikoma-box-main")


@pytest.fixture
def made(line: CommandLine) -> CommandLine:
    line("spawn")
    line.groups["@pip"] = ("index.example", "files.example:8443")
    return line


def rules(line: CommandLine) -> tuple[tuple[str, ...], tuple[str, ...]]:
    record = line.store.read().vms[VM]
    return record.egress_allow, record.egress_deny


def test_a_host_is_allowed_to_the_current_branchs_vm(made: CommandLine) -> None:
    ran = made("egress", "allow", "Example.com.")
    assert ran.out == "tachikoma-box-main may reach example.com\n"
    assert rules(made) == (("example.com",), ())
    made("egress", "allow", "example.com")
    assert rules(made) == (("example.com",), ())


def test_a_vm_may_be_named(made: CommandLine) -> None:
    made("spawn", "topic")
    made("egress", "allow", "topic", "*.example.com:8443")
    assert rules(made) == ((), ())
    told = made("egress", "list", "topic", "--json").data
    assert told == {
        "vm": "tachikoma-box-topic",
        "rules": [{"host": "*.example.com:8443", "what": "allowed", "by": "tachikoma egress"}],
    }


def test_a_denial_takes_back_and_beats_the_settings(made: CommandLine) -> None:
    made("egress", "allow", "example.com")
    assert made("egress", "deny", "example.com").out == (
        "tachikoma-box-main may not reach example.com\n"
    )
    assert rules(made) == ((), ("example.com",))
    made("egress", "allow", "example.com")
    assert rules(made) == (("example.com",), ())


def test_a_group_is_allowed_as_what_it_means_now(made: CommandLine) -> None:
    assert made("egress", "allow", "@pip").out == (
        "tachikoma-box-main may reach index.example\n"
        "tachikoma-box-main may reach files.example:8443\n"
    )
    made.git.urls = ("git@code.example:me/x.git",)
    assert made("egress", "allow", "@git", "--json").data["hosts"] == ["code.example"]
    ran = made("egress", "allow", "@npm")
    assert ran.status == 2
    assert "means no host on this machine" in ran.err


def test_the_list_tells_what_says_so(made: CommandLine) -> None:
    assert "reaches the API and no other host" in made("egress", "list").err
    config = made.home / ".config" / "tachikoma"
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.toml").write_text('egress_allow = ["all.example", "@pip", "@go"]\n')
    made("egress", "allow", "10.1.2.3:5000")
    made("egress", "deny", "index.example")
    assert made("egress", "list").out == (
        "HOST                WHAT                BY\n"
        "all.example         allowed             egress_allow\n"
        "index.example       allowed             egress_allow, @pip\n"
        "files.example:8443  allowed             egress_allow, @pip\n"
        "@go                 means no host here  egress_allow\n"
        "10.1.2.3:5000       allowed             tachikoma egress\n"
        "index.example       denied              tachikoma egress\n"
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "::1", "0x7f.1", "*", "@all", "http://x", "a b", ""]
)
def test_what_cannot_be_allowed_is_wrong_usage(made: CommandLine, host: str) -> None:
    assert made("egress", "allow", host).status == 2
    assert rules(made) == ((), ())


def test_without_a_vm_or_a_host_it_is_said(line: CommandLine) -> None:
    ran = line("egress", "allow", "example.com")
    assert ran.status == 1
    assert "the current branch has no VM" in ran.err
    assert line("egress", "list", "nope").status == 1
    for words in ((), ("a", "b", "c")):
        assert line("egress", "allow", *words).status == 2
