from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tachikoma.hypervisor.qemu import images_root as rootfs
from tachikoma.model.errors import MissingToolError, PermissionDeniedError

LISTED = """\
I: running apt-get update...
2 upgraded, 3 newly installed, 0 to remove and 0 not upgraded.
I: extracting archives...
Unpacking libc6:amd64 (2.36) ...
noise
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Setting up git (1:2.39) ...
"""


def test_what_mmdebstrap_says_becomes_progress() -> None:
    unpacking = rootfs.Unpacking()
    heard = [progress for line in LISTED.splitlines() if (progress := unpacking.hear(line))]
    assert heard == [
        ("running apt-get update", 0.0),
        ("extracting archives", 0.0),
        ("unpacking libc6", 1 / 400),
        ("setting up git", 2 / 8),
    ]
    assert not unpacking.no_space


def test_progress_never_passes_the_end() -> None:
    unpacking = rootfs.Unpacking()
    heard = [unpacking.hear(f"Setting up p{number} (1) ...") for number in range(1000)]
    assert heard[-1] == ("setting up p999", 1.0)


@pytest.mark.parametrize(
    "line",
    [
        "tar: ./x: Cannot open: No space left on device",
        "E: You don't have enough free space in /var/cache/apt/archives/.",
    ],
)
def test_a_full_disk_is_noticed(line: str) -> None:
    unpacking = rootfs.Unpacking()
    unpacking.hear(line)
    unpacking.hear("another line")
    assert unpacking.no_space


def test_without_root_the_namespace_has_ids_of_its_own() -> None:
    plain = rootfs.namespace_argv(root=True)
    assert plain == [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
    ]
    own = rootfs.namespace_argv(root=False)
    assert own == [*plain[:-1], "--user", "--map-root-user", "--map-auto", "--"]


def test_paths_reach_the_hooks_unquoted_by_variables() -> None:
    argv = rootfs.mmdebstrap_argv(Path("/a 'b'/root"), ("git", "jq"), options=Path("/a 'b'/apt"))
    assert argv[-2:] == ["bookworm", "/a 'b'/root"]
    assert "--aptopt=/a 'b'/apt" in argv
    assert "--include=git,jq" in argv
    assert not [part for part in argv if "hook" in part and "/a " in part]


def test_a_disk_is_made_of_a_directory_and_packed() -> None:
    assert rootfs.disk_argv(Path("/r"), Path("/raw")) == [
        *("mke2fs", "-q", "-t", "ext4", "-d", "/r", "-L", "root", "-m", "1"),
        *("-E", "root_owner=0:0", "/raw", "32G"),
    ]
    assert rootfs.convert_argv(Path("/raw"), Path("/disk")) == [
        *("qemu-img", "convert", "-O", "qcow2", "-c", "-o", "compression_type=zstd"),
        *("-W", "-m", "8", "/raw", "/disk"),
    ]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ('unshare: no line matching user "u" in /etc/subuid', "usermod --add-subuids"),
        ("unshare: unrecognized option '--map-auto'", "util-linux 2.38"),
        ("unshare: unshare failed: Operation not permitted", "sysctl"),
    ],
)
def test_a_refused_namespace_says_what_allows_it(said: str, hint: str) -> None:
    assert hint in rootfs.hint_for("u", said)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with stand-ins that do nothing for all programs that a build takes."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in {*rootfs.TOOLS, "newuidmap", "sh", "rm", "true"}:
        if name in {"sh", "rm", "true"}:
            (place / name).symlink_to(shutil.which(name) or "/nowhere")
            continue
        (place / name).write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place))
    return place


@pytest.mark.live
async def test_the_namespace_is_entered_where_the_system_allows_it(tmp_path: Path) -> None:
    namespace = rootfs.Namespace(environ=os.environ)
    try:
        await namespace.enter()
    except (MissingToolError, PermissionDeniedError) as refused:
        pytest.skip(refused.message)
    (tmp_path / "a b" / "c").mkdir(parents=True)
    await namespace.remove(tmp_path / "a b")
    assert not (tmp_path / "a b").exists()


@pytest.mark.live
async def test_a_missing_program_is_named_with_its_package(tools: Path) -> None:
    (tools / "mmdebstrap").unlink()
    if Path("/usr/local/sbin/mmdebstrap").exists():
        pytest.skip("it is in a directory that is always looked at")
    with pytest.raises(MissingToolError) as raised:
        await rootfs.Namespace(environ={"PATH": str(tools)}).enter()
    assert raised.value.hint == "install it: `apt-get install mmdebstrap`"


@pytest.mark.live
async def test_a_user_without_namespaces_is_told_what_is_missing(tools: Path) -> None:
    (tools / "setpriv").write_text("#!/bin/sh\necho nothing in /etc/subuid >&2\nexit 1\n")
    namespace = rootfs.Namespace(environ={"PATH": str(tools)})
    if os.geteuid() == 0:
        await namespace.enter()  # root does without, in a container say
        await namespace.run(["true"])
        return
    with pytest.raises(PermissionDeniedError) as raised:
        await namespace.enter()
    assert "usermod --add-subuids" in raised.value.hint
