from __future__ import annotations

from pathlib import Path

from tachikoma.makima.tasks.environment import fit_for_guest, for_guest, for_host
from tachikoma.makima.tasks.port import Launch

ENV = {
    "ANTHROPIC_API_KEY": "sk",
    "ANTHROPIC_AUTH_TOKEN": "t",
    "CLAUDE_CODE_OAUTH_TOKEN": "o",
    "ANTHROPIC_BASE_URL": "http://elsewhere",
    "HTTPS_PROXY": "http://proxy",
    "AWS_SECRET_ACCESS_KEY": "a",
    "PATH": "/host/bin",
    "XDG_RUNTIME_DIR": "/run/user/1",
    "MAKIMA_API_KEY": "tool key",
    "MAKIMA_API_URL": "http://127.0.0.1:39786",
    "ANTHROPIC_MODEL": "opus",
    "DATABASE_URL": "postgres://test",
}


def test_no_credential_of_the_models_and_no_place_of_the_host_enters_a_vm() -> None:
    assert for_guest(ENV) == {
        "MAKIMA_API_KEY": "tool key",
        "MAKIMA_API_URL": "http://127.0.0.1:39786",
        "ANTHROPIC_MODEL": "opus",
        "DATABASE_URL": "postgres://test",
    }


def test_a_program_of_the_host_is_looked_for_in_the_vm_by_its_name() -> None:
    launch = Launch(["/opt/claude/bin/claude", "--x"], Path("/w"), {"PATH": "/x"}, b"one\n")
    assert fit_for_guest(launch) == Launch(("claude", "--x"), Path("/w"), {}, b"one\n")


def test_an_agent_on_the_host_signs_in_as_the_user_and_is_nobodys_child() -> None:
    environ = ENV | {"CLAUDE_CODE_SESSION_ID": "s", "CLAUDECODE": "1", "EDITOR": "vi"}
    assert for_host(environ, home=Path("/home/u")) == {
        "ANTHROPIC_API_KEY": "sk",
        "ANTHROPIC_AUTH_TOKEN": "t",
        "CLAUDE_CODE_OAUTH_TOKEN": "o",
        "ANTHROPIC_BASE_URL": "http://elsewhere",
        "HTTPS_PROXY": "http://proxy",
        "AWS_SECRET_ACCESS_KEY": "a",
        "ANTHROPIC_MODEL": "opus",
        "HOME": "/home/u",
        "PATH": "/host/bin:/home/u/.local/bin:/usr/local/bin:/opt/homebrew/bin",
    }
