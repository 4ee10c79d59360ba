from __future__ import annotations

import fcntl
import io
import json
import os
import pwd
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.vm.provision import guest
from tachikoma.vm.provision.plan import make_plan
from tests.unit.vm.provision.test_plan import SITE

HOST_KEY = "ssh-ed25519 AAAAC3 root@guest\n"
SOCKETS = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
LISTENER = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n"
LISTENER_6 = f"   0: {'0' * 32}:0016 {'0' * 32}:0000 0A 00000000:00000000 00:00000000 00000000\n"
CONNECTION = "   1: 0F02000A:0016 0202000A:C350 01 00000000:00000000 00:00000000 00000000\n"
OTHER = "   2: 00000000:1600 00000000:0016 0A 00000000:00000000 00:00000000 00000000\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest's file system as far as the script touches it, and a user of it who is us."""
    user = pwd.struct_passwd(
        ("admin", "x", os.geteuid(), os.getegid(), "", "/home/admin", "/bin/sh")
    )
    for directory in (
        "etc/ssh",
        "home/admin",
        "proc/net",
        "proc/sys/kernel",
        "usr/local/bin",
        "var/tmp",
        "run",
    ):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/hostname").write_text("tachikoma\n")
    (tmp_path / "proc/filesystems").write_text("nodev\tvirtiofs\n")
    (tmp_path / "proc/net/tcp").write_text(SOCKETS + LISTENER)
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 tachikoma\n")
    (tmp_path / "etc/ssh/ssh_host_ed25519_key.pub").write_text(HOST_KEY)
    (tmp_path / "usr/local/bin/claude").touch(mode=0o755)
    monkeypatch.setattr(guest, "ROOT", str(tmp_path))
    monkeypatch.setattr(guest, "owner_of", lambda _plan: user)
    monkeypatch.setattr(guest, "run", lambda *_argv: 0)
    monkeypatch.setattr(guest, "mount", lambda _tag, _path: True)
    return tmp_path


def carry_out(monkeypatch: pytest.MonkeyPatch, **changes: object) -> int:
    plan = make_plan(replace(SITE, **changes), token="tachikoma-token", now=0.0)  # type: ignore[arg-type]  # names of Site
    monkeypatch.setattr("sys.stdin", io.StringIO(plan.stdin.decode()))
    return guest.main()


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
    monkeypatch.setattr(guest, "mount", lambda _tag, _path: False)
    monkeypatch.setattr(guest, "PATIENCE_S", 0.0)
    assert carry_out(monkeypatch) == 1
    said = capsys.readouterr()
    assert said.err == "mounts: the share code cannot be mounted at /home/u/app-topic\n"
    assert not (root / "run/tachikoma/ready").exists()


def test_a_share_whose_device_is_on_its_way_is_mounted_when_it_comes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def mount(tag: str, _path: str) -> bool:
        asked.append(tag)
        return len(asked) > 2

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
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "@tachikoma hostkey ssh-ed25519 AAAAC3",
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


def test_a_directory_that_holds_the_worktree_gets_the_mount_itself(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: list[tuple[str, str]] = []
    (root / "src/app.git").mkdir(parents=True)

    def mount(tag: str, path: str) -> bool:
        attached.append((tag, path))
        return True

    monkeypatch.setattr(guest, "mount", mount)
    carry_out(monkeypatch, mounts=(("dotgit", Path("/src/app.git")),))
    assert attached == [("dotgit", "/src/app.git")]


def test_a_share_with_its_directory_below_its_root_is_mounted_aside_and_shown_in_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts: list[tuple[str, str]] = []

    def run(*argv: str) -> int:
        if argv[:2] == ("mount", "--bind"):
            mounts.append((argv[-2], argv[-1].removeprefix(str(root))))
        return 0

    def mount(tag: str, path: str) -> bool:
        mounts.append((tag, path))
        return True

    monkeypatch.setattr(guest, "mount", mount)
    monkeypatch.setattr(guest, "run", run)
    assert carry_out(monkeypatch, share_name="share") == 0
    shares = f"{root}/run/tachikoma/shares"
    assert mounts == [
        ("code", "/run/tachikoma/shares/code"),
        (f"{shares}/code/share", "/home/u/app-topic"),
        ("dotgit", "/run/tachikoma/shares/dotgit"),
        (f"{shares}/dotgit/share", "/mnt/tachikoma/dotgit"),
    ]
    assert (root / "home/u/app/.git").readlink() == Path("/mnt/tachikoma/dotgit")


def test_a_share_that_cannot_be_shown_fails_its_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest, "run", lambda *argv: int("--bind" in argv))
    assert carry_out(monkeypatch, share_name="share") == 1
    assert "the share code cannot be shown at /home/u/app-topic" in capsys.readouterr().err


@pytest.mark.live
def test_host_keys_that_came_with_an_image_are_replaced_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ssh = root / "etc/ssh"
    (ssh / "ssh_host_rsa_key").write_text("public knowledge")
    (ssh / "ssh_host_ed25519_key.new").write_text("of a run that was killed")
    restarted: list[tuple[str, ...]] = []

    def run(*argv: str) -> int:
        if argv[0] == "ssh-keygen":
            return subprocess.run(argv, check=False, timeout=15).returncode
        restarted.append(argv)
        return 0

    monkeypatch.setattr(guest, "run", run)
    assert carry_out(monkeypatch, public_host_keys=True) == 0
    made = (ssh / "ssh_host_ed25519_key.pub").read_text()
    assert made.startswith("ssh-ed25519 ")
    assert made != HOST_KEY
    assert not (ssh / "ssh_host_rsa_key").exists()
    assert stat.S_IMODE((ssh / "ssh_host_ed25519_key").stat().st_mode) == 0o600
    assert f"@tachikoma hostkey {' '.join(made.split()[:2])}" in capsys.readouterr().out
    assert ("systemctl", "try-restart", "ssh.service", "sshd.service") in restarted
    assert carry_out(monkeypatch, public_host_keys=True) == 0
    assert (ssh / "ssh_host_ed25519_key.pub").read_text() == made


def test_without_ssh_keygen_the_public_keys_are_not_taken_for_good(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guest, "run", lambda *argv: int(argv[0] == "ssh-keygen"))
    assert carry_out(monkeypatch, public_host_keys=True) == 1
    assert "ssh-keygen makes no host key" in capsys.readouterr().err
    assert (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text() == HOST_KEY


@given(st.text(st.characters(codec="utf-8", min_codepoint=32)))
def test_git_reads_back_any_name(text: str) -> None:
    quoted = guest.git_quoted(text)
    assert quoted[1:-1].replace('\\"', '"').replace("\\\\", "\\") == text
