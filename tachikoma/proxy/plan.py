"""What a proxy process is told when it starts, and how it is told without leaving traces.

The one who starts a detached proxy sends its plan through a socket that only the child holds.
The plan carries the environment of the user's shell, in which credentials may be; so none of
them stands in an argument list, in a file, or in the process's environment as ``ps`` shows it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tachikoma.host.paths import Paths
from tachikoma.model.errors import ProxyError
from tachikoma.model.vm import Endpoint

API = "https://api.anthropic.com"
CREDENTIAL_VARIABLES = ("CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
"""The variables that a proxy must have been given at its start to use them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to listen, where the files are, and what the credential sources need.

    ``credential_command`` and ``api_key_command`` run on the host: they may come from the
    user's own configuration only, never from a repository's. ``any_address`` is the user's
    explicit word that listening on all addresses is meant.
    """

    endpoint: Endpoint
    paths: Paths
    environment: Mapping[str, str] = field(repr=False)
    ttl_s: float
    credential_command: str | None = None
    api_key_command: str | None = None
    any_address: bool = False

    @property
    def pid_file(self) -> Path:
        """Where the running proxy is recorded."""
        return self.paths.config / "proxy.pid"

    @property
    def lock_file(self) -> Path:
        """Held while a proxy is started or stopped."""
        return self.paths.locks / "proxy.lock"

    @property
    def log_file(self) -> Path:
        """What the detached proxy has to say."""
        return self.paths.logs / "proxy.log"

    @property
    def requests_file(self) -> Path:
        """One line for each request."""
        return self.paths.logs / "proxy-requests.jsonl"

    @property
    def usage_file(self) -> Path:
        """What every model call took."""
        return self.paths.config / "usage.sqlite"

    @property
    def settings_file(self) -> Path:
        """The user's own settings, which may change while the proxy runs."""
        return self.paths.config / "config.toml"

    @property
    def instance(self) -> str:
        """Eight hex digits that tell this user's proxy from others on the same machine."""
        return hashlib.sha256(os.fsencode(self.paths.config)).hexdigest()[:8]

    @property
    def upstream(self) -> str:
        """The base URL of the API, without a slash at its end.

        Raises:
            ProxyError: ANTHROPIC_BASE_URL is no URL that requests could be sent to.
        """
        given = self.environment.get("ANTHROPIC_BASE_URL", "").strip()
        url = (given or API).rstrip("/")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        extra = parts.query or parts.fragment or parts.username or parts.password
        if parts.scheme not in {"http", "https"} or not host or extra or not url.isprintable():
            raise ProxyError(
                "ANTHROPIC_BASE_URL of this host is not a plain http or https URL",
                hint="give it as https://host[:port][/path], or unset it",
            )
        if port == self.endpoint.port and host in {self.endpoint.host, "localhost"}:
            raise ProxyError(
                f"ANTHROPIC_BASE_URL of this host is the credential proxy itself ({url})",
                hint="unset it in this shell; it is meant for the inside of a VM",
            )
        return url

    def check(self) -> None:
        """Refuse a plan that cannot or must not be carried out.

        Raises:
            ProxyError: the upstream is no usable URL; the address to listen on is none, or
                means all addresses without ``any_address``.
        """
        assert self.upstream
        try:
            address = ipaddress.ip_address(self.endpoint.host)
        except ValueError as error:
            raise ProxyError(
                f"the proxy cannot listen on {self.endpoint.host!r}: it is not an IP address",
                hint="set credential_proxy_bind to an address of this machine, such as 127.0.0.1",
            ) from error
        if address.is_unspecified and not self.any_address:
            raise ProxyError(
                f"the proxy does not listen on all addresses ({address}) unless told so explicitly",
                hint="name the address that the VMs reach, or run "
                f"`tachikoma proxy start --bind {address}`",
            )


def encode(plan: Plan) -> bytes:
    """Give ``plan`` as it goes through the socket."""
    paths = {name: str(getattr(plan.paths, name)) for name in _PATHS}
    return json.dumps(
        {
            "host": plan.endpoint.host,
            "port": plan.endpoint.port,
            "paths": paths,
            "environment": dict(plan.environment),
            "ttl_s": plan.ttl_s,
            "credential_command": plan.credential_command,
            "api_key_command": plan.api_key_command,
            "any_address": plan.any_address,
        }
    ).encode("ascii")


def decode(data: bytes) -> Plan:
    """Read back what ``encode`` gave.

    Raises:
        ProxyError: it was cut short: the one who started the proxy died meanwhile.
    """
    try:
        told = json.loads(data)
        return Plan(
            endpoint=Endpoint(told["host"], told["port"]),
            paths=Paths(**{name: Path(told["paths"][name]) for name in _PATHS}),
            environment=told["environment"],
            ttl_s=told["ttl_s"],
            credential_command=told["credential_command"],
            api_key_command=told["api_key_command"],
            any_address=told["any_address"],
        )
    except (ValueError, KeyError, TypeError):
        # The decoder's message may quote a credential.
        raise ProxyError(
            "the proxy was not told how to run", hint="start it with `tachikoma proxy start`"
        ) from None


_PATHS = tuple(each.name for each in dataclasses.fields(Paths))
