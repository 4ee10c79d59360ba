"""A Debian root file system and a disk made of it, without root where the system allows it.

All of it runs in a namespace of its own: mounts made while packages are set up vanish with it,
and whoever owns the directory is root there, so that it may lie anywhere the user can write.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tachikoma.host import process
from tachikoma.hypervisor.qemu import images_guest as guest
from tachikoma.model.errors import CommandFailed, MissingToolError, PermissionDeniedError

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DISK_GIB = 32
_ADMIN_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"
_PROBE_S = 10.0
_PACKAGES_S = 1800.0
_DISK_S = 600.0
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
_HOLD_SOURCES = (
    f'[ ! -s "$TACHIKOMA_SOURCES" ] || {{ cd "$1"; mv {guest.INSIDE_SOURCES} {guest.HELD_SOURCES};'
    f' cp "$TACHIKOMA_SOURCES" {guest.INSIDE_SOURCES}; }}'
)
_PROXY = re.compile(r"(https?|ftp|all|no)_proxy", re.IGNORECASE)
_UNPACKED = re.compile(r"(Unpacking|Setting up) (\S+)")
_STAGE = re.compile(r"I: ((?:running apt-get|downloading|extracting|cleaning) .*?)\.*$")
_TOTAL = re.compile(r"\d+ upgraded, (\d+) newly installed")
_NO_SPACE = re.compile("No space left on device|don't have enough free space")
# What the first of two such lines leaves out; only the progress shown depends on it.
_USUAL_TOTAL = 200


class Namespace:
    """Where commands run as root over the user's own files; they die with this process."""

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        self._prefix: list[str] = []
        proxies = {name: value for name, value in environ.items() if _PROXY.fullmatch(name)}
        self._environ = proxies | {"PATH": f"{environ.get('PATH', '')}:{_ADMIN_PATHS}"}

    async def enter(self) -> None:
        """Find out how to get there. Nothing else of it works before.

        Raises:
            MissingToolError: a program is missing; the hint names its package.
            PermissionDeniedError: the system does not let this user have namespaces.
        """
        tools = dict(TOOLS) if os.geteuid() == 0 else TOOLS | {"newuidmap": "uidmap"}
        for program, package in tools.items():
            if process.which(program, also=_everywhere(program)) is None:
                raise MissingToolError(
                    f"the program {program} is not installed; it takes part in building images",
                    hint=f"install it: `apt-get install {package}`",
                )
        prefix = namespace_argv(root=os.geteuid() == 0)
        try:
            await process.run([*prefix, "true"], deadline_s=_PROBE_S, env=self._environ)
        except CommandFailed as error:
            if os.geteuid() == 0:  # a container without namespaces: root as it is must do
                return
            raise _not_allowed(error) from error
        self._prefix = prefix

    async def run(self, argv: list[str], *, deadline_s: float = _DISK_S) -> None:
        """Run a command there.

        Raises:
            CommandFailed: it failed.
        """
        await process.run([*self._prefix, *argv], deadline_s=deadline_s, env=self._environ)

    async def stream(
        self, argv: list[str], *, env: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        """Run a long command there and hand on what it says.

        Raises:
            CommandFailed: it failed.
        """
        await process.stream(
            [*self._prefix, *argv],
            on_line=on_line,
            deadline_s=_PACKAGES_S,
            env=self._environ | dict(env),
        )

    async def remove(self, tree: Path) -> None:
        """Remove a directory in which files may belong to ids that only exist there."""
        await self.run(["rm", "-rf", "--one-file-system", "--", str(tree)])


def namespace_argv(*, root: bool) -> list[str]:
    """Give the beginning of a command line that puts the rest into a namespace.

    If we die, so does ``unshare``, and with it every process in its process namespace.
    """
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *(() if root else ("--user", "--map-root-user", "--map-auto")),
        "--",
    ]


def mmdebstrap_argv(root: Path, packages: tuple[str, ...], *, options: Path) -> list[str]:
    """Give the command that installs ``packages`` into the new directory ``root``.

    Its hooks find their files by environment variables, so that no path needs quoting:
    ``TACHIKOMA_EARLY`` and ``TACHIKOMA_FILES`` are directories laid over the root before and
    after the packages, ``TACHIKOMA_SETUP`` is a script run inside, ``TACHIKOMA_SOURCES`` the
    sources.list to install from; empty, it is the one that stays in the image.
    """
    return [
        "mmdebstrap",
        *("--mode=root", "--format=directory", "--variant=apt", "--verbose"),
        f"--aptopt={options}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f"--include={','.join(packages)}",
        '--setup-hook=cp -R --preserve=mode "$TACHIKOMA_EARLY/." "$1/"',
        f"--setup-hook={_HOLD_SOURCES}",
        '--customize-hook=cp -R --preserve=mode --remove-destination "$TACHIKOMA_FILES/." "$1/"',
        '--customize-hook=chroot "$1" /bin/sh < "$TACHIKOMA_SETUP"',
        guest.SUITE,
        str(root),
    ]


def disk_argv(root: Path, raw: Path) -> list[str]:
    """Give the command that makes a disk of a directory, without mounting anything."""
    return ["mke2fs", *("-q", "-t", "ext4"), *("-d", str(root)), *("-L", "root"), *("-m", "1"),
            *("-E", "root_owner=0:0"), str(raw), f"{DISK_GIB}G"]  # fmt: skip


def convert_argv(raw: Path, disk: Path) -> list[str]:
    """Give the command that packs a raw disk into a small one.

    Compression makes it less than half as big; no start-up was seen to be slower for it.
    """
    return ["qemu-img", "convert", *("-O", "qcow2"), *("-c", "-o", "compression_type=zstd"),
            *("-W", "-m", "8"), str(raw), str(disk)]  # fmt: skip


class Unpacking:
    """Turns what mmdebstrap says into how far it is."""

    def __init__(self) -> None:
        self._done = 0
        self._announced: list[int] = []
        self.no_space = False

    def hear(self, line: str) -> tuple[str, float] | None:
        """Give a text and a fraction if the line says that something went on."""
        self.no_space |= _NO_SPACE.search(line) is not None
        if (total := _TOTAL.match(line)) is not None:
            self._announced.append(int(total[1]))
            return None
        if (stage := _STAGE.match(line)) is not None:
            return stage[1], self._fraction()
        if (found := _UNPACKED.match(line)) is None:
            return None
        self._done += 1
        return f"{found[1].lower()} {found[2].partition(':')[0]}", self._fraction()

    def _fraction(self) -> float:
        known = sum(self._announced)
        total_now = known if len(self._announced) > 1 else max(known, _USUAL_TOTAL)
        return min(self._done / (2 * total_now), 1.0)


def _everywhere(program: str) -> list[str]:
    return [f"{directory}/{program}" for directory in _ADMIN_PATHS.split(":")]


def hint_for(user: str, said: str) -> str:
    """Say what lets ``user`` make a user namespace, after ``unshare`` has said why not."""
    if "--map-auto" in said:
        return "it takes util-linux 2.38 or newer; or build the image as root"
    if "sub" in said or "newuidmap" in said or "newgidmap" in said:
        return (
            f"as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`;"
            " or build the image as root"
        )
    return (
        "as root: `sysctl kernel.unprivileged_userns_clone=1` (Debian) or"
        " `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu);"
        " or build the image as root"
    )


def _not_allowed(error: CommandFailed) -> PermissionDeniedError:
    user = pwd.getpwuid(os.geteuid()).pw_name
    return PermissionDeniedError(
        f"the system does not let {user} make a user namespace, in which images are built",
        hint=hint_for(user, error.stderr),
        details=error.details,
    )
