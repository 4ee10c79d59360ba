from __future__ import annotations

import pytest

from tachikoma.credentials.port import Credential, Finding, Kind
from tests.unit.cli.stand import SECRET, CommandLine


@pytest.fixture
def several(line: CommandLine) -> CommandLine:
    """A keychain that is locked, a file with a token, and a variable behind it."""
    file = f"{line.home}/.claude/.credentials.json"
    token = Credential(Kind.OAUTH, SECRET, file, line.clock.now() + 7 * 3600)
    line.credential_findings = [
        Finding("Secret Service", None, "is locked", warning=True),
        Finding("CLAUDE_CODE_OAUTH_TOKEN", None, "is not set"),
        Finding(file, token),
        Finding("ANTHROPIC_API_KEY", Credential(Kind.API_KEY, "another", "ANTHROPIC_API_KEY")),
    ]
    return line


def test_the_waterfall_is_told_in_order_with_the_one_that_is_used(several: CommandLine) -> None:
    ran = several("credentials", tty=True)
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "SOURCE                       STATE      KIND   EXPIRES  SAYS",
        "Secret Service               failing    -      -        is locked",
        "CLAUDE_CODE_OAUTH_TOKEN      none       -      -        is not set",
        "~/.claude/.credentials.json  in use     oauth  in 7 h",
        "ANTHROPIC_API_KEY            not asked  -      -",
        "",
        "requests go to https://api.anthropic.com",
    ]
    assert ran.err == "warning: Secret Service: is locked\n"


def test_a_machine_is_told_the_same(several: CommandLine) -> None:
    data = several("credentials", "--json").data
    file = f"{several.home}/.claude/.credentials.json"
    used = {"kind": "oauth", "source": file, "expires": several.clock.now() + 7 * 3600}
    assert data["credential"] == used
    assert data["upstream"] == "https://api.anthropic.com"
    assert [(each["source"], each["state"]) for each in data["sources"]] == [
        ("Secret Service", "failing"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "none"),
        (file, "in use"),
        ("ANTHROPIC_API_KEY", "not asked"),
    ]
    assert data["sources"][2]["credential"] == used
    assert data["sources"][0]["why"] == "is locked"


def test_no_secret_is_shown_whatever_is_asked(several: CommandLine) -> None:
    for argv in (["credentials"], ["credentials", "--json"], ["credentials", "-v"]):
        ran = several(*argv)
        assert SECRET not in ran.out + ran.err
        assert "another" not in ran.out + ran.err


def test_without_a_credential_the_exit_status_says_so(line: CommandLine) -> None:
    line.credential_findings = [Finding("ANTHROPIC_API_KEY", None, "is not set")]
    assert line("credentials").status == 1
    ran = line("credentials", "--json")
    assert (ran.status, ran.data["credential"]) == (1, None)


def test_an_item_is_named_beside_its_keychain(line: CommandLine) -> None:
    key = Credential(Kind.API_KEY, SECRET, "Secret Service: Claude Code")
    line.credential_findings = [Finding("Secret Service", key)]
    assert "in use  api key  -        Secret Service: Claude Code\n" in line("credentials").out


def test_a_proxy_that_was_not_given_this_shells_credential_is_told(line: CommandLine) -> None:
    line.unknown_to_the_proxy = ["ANTHROPIC_API_KEY"]
    ran = line("credentials")
    assert "started without this shell's ANTHROPIC_API_KEY; `tachikoma proxy stop`" in ran.err
    (warning,) = line("credentials", "--json").data["warnings"]
    assert f"warning: {warning}\n" == ran.err


def test_what_the_host_says_of_its_gateway_is_told(line: CommandLine) -> None:
    ran = line("credentials", env={"ANTHROPIC_BASE_URL": "https://gateway.example/v"})
    assert ran.out.endswith("\nrequests go to https://gateway.example/v\n")


def test_a_sign_in_that_goes_to_somebody_elses_server_is_told(several: CommandLine) -> None:
    several.credential_findings.pop(0)
    ran = several("credentials", env={"ANTHROPIC_BASE_URL": "http://gateway.example"})
    sign_in, clear_text = ran.err.splitlines()
    assert sign_in.startswith("warning: your sign-in with Anthropic goes to gateway.example, as ")
    assert clear_text == (
        "warning: the credential goes to gateway.example in clear text: it is an http URL"
    )
    assert several("credentials", env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:8080"}).err == ""
