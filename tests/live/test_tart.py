"""The life of a branch's VM on Tart, driven as a user drives it: Tart's double, a real guest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.tart_lines import accept
from tests.doubles.tart_double.store import Store
from tests.doubles.tart_world import path_with_double, why_no_tart, world
from tests.live.conftest import User

pytestmark = pytest.mark.live_qemu

BRANCH = "feature/life"
NAME = "tachikoma-app-feature-life"
ASK = (
    "printf '%s ' ${ANTHROPIC_BASE_URL%:*}; curl -s -o /dev/null -w '%{http_code}'"
    " -H 'anthropic-version: 2023-06-01' -H \"x-api-key: $ANTHROPIC_API_KEY\""
    ' -d \'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}\''
    ' "$ANTHROPIC_BASE_URL/v1/messages"'
)


@pytest.fixture
def mac(live_user: User, live_image_data: Path) -> Store:
    """Make the user one whose engine is Tart, with nothing pulled yet."""
    if why := why_no_tart():
        pytest.skip(why)
    config = live_user.home / ".config/tachikoma/config.toml"
    told = config.read_text().replace('hypervisor = "qemu"', 'hypervisor = "tart"')
    # On a Mac it is 192.168.64.1, the guests' own gateway; the double's leads to this host.
    config.write_text(told + 'credential_proxy_bind = "0.0.0.0"\n')
    # For good: whoever leaves needs Tart as well, after the fixtures that come later have gone.
    assert isinstance(live_user.environ, dict)
    live_user.environ["PATH"] = path_with_double()
    store = world(live_user.home, live_image_data)
    for part in (store.vms / "ubuntu").iterdir():
        part.unlink()
    (store.vms / "ubuntu").rmdir()
    return store


def spawn(user: User, repository: Path) -> str:
    data = user.run("spawn", BRANCH, "--json", cwd=repository).json["data"]
    assert (data["name"], data["ssh"][0]) == (NAME, "ssh")
    assert data["address"]["port"] == 22
    return str(data["how"])


def in_vm(user: User, repository: Path, *command: str) -> str:
    return user.run("exec", BRANCH, "--", *command, cwd=repository).stdout


def test_a_vm_is_made_used_halted_started_and_destroyed(live_user: User, mac: Store) -> None:
    user, repository = live_user, live_user.repository()
    worktree = repository.parent / "app-feature-life"
    checks = {each["name"]: each for each in user.run("doctor", "--json").json["data"]["checks"]}
    assert checks["tart"]["verdict"] == "ok"
    assert checks["image"]["found"] == "ubuntu is not here yet"

    assert spawn(user, repository) == "created"
    (image,) = user.run("image", "list", "--json").json["data"]["images"]
    assert (image["name"], image["digest"][:7]) == ("ubuntu", "sha256:")
    write = "pwd; hostname; echo kept > ~/kept; echo shared > made"
    commit = "git add -A && git commit -q -m 'From the VM'"
    told = in_vm(user, repository, "sh", "-c", f"{write}; {commit}")
    assert told.split() == [str(worktree), "feature-life"]
    assert user.run_any("git", "-C", str(worktree), "log", "-1", "--format=%s").stdout.strip() == (
        "From the VM"
    )
    assert in_vm(user, repository, "bash", "-lc", ASK) == "http://192.168.64.1 200"
    assert len(user.api_requests()) == 1
    failed = user.run("exec", BRANCH, "--", "sh", "-c", "exit 64", cwd=repository, status=64)
    assert failed.stdout == ""
    assert spawn(user, repository) == "reconnected"

    user.run("halt", BRANCH, cwd=repository)
    (vm,) = user.run("list", "--json").json["data"]["vms"]
    assert (vm["state"], vm["image"], vm["memory_mib"]) == ("stopped", "ubuntu", 1024)
    log = Path(user.run("status", NAME, "--json").json["data"]["vm"]["log"]).read_text()
    assert log.splitlines()[-1] == "guest has stopped the virtual machine", "it shut itself down"
    assert "Stopping VM..." not in log, "its power was not cut"

    assert spawn(user, repository) == "started"
    assert in_vm(user, repository, "cat", "/home/admin/kept", "made") == "kept\nshared\n"
    user.run("destroy", BRANCH, "--yes", cwd=repository)
    assert user.run("list", "--json").json["data"]["vms"] == []
    assert mac.local_names() == []
    user.run("image", "delete", "ubuntu", "--yes")
    assert user.run("image", "list", "--json").json["data"]["images"] == []

    said = mac.emitted()
    assert {line[1] for line in said} >= {"--version", "pull", "clone", "set", "run", "exec", "ip"}
    for line in said:
        accept(line)
    (first, second) = (line for line in said if line[1] == "run")
    assert first == second
    assert re.match(r"--dir=share:.*:tag=code$", first[5])
