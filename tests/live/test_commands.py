"""One VM and every command around it, driven by the real command as a user drives it."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.live.conftest import User

BRANCH = "feature/tools"
NAME = "tachikoma-app-feature-tools"
SOON_S = 20.0
GH = """\
#!/bin/sh
case "$2" in
list) echo '[]' ;;
create) cat > "{body}"; printf '%s\\n' "$@" > "{log}"; echo https://github.com/acme/app/pull/7 ;;
esac
"""


@pytest.mark.live_qemu
def test_one_vm_and_every_command_around_it(live_user: User) -> None:
    user = live_user
    repository, hub = user.repository(), user.home / "hub.git"
    worktree = repository.parent / "app-feature-tools"
    remote_of(user, repository, hub)
    user.run("ssh", "install", cwd=repository)
    user.run("spawn", BRANCH, "--json", cwd=repository)

    copies_files(user, repository)
    forwards_ports(user, repository)
    plain_ssh_finds_the_vm(user)
    follows_logs(user, repository)
    proposes(user, repository, worktree, hub)

    forwarder = forwards(user)[0]["pid"]
    user.run("halt", BRANCH, cwd=repository)
    assert (forwards(user), forwarder in user.processes()) == ([], False)
    console = user.run("logs", BRANCH, "--source", "console", cwd=repository).stdout
    assert "Power down" in console
    assert NAME in user.run("prune", "--days", "0", "--dry-run").stdout
    user.run("prune", "--days", "0", "--yes")
    assert user.run("list", "--json").json["data"]["vms"] == []
    assert not (user.home / f".config/tachikoma/logs/vms/{NAME}.log").exists()
    assert NAME.encode() not in (user.home / ".ssh" / "config").read_bytes()


def remote_of(user: User, repository: Path, hub: Path) -> None:
    """Give the repository a remote on GitHub that is, for this user, a directory, and a ``gh``."""
    user.run_any("git", "clone", "-q", "--bare", str(repository), str(hub))
    url = "https://github.com/acme/app.git"
    user.run_any("git", "-C", str(repository), "remote", "add", "origin", url)
    user.run_any("git", "config", "--global", f"url.{hub}.insteadOf", url)
    gh = user.home / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH.format(body=user.home / "gh-body", log=user.home / "gh-log"))
    gh.chmod(0o755)


def copies_files(user: User, repository: Path) -> None:
    """A tree goes in and comes out with every mode, and a hostile archive stays where it is put."""
    made = user.home / "made"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "data").write_bytes(bytes(range(256)) * 4000)
    (made / "run").write_text("#!/bin/sh\necho ran\n")
    (made / "run").chmod(0o751)
    (made / "link").symlink_to("run")
    copied = user.run("cp", str(made), f"{BRANCH}:/var/tmp", "--json", cwd=repository).json["data"]
    assert copied == {"files": 3, "size_bytes": 1_024_019, "skipped": []}
    told = user.run(
        "exec", BRANCH, "--", "sh", "-c", "stat -c %a /var/tmp/made/run; /var/tmp/made/link",
        cwd=repository,
    ).stdout  # fmt: skip
    assert told == "751\nran\n"
    user.run("cp", f"{BRANCH}:/var/tmp/made", str(user.home / "back"), cwd=repository)
    back = user.home / "back"
    assert (back / "sub" / "data").read_bytes() == (made / "sub" / "data").read_bytes()
    assert stat.S_IMODE((back / "run").stat().st_mode) == 0o751
    assert (back / "link").readlink() == Path("run")


def forwards_ports(user: User, repository: Path) -> None:
    """What listens on the VM's own loopback is reached, although the VM reaches nothing."""
    user.run(
        "exec", BRANCH, "--", "sh", "-c",
        "cd /var/tmp/made && setsid python3 -m http.server --bind 127.0.0.1 8000"
        " >/dev/null 2>&1 </dev/null &",
        cwd=repository,
    )  # fmt: skip
    user.run("ports", "open", "8000:18000", BRANCH, cwd=repository)
    soon(lambda: fetched("http://127.0.0.1:18000/run") == b"#!/bin/sh\necho ran\n")
    assert [(one["guest_port"], one["host_port"]) for one in forwards(user)] == [(8000, 18000)]


def plain_ssh_finds_the_vm(user: User) -> None:
    """``ssh NAME`` goes to the VM's port of now, with a key that is pinned."""
    config = user.home / ".ssh" / "config"
    assert f"Host {NAME} tachikoma-*".encode() in config.read_bytes()
    told = user.run_any("ssh", "-F", str(config), NAME, "hostname; whoami", cwd=Path("/")).stdout
    assert told.split() == ["feature-tools", "admin"]


def follows_logs(user: User, repository: Path) -> None:
    """What was said is shown, and what is said now comes after it."""
    told = user.run("logs", BRANCH, "--json", cwd=repository).json["data"]["logs"]
    assert any("@tachikoma ready" in line for line in told["setup"]["lines"])
    assert Path(told["console"]["path"]).is_file()  # a restored VM has not printed anything yet
    proxy = user.home / ".config/tachikoma/logs/proxy-requests.jsonl"
    with user.started("logs", BRANCH, "-f", "-n", "0", "--source", "proxy", cwd=repository) as log:
        time.sleep(1)  # until it has seen the end of the file
        ask = (
            'curl -s -o /dev/null -H "x-api-key: $ANTHROPIC_API_KEY" $ANTHROPIC_BASE_URL/v1/models'
        )
        user.run("exec", BRANCH, "--", "bash", "-lc", ask, cwd=repository, status=None)
        soon(lambda: proxy.exists() and "/v1/models" in proxy.read_text())
        out = log.stdout
        assert out is not None
        os.set_blocking(out.fileno(), False)
        soon(lambda: b"/v1/models" in (out.read() or b""))
        log.send_signal(signal.SIGINT)
        assert log.wait(SOON_S) == 130


def proposes(user: User, repository: Path, worktree: Path, hub: Path) -> None:
    """What Claude Code left uncommitted is committed in its words, and proposed."""
    user.run(
        "exec", BRANCH, "--", "git", "commit", "-q", "--allow-empty", "-m", "Made in the VM",
        cwd=repository,
    )  # fmt: skip
    user.run(
        "exec", BRANCH, "--", "claude", "--dangerously-skip-permissions", "-p",
        "run: echo by-the-agent > agent.txt && cat agent.txt", cwd=repository,
    )  # fmt: skip
    env = {"PATH": f"{user.home / 'bin'}:{os.environ['PATH']}"}
    done = user.run("pr", BRANCH, "--json", cwd=repository, env=env).json["data"]
    assert (done["ended"], done["url"]) == ("opened", "https://github.com/acme/app/pull/7")
    assert "by-the-agent" in done["committed"]["subject"] + done["committed"]["body"]
    head = user.run_any("git", "-C", str(worktree), "rev-parse", "HEAD").stdout
    assert user.run_any("git", "-C", str(hub), "rev-parse", BRANCH).stdout == head
    assert "Made in the VM" in (user.home / "gh-body").read_text()
    assert user.run_any("git", "-C", str(worktree), "status", "--porcelain").stdout == ""
    again = user.run("pr", BRANCH, "--json", cwd=repository, env=env).json["data"]
    assert (again["committed"], again["pushed"]) == (None, False)


def forwards(user: User) -> list[dict[str, int]]:
    found: list[dict[str, int]] = user.run("ports", "list", "--json").json["data"]["ports"]
    return found


def fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return b""


def soon(happens: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.live
def test_bash_completes_what_tachikoma_offers(own_home: Path) -> None:
    """In a real bash: the script is read, Tab is pressed, and the words are there."""
    user = User(own_home, dict(os.environ), "", own_home / "none")
    repository = user.repository()
    user.run_any("git", "-C", str(repository), "branch", "pretty")
    program = own_home / "bin" / "tachikoma"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(user.argv())} "$@"\n')
    program.chmod(0o755)
    script = user.run("completions", "bash").stdout

    def tab(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in ("tachikoma", *words))
        press = (
            f"{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}\n"
            '_tachikoma_completion tachikoma; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        return user.run_any("bash", "-c", press, cwd=repository, env=env).stdout.split()

    assert sorted(tab("pr")) == ["pr", "pretty", "proxy", "prune"]
    assert tab("config", "get", "vm_c") == ["vm_cpus"]
    assert tab("spawn", "pre") == ["pretty"]
    assert json.loads(user.run("completions", "fish", "--json").stdout)["ok"] is True


@pytest.mark.live
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_another_shell_takes_its_script(own_home: Path, shell: str) -> None:
    user = User(own_home, dict(os.environ), "", own_home / "none")
    if user.run_any("sh", "-c", f"command -v {shell}", status=None).status != 0:
        pytest.skip(f"there is no {shell} here")
    script = own_home / "script"
    script.write_text(user.run("completions", shell).stdout)
    user.run_any(shell, "-n", str(script))
