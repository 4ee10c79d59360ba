"""Which variables an agent gets, where it works (pure)."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tachikoma.makima.tasks.port import Launch

_NEVER_IN_A_VM = frozenset(
    {
        # The model's credential, and what leads past the proxy that alone has it.
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        *("ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_UNIX_SOCKET"),
        *("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"),
        "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST",
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        # Places of the host.
        *("PATH", "HOME", "PWD", "SHELL", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK"),
        *("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_TMPDIR", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"),
        *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "NODE_PATH"),
    }
)
_NEVER_IN_A_VM_BEGIN = ("AWS_", "GOOGLE_", "XDG_", "LD_", "DYLD_")

_OF_THE_USER = frozenset(
    {
        *("CLAUDE_CONFIG_DIR", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "IS_SANDBOX"),
    }
)
_OF_THE_USER_BEGIN = ("ANTHROPIC_", "CLAUDE_CODE_", "AWS_", "GOOGLE_", "CLOUD_ML_", "VERTEX_")
_OF_ONE_SESSION = frozenset(
    {
        *("CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_ENTRYPOINT"),
        "CLAUDE_CODE_SSE_PORT",
    }
)
_PROGRAMS = ("/usr/local/bin", "/opt/homebrew/bin")


def for_guest(env: Mapping[str, str]) -> dict[str, str]:
    """Give what of ``env`` may enter a VM: no credential of the model's, which only the proxy
    has, nothing that leads elsewhere, and no place of the host.
    """
    return {
        name: value
        for name, value in env.items()
        if name not in _NEVER_IN_A_VM and not name.startswith(_NEVER_IN_A_VM_BEGIN)
    }


def fit_for_guest(launch: Launch) -> Launch:
    """Make a launch fit for a VM. A program that is named by its place on the host is looked for
    on the guest's PATH.
    """
    program, *arguments = launch.argv
    return replace(
        launch, argv=(posixpath.basename(program), *arguments), env=for_guest(launch.env)
    )


def for_host(environ: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """Give what an agent on this host gets of the user's environment: how his Claude Code signs
    in and reaches the model, and a PATH on which it is also found by a daemon that init started.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _OF_THE_USER
        or (name.startswith(_OF_THE_USER_BEGIN) and name not in _OF_ONE_SESSION)
    }
    known = [each for each in environ.get("PATH", "/usr/bin:/bin").split(":") if each]
    more = (str(home / ".local" / "bin"), *_PROGRAMS)
    path = [*known, *(each for each in more if each not in known)]
    return kept | {"HOME": str(home), "PATH": ":".join(path)}
