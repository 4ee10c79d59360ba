from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tachikoma.vm.provision import guest
from tachikoma.vm.provision.luggage import Luggage, Variable
from tests.unit.vm.provision.conftest import (
    CONNECTION,
    LISTENER,
    LISTENER_6,
    OTHER,
    SOCKETS,
    carry_out,
)
from tests.unit.vm.provision.test_plan import SITE


def test_a_fresh_guest_has_everything_in_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carry_out(monkeypatch) == 0
    home = root / "home/admin"
    assert (home / ".ssh/authorized_keys").read_text() == SITE.public_key + "\n"
    assert (root / "home/u/app/.git").readlink() == Path("/mnt/tachikoma/dotgit")
    assert (home / "code").readlink() == SITE.worktree
    assert (root / "etc/hostname").read_text() == "topic\n"
    assert (root / "etc/hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 topic\n"
    assert "ANTHROPIC_API_KEY=tachikoma-token" in (home / ".tachikoma/env").read_text()
    assert stat.S_IMODE((home / ".tachikoma/env").stat().st_mode) == 0o600
    assert 'name = "Ada Lovelace"' in (root / "etc/gitconfig").read_text()
    assert json.loads((home / ".claude.json").read_text())["hasCompletedOnboarding"] is True
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "@tachikoma step ssh-key"
    assert "@tachikoma hostkey ssh-ed25519 AAAAC3" in said
    assert said[-1] == "@tachikoma ready " + (root / "run/tachikoma/ready").read_text().strip()


def test_the_second_time_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot() -> dict[str, str]:
        return {
            str(each): str(each.readlink()) if each.is_symlink() else each.read_text()
            for each in sorted(root.rglob("*"))
            if each.is_symlink() or each.is_file()
        }

    carry_out(monkeypatch)
    before = snapshot()
    assert carry_out(monkeypatch) == 0
    assert snapshot() == before


@pytest.mark.live
def test_an_earlier_run_that_still_goes_on_is_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "run/tachikoma").mkdir()
    lock = root / "run/tachikoma/lock"
    with (
        lock.open("wb") as file,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[file.fileno()]) as earlier,
    ):
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"%d" % earlier.pid)
        file.close()
        assert carry_out(monkeypatch) == 0
        assert earlier.wait(timeout=10) == -signal.SIGKILL


def test_what_the_user_changed_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = root / "home/admin"
    (home / ".profile").write_text("export EDITOR=vi")
    (home / ".claude").mkdir()
    (home / ".claude/settings.json").write_text('{"model": "opus"}')
    (home / ".claude.json").write_text('{"projects": {"/x": {"a": 1}}, "theme": "dark"}')
    carry_out(monkeypatch)
    assert (home / ".profile").read_text() == f"export EDITOR=vi\n{guest.SOURCE_LINE}\n"
    assert json.loads((home / ".claude/settings.json").read_text())["model"] == "opus"
    first_run = json.loads((home / ".claude.json").read_text())
    assert first_run["projects"]["/x"] == {"a": 1}
    assert first_run["theme"] == "dark"


@pytest.mark.parametrize("broken", ["", "{", "[]", "\udcff"])
def test_a_broken_json_file_is_made_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    file = root / "home/admin/.claude.json"
    file.write_bytes(broken.encode("utf-8", "surrogateescape"))
    assert carry_out(monkeypatch) == 0
    assert json.loads(file.read_text())["hasCompletedOnboarding"] is True


def test_a_share_that_cannot_be_mounted_fails_its_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest, "mount", lambda *_what: errno.EINVAL)
    monkeypatch.setattr(guest, "PATIENCE_S", 0.0)
    assert carry_out(monkeypatch) == 1
    said = capsys.readouterr()
    assert (
        said.err
        == "mounts: the share code cannot be mounted at /home/u/app-topic: Invalid argument\n"
    )
    assert not (root / "run/tachikoma/ready").exists()


def test_a_share_whose_device_is_on_its_way_is_mounted_when_it_comes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def mount(tag: str, _path: str, _flags: int) -> int:
        asked.append(tag)
        return 0 if len(asked) > 2 else errno.ENODEV

    monkeypatch.setattr(guest, "mount", mount)
    monkeypatch.setattr(guest, "PAUSE_S", 0.0)
    assert carry_out(monkeypatch, mounts=(("code", SITE.worktree),)) == 0
    assert asked == ["code", "code", "code"]


def test_a_guest_without_a_host_key_fails_in_time_and_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "etc/ssh/ssh_host_ed25519_key.pub").unlink()
    monkeypatch.setattr(guest, "PATIENCE_S", 0.0)
    assert carry_out(monkeypatch) == 1
    said = capsys.readouterr()
    assert said.err == f"host-keys: there is no {guest.HOST_KEY}.pub\n"
    assert "hostkey" not in said.out.replace("step host-keys", "")
    assert not (root / "run/tachikoma/ready").exists()


@pytest.mark.parametrize("sockets", [None, "", SOCKETS, SOCKETS + CONNECTION + OTHER])
def test_a_guest_whose_ssh_server_does_not_listen_fails_in_time_and_says_so(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sockets: str | None,
) -> None:
    table = root / "proc/net/tcp"
    table.unlink() if sockets is None else table.write_text(sockets)
    monkeypatch.setattr(guest, "PATIENCE_S", 0.0)
    assert carry_out(monkeypatch) == 1
    said = capsys.readouterr()
    assert said.err == "host-keys: nothing listens on port 22\n"
    assert "@tachikoma hostkey ssh-ed25519 AAAAC3" in said.out.splitlines()
    assert not (root / "run/tachikoma/ready").exists()


def test_an_ssh_server_that_is_on_its_way_is_awaited(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "proc/net/tcp"
    table.write_text(SOCKETS)

    def passing(_seconds: float) -> None:
        assert not (root / "run/tachikoma/ready").exists()
        table.write_text(SOCKETS + LISTENER)

    monkeypatch.setattr("time.sleep", passing)
    assert carry_out(monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "@tachikoma hostkey ssh-ed25519 AAAAC3",
        "@tachikoma step scripts",
        "@tachikoma ready " + (root / "run/tachikoma/ready").read_text().strip(),
    ]


def test_a_server_that_listens_on_ipv6_alone_listens(root: Path) -> None:
    (root / "proc/net/tcp").unlink()
    (root / "proc/net/tcp6").write_text(SOCKETS + LISTENER_6)
    assert guest.listens(22)
    assert not guest.listens(23)


def test_an_image_without_claude_code_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "usr/local/bin/claude").unlink()
    assert carry_out(monkeypatch) == 1
    assert "build the image anew" in capsys.readouterr().err


@pytest.mark.live
def test_an_image_without_claude_code_gets_it_where_that_is_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "usr/local/bin/claude").unlink()
    home = root / pwd.getpwuid(os.geteuid()).pw_dir.lstrip("/")
    fetched: list[str] = []

    def run(*argv: str) -> int:
        if argv[0] == "install":
            return subprocess.run(argv, check=False, timeout=15).returncode
        if argv[0] == "bash":
            fetched.append(argv[-1])
            binary = home / ".local/share/claude/versions" / argv[-1]
            binary.parent.mkdir(parents=True)
            binary.write_text("the agent")
            (home / ".local/bin").mkdir()
            (home / ".local/bin/claude").symlink_to(binary)
        return 0

    monkeypatch.setattr(guest, "run", run)
    for _ in range(2):
        assert carry_out(monkeypatch, claude_version="2.1.300") == 0
    assert fetched == ["2.1.300"]
    installed = root / "usr/local/bin/claude"
    assert (installed.read_text(), os.access(installed, os.X_OK)) == ("the agent", True)
    assert not os.path.lexists(home / ".local/bin/claude")


def test_claude_code_that_cannot_be_fetched_is_told_with_what_it_takes(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "usr/local/bin/claude").unlink()
    monkeypatch.setattr(guest, "run", lambda *argv: int(argv[0] == "bash"))
    assert carry_out(monkeypatch, claude_version="2.1.300") == 1
    assert 'network = "open"' in capsys.readouterr().err


def test_flags_come_and_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = root / "home/admin/.local/bin/claude"
    carry_out(monkeypatch, claude_flags=("--verbose",))
    assert "--verbose" in wrapper.read_text()
    assert os.access(wrapper, os.X_OK)
    carry_out(monkeypatch)
    assert not wrapper.exists()


def test_secrets_are_exported_quoted_and_only_the_user_can_read_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    luggage = Luggage(variables=(Variable("GH_TOKEN", "it's $HOME"),))
    carry_out(monkeypatch, luggage=luggage)
    file = root / "home/admin/.tachikoma/env"
    assert "export GH_TOKEN='it'\\''s $HOME'\n" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "x-access-token" in (root / "etc/gitconfig").read_text()
    carry_out(monkeypatch)
    assert "GH_TOKEN" not in file.read_text() + (root / "etc/gitconfig").read_text()


def test_settings_and_servers_of_the_host_come_and_go(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: dict[str, dict[str, object]] = {"x": {"command": "x", "env": {"TOKEN": "t"}}}
    carry_out(monkeypatch, luggage=Luggage(settings={"model": "opus"}, mcp_servers=servers))
    state, settings = root / "home/admin/.claude.json", root / "home/admin/.claude/settings.json"
    assert json.loads(state.read_text())["mcpServers"] == servers
    assert json.loads(settings.read_text())["model"] == "opus"
    carry_out(monkeypatch)
    assert "mcpServers" not in json.loads(state.read_text())
    assert "model" not in json.loads(settings.read_text())
    assert json.loads(settings.read_text())["skipDangerousModePermissionPrompt"] is True
    assert "TOKEN" not in (root / "home/admin/.tachikoma/carried").read_text()


def test_what_the_vms_user_chose_since_beats_what_the_host_had_all_along(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "home/admin/.claude/settings.json"
    carry_out(monkeypatch, luggage=Luggage(settings={"model": "opus", "verbose": True}))
    file.write_text(json.dumps({"model": "sonnet", "verbose": True}))
    carry_out(monkeypatch, luggage=Luggage(settings={"model": "opus", "verbose": False}))
    found = json.loads(file.read_text())
    assert (found["model"], found["verbose"]) == ("sonnet", False)


SHARED = (("claude-skills", Path("/home/u/.claude/skills")),)


def test_a_share_is_mounted_read_only_and_linked_for_claude_code_and_goes_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[tuple[str, int]] = []

    def mount(tag: str, path: str, flags: int) -> int:
        attached.append((tag, flags))
        return 0

    monkeypatch.setattr(guest, "mount", mount)
    memory = Path("/home/u/.claude/projects/-s-app/memory")
    assert carry_out(monkeypatch, mounts=(*SITE.mounts, *SHARED, ("memory", memory))) == 0
    assert attached == [("code", 6), ("dotgit", 6), ("claude-skills", 7), ("memory", 7)]
    links = root / "home/admin/.claude"
    assert (links / "skills").readlink() == SHARED[0][1]
    assert (links / "projects/-s-app/memory").readlink() == memory
    assert carry_out(monkeypatch) == 0
    assert not (links / "skills").is_symlink()
    assert (links / "projects/-s-app").is_dir()


@pytest.mark.parametrize("own", ["a file", "a link"])
def test_what_the_vm_has_of_its_own_is_not_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    skills = root / "home/admin/.claude/skills"
    skills.mkdir(parents=True)
    (skills / "mine").write_text("x")
    if own == "a link":
        (root / "home/admin/.claude").rename(root / "home/admin/elsewhere")
        (root / "home/admin/.claude").symlink_to(root / "home/admin/elsewhere")
    assert carry_out(monkeypatch, mounts=SHARED) == 0
    assert (skills / "mine").read_text() == "x"


def test_an_empty_directory_gives_way_to_a_share(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "home/admin/.claude/skills").mkdir(parents=True)
    assert carry_out(monkeypatch, mounts=SHARED) == 0
    assert (root / "home/admin/.claude/skills").is_symlink()


def test_a_share_of_the_same_home_is_where_it_belongs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = (("claude-skills", Path("/home/admin/.claude/skills")),)
    assert carry_out(monkeypatch, mounts=same) == 0
    assert (root / "home/admin/.claude/skills").is_dir()
    assert not (root / "home/admin/.claude/skills").is_symlink()


def with_scripts(*scripts: tuple[str, bytes]) -> dict[str, object]:
    return {"luggage": Luggage(scripts=scripts), "worktree": Path("/home/u/app-topic")}


@pytest.mark.live
def test_scripts_run_once_in_order_in_the_worktree_as_a_login_shell_would(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "home/u/app-topic").mkdir(parents=True)
    log = root / "log"
    first = b'pwd >> %s; echo "$TACHIKOMA $HOME" >> %s; cat; echo @tachikoma ready x\n'
    name = str(log).encode()
    plan = with_scripts(
        ("a b.sh", first % (name, name)),
        ("c.py", b"#!/usr/bin/env python3\nopen('%s', 'a').write('python\\n')\n" % name),
    )
    assert carry_out(monkeypatch, **plan) == 0
    home = root / "home/admin"
    assert log.read_text().splitlines() == [
        str(root / "home/u/app-topic"),
        f"1 {home}",
        "python",
    ]
    said = capfd.readouterr()
    assert "@tachikoma step script a b.sh" in said.out
    assert "@tachikoma ready x" not in said.out
    assert "@tachikoma ready x" in said.err
    assert carry_out(monkeypatch, **plan) == 0
    assert len(log.read_text().splitlines()) == 3
    changed = with_scripts(("a b.sh", b"echo changed >> %s" % name))
    assert carry_out(monkeypatch, **changed) == 0
    assert log.read_text().splitlines()[3:] == ["changed"]


@pytest.mark.live
def test_a_script_that_fails_stops_the_rest_tells_its_output_and_runs_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "home/u/app-topic").mkdir(parents=True)
    plan = with_scripts(("a.sh", b"echo it broke here; exit 7"), ("b.sh", b"echo never"))
    for _ in range(2):
        assert carry_out(monkeypatch, **plan) == 1
        said = capfd.readouterr().err
        assert "it broke here" in said
        assert "scripts: the script a.sh ended with status 7" in said
        assert "never" not in said
    assert not (root / "run/tachikoma/ready").exists()


def test_a_directory_that_holds_the_worktree_gets_the_mount_itself(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[tuple[str, str]] = []
    (root / "src/app.git").mkdir(parents=True)

    def mount(tag: str, path: str, flags: int) -> int:
        attached.append((tag, path))
        return 0

    monkeypatch.setattr(guest, "mount", mount)
    carry_out(monkeypatch, mounts=(("dotgit", Path("/src/app.git")),))
    assert attached == [("dotgit", f"{root}/src/app.git")]
