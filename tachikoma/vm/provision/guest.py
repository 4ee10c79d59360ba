"""The provisioning of a VM. Runs in the guest as root: Python 3.9 or newer, no package of ours.

``plan.py`` sends this, ``guest_values`` in it, and the plan as JSON on standard input, at every
start and whenever the plan changes. What a user may have changed in the VM is kept; running it
again at any point is safe. It is one process, since each costs 50 ms on an emulated CPU. It ends
one that still runs: a host that was killed cannot stop what it began.
"""

import fcntl
import json
import os
import pwd
import sys
import time

from tachikoma.vm.provision.guest_values import decoded, git_quoted, merged, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing it takes a tenth of a second in the guest
    from typing import Any

    Plan = dict[str, Any]

ROOT = ""
"""Before every absolute path; only tests set it."""
DOTGIT = "/mnt/tachikoma/dotgit"
SHARES = "/run/tachikoma/shares"
"""Where a share is mounted whose directory is not the root of its mount."""
INSTALL_CLAUDE = """\
set -o pipefail
url=https://claude.ai/install.sh
{ curl -fsSL "$url" || wget -qO- "$url"; } | bash -s -- "$1" >&2
"""
READY = "/run/tachikoma/ready"
LOCK = "/run/tachikoma/lock"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
OWN_HOST_KEY = "/etc/ssh/tachikoma_made_the_host_key"
"""Is there once the host keys are not those of the image any more."""
CLAUDE = "/usr/local/bin/claude"
TMP_RULES = "/etc/tmpfiles.d/tmp.conf"
"""Our images have it. Without it, a boot empties /tmp, and nothing may be mounted there before."""
SOURCE_LINE = '[ -r "$HOME/.tachikoma/env" ] && . "$HOME/.tachikoma/env"'
SSH_PORT = 22
LISTENING = "0A"
"""How the kernel's table of sockets says it."""
SCRIPTS = "/var/lib/tachikoma/scripts"
"""What the user's scripts are run from; beside each that has succeeded, a file says so."""
CARRIED = "/.tachikoma/carried"
"""Below the home directory: what of the host's was put in place the last time."""
PATIENCE_S = 10.0
PAUSE_S = 0.05
DRIFT_S = 2.0
KILL = 9
"""signal.SIGKILL; the module takes too long to import."""
MOUNT_FLAGS = 2 | 4
"""MS_NOSUID and MS_NODEV. One system call takes less than starting one ``mount``."""
READ_ONLY = 1

GIT_CONFIG = """\
# Written by tachikoma at every start; your own settings go into ~/.gitconfig.
# The other worktrees of the repository do not exist here: git must not take them for deleted and
# prune them. Inodes and owners look different on the two sides of the mount: comparing them
# would make each side read every file again after the other had looked.
[safe]
	directory = *
[gc]
	auto = 0
	worktreePruneExpire = never
[core]
	checkStat = minimal
	trustctime = false
"""


class Failed(Exception):
    """A step cannot be done; the text says why."""


def main() -> int:
    """Carry out the plan on standard input, telling the host step by step."""
    plan = json.load(sys.stdin)
    lock = alone()
    try:
        return carry_out(plan)
    finally:
        os.ftruncate(lock, 0)
        os.close(lock)


def alone() -> int:
    """Be the only one who sets this guest up, ending whoever does; gives the lock's descriptor."""
    way_to("/run/tachikoma")
    lock = os.open(ROOT + LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            end(os.pread(lock, 20, 0))
            time.sleep(PAUSE_S)
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d" % os.getpid(), 0)
    return lock


def end(pid: bytes) -> None:
    """Kill a process that may be gone already, with the script that it may be running."""
    for kill in (os.killpg, os.kill):
        try:
            return kill(int(pid), KILL)
        except (ValueError, ProcessLookupError):
            pass  # it leads no group, has not written its id yet, or has just ended
    return None


def carry_out(plan: "Plan") -> int:
    """Do every step and write down that they are done."""
    if os.path.lexists(ROOT + READY):
        os.unlink(ROOT + READY)
    name = "begin"
    set_clock(plan["now"])
    try:
        for name, step in STEPS:
            say("step " + name)
            step(plan)
    except (Failed, OSError, KeyError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    write(READY, plan["digest"] + "\n", 0o644, None)
    say("ready " + plan["digest"])
    return 0


def set_clock(now: float) -> None:
    """Put the clock of a machine that has slept right; a difference of the way here stays."""
    if not ROOT and abs(time.time() - now) > DRIFT_S:
        time.clock_settime(time.CLOCK_REALTIME, now)


def ssh_key(plan: "Plan") -> None:
    """Let the host's user in."""
    owner = owner_of(plan)
    directory = owner.pw_dir + "/.ssh"
    private(directory, owner)
    add_line(directory + "/authorized_keys", plan["public_key"], 0o600, owner)


def mounts(plan: "Plan") -> None:
    """Put every share where the host has it; the git directory by a symlink at its host path.

    Where that path is a directory already (it holds the worktree), it is mounted there.
    """
    within = plan["share_name"]
    for tag, path, read_only in plan["mounts"]:
        if tag == "dotgit" and (os.path.islink(ROOT + path) or not os.path.isdir(ROOT + path)):
            attach(tag, DOTGIT, within, read_only=read_only)
            way_to(os.path.dirname(path))
            link(DOTGIT, path)
        else:
            attach(tag, path, within, read_only=read_only)
    code = owner_of(plan).pw_dir + "/code"
    if os.path.islink(ROOT + code) or not os.path.exists(ROOT + code):
        link(plan["worktree"], code)


def hostname(plan: "Plan") -> None:
    """Name the machine after its branch, and let it find itself by that name."""
    name = plan["hostname"]
    if read("/etc/hostname").strip() != name:
        write("/etc/hostname", name + "\n", 0o644, None)
    if read("/proc/sys/kernel/hostname").strip() != name:
        with open(ROOT + "/proc/sys/kernel/hostname", "w") as file:
            file.write(name)
    lines = read("/etc/hosts").splitlines()
    kept = [line for line in lines if line.split()[:1] != ["127.0.1.1"]]
    if [*kept, "127.0.1.1 " + name] != lines:
        write("/etc/hosts", "\n".join([*kept, "127.0.1.1 " + name]) + "\n", 0o644, None)


def environment(plan: "Plan") -> None:
    """Give the user's login shells their variables, in a file of ours that they source."""
    owner = owner_of(plan)
    for directory in (owner.pw_dir + "/.tachikoma", "/var/tmp/cc"):
        private(directory, owner)
    text = plan["environment"]
    for name, encoded in plan["secrets"]:
        text += f"export {name}={quoted(decoded(encoded))}\n"
    write(owner.pw_dir + "/.tachikoma/env", text, 0o600, owner)
    add_line(owner.pw_dir + "/.profile", SOURCE_LINE, 0o644, owner)


def git(plan: "Plan") -> None:
    """Make git here a good neighbour of git on the host, with the same identity."""
    text = GIT_CONFIG
    if plan["identity"]:
        name, email = (git_quoted(value) for value in plan["identity"])
        text += f"[user]\n\tname = {name}\n\temail = {email}\n"
    write("/etc/gitconfig", text + plan["git_config"], 0o644, None)


def claude(plan: "Plan") -> None:
    """See to it that the first screen of Claude Code is a prompt."""
    if not os.access(ROOT + CLAUDE, os.X_OK) and plan["claude_version"]:
        install_claude(plan["claude_version"])
    if not os.access(ROOT + CLAUDE, os.X_OK):
        raise Failed("Claude Code is not in this VM's image; build the image anew")
    owner = owner_of(plan)
    private(owner.pw_dir + "/.claude", owner)
    before = json_of(owner.pw_dir + CARRIED)
    for name, file in (("first_run", "/.claude.json"), ("settings", "/.claude/settings.json")):
        merge(owner.pw_dir + file, before.get(name, {}), plan[name], owner)
    for path, target in before.get("links", []):
        if [path, target] not in plan["links"]:
            unlink(owner.pw_dir + "/" + path, target)
    for path, target in plan["links"]:
        show(target, path, owner)
    ours = {name: plan[name] for name in ("first_run", "settings", "links")}
    write(owner.pw_dir + CARRIED, json.dumps(ours), 0o600, owner)
    wrap(plan["claude_wrapper"], owner)


def wrap(text: str, owner: pwd.struct_passwd) -> None:
    """Have a program of ours before Claude Code on the user's PATH, or none if it has no text."""
    wrapper = owner.pw_dir + "/.local/bin/claude"
    if text:
        for directory in (owner.pw_dir + "/.local", owner.pw_dir + "/.local/bin"):
            if not os.path.isdir(ROOT + directory):
                os.mkdir(ROOT + directory, 0o755)
                os.chown(ROOT + directory, owner.pw_uid, owner.pw_gid)
        write(wrapper, text, 0o755, owner)
    elif os.path.lexists(ROOT + wrapper):
        os.unlink(ROOT + wrapper)


def install_claude(version: str) -> None:
    """Fetch Claude Code with its own installer, which checks what it gets, for all users."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    if run("bash", "-c", INSTALL_CLAUDE, "bash", version) != 0:
        raise Failed(
            "Claude Code is not in this VM's image and cannot be fetched from claude.ai: it takes "
            'network = "open" and a way to the internet, or an image that has it'
        )
    got = os.path.realpath(ROOT + home + "/.local/bin/claude")
    run("install", "-m", "755", got, ROOT + CLAUDE + ".new")
    os.replace(ROOT + CLAUDE + ".new", ROOT + CLAUDE)
    for left in (got, ROOT + home + "/.local/bin/claude"):
        if os.path.lexists(left):
            os.unlink(left)


def host_keys(plan: "Plan") -> None:
    """Tell the SSH host key, which a first boot makes about now, and see its server listen."""
    if plan["public_host_keys"] and not os.path.exists(ROOT + OWN_HOST_KEY):
        make_host_key()
    end = time.monotonic() + PATIENCE_S
    while not (words := read(HOST_KEY + ".pub").split()):
        if time.monotonic() > end:
            raise Failed(f"there is no {HOST_KEY}.pub")
        time.sleep(PAUSE_S)
    say(f"hostkey {words[0]} {words[1]}")
    while not listens(SSH_PORT):
        if time.monotonic() > end:
            raise Failed(f"nothing listens on port {SSH_PORT}")
        time.sleep(PAUSE_S)


def scripts(plan: "Plan") -> None:
    """Run the user's scripts that have not succeeded in this VM yet, as the user."""
    owner = owner_of(plan)
    for name, digest, encoded in plan["scripts"]:
        place = f"{SCRIPTS}/{digest}"
        if os.path.exists(ROOT + place + ".done"):
            continue
        say("step script " + name)
        way_to(SCRIPTS)
        write(place, decoded(encoded), 0o755, None)
        status = run_as(owner, plan["worktree"], ROOT + place)
        if status != 0:
            raise Failed(f"the script {name} ended with status {status}")
        write(place + ".done", "", 0o644, None)


def make_host_key() -> None:
    """Put one new host key in place of all that are there."""
    new = HOST_KEY + ".new"
    for left in (new, new + ".pub"):
        if os.path.exists(ROOT + left):
            os.unlink(ROOT + left)
    if run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ROOT + new) != 0:
        raise Failed("ssh-keygen makes no host key")
    for name in os.listdir(ROOT + "/etc/ssh"):
        if name.startswith("ssh_host_") and ".new" not in name:
            os.unlink(ROOT + "/etc/ssh/" + name)
    os.replace(ROOT + new, ROOT + HOST_KEY)
    os.replace(ROOT + new + ".pub", ROOT + HOST_KEY + ".pub")
    run("systemctl", "try-restart", "ssh.service", "sshd.service")
    write(OWN_HOST_KEY, "", 0o644, None)


STEPS = [
    ("ssh-key", ssh_key),
    ("mounts", mounts),
    ("hostname", hostname),
    ("environment", environment),
    ("git", git),
    ("claude", claude),
    ("host-keys", host_keys),
    ("scripts", scripts),
]


def listens(port: int) -> bool:
    """Tell whether something listens on a TCP port."""
    rows = [row.split() for row in (read("/proc/net/tcp") + read("/proc/net/tcp6")).splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == LISTENING for row in rows)


def say(text: str) -> None:
    """Tell the host."""
    print("@tachikoma " + text, flush=True)


def owner_of(plan: "Plan") -> pwd.struct_passwd:
    """Look up the user whom the agent works as."""
    return pwd.getpwnam(plan["user"])


def attach(tag: str, path: str, within: str, *, read_only: bool) -> None:
    """Mount a share, or what it has under the name ``within``."""
    if os.path.ismount(ROOT + path):
        return
    if path.startswith(("/tmp/", "/var/tmp/")) and not os.path.exists(ROOT + TMP_RULES):
        run("systemctl", "start", "systemd-tmpfiles-setup.service")
    if within:
        attach(tag, SHARES + "/" + tag, "", read_only=read_only)
        way_to(path)
        whole = ROOT + SHARES + "/" + tag + "/" + within
        if run("mount", "--bind", whole, ROOT + path) != 0 and not os.path.ismount(ROOT + path):
            raise Failed("the share " + tag + " cannot be shown at " + path)
        return
    way_to(path)
    if "virtiofs" not in read("/proc/filesystems"):
        run("modprobe", "-q", "virtiofs")
    flags = MOUNT_FLAGS | (READ_ONLY if read_only else 0)
    end = time.monotonic() + PATIENCE_S  # its device may be on its way in a boot's first second
    while error := mount(tag, ROOT + path, flags):
        if os.path.ismount(ROOT + path):
            return  # by the last act of a run that was ended
        if time.monotonic() > end:
            raise Failed(f"the share {tag} cannot be mounted at {path}: {os.strerror(error)}")
        time.sleep(PAUSE_S)


def mount(tag: str, path: str, flags: int) -> int:
    """Mount a share by its tag, and give the number of what went wrong, or 0."""
    import ctypes  # as long as half a process, and only where there is something to mount

    libc = ctypes.CDLL(None, use_errno=True)
    names = (tag.encode(), os.fsencode(path), b"virtiofs")
    if libc.mount(*names, ctypes.c_ulong(flags), None) == 0:
        return 0
    return ctypes.get_errno()


def show(target: str, path: str, owner: pwd.struct_passwd) -> None:
    """Have a share where Claude Code looks for it, unless the VM has something of its own there."""
    place = owner.pw_dir
    for part in path.split("/")[:-1]:
        place += "/" + part
        if os.path.islink(ROOT + place):
            return
        private(place, owner)
    place = owner.pw_dir + "/" + path
    if place == target:
        return
    if os.path.isdir(ROOT + place) and not os.path.islink(ROOT + place):
        try:
            os.rmdir(ROOT + place)
        except OSError:
            return
    link(target, place)


def unlink(path: str, target: str) -> None:
    """Take away a link to a share that is no longer there."""
    if os.path.islink(ROOT + path) and os.readlink(ROOT + path) == target:
        os.unlink(ROOT + path)


def way_to(path: str) -> None:
    """Make what is missing of a directory, and let everybody pass through it and those above."""
    if path != "/":
        way_to(os.path.dirname(path))
    if not os.path.isdir(ROOT + path):
        os.mkdir(ROOT + path, 0o755)
    mode = os.stat(ROOT + path).st_mode
    if not mode & 0o001 and not os.path.ismount(ROOT + path):
        os.chmod(ROOT + path, mode & 0o7777 | 0o001)


def private(path: str, owner: pwd.struct_passwd) -> None:
    """Have a directory for the user alone."""
    if not os.path.isdir(ROOT + path):
        os.mkdir(ROOT + path)
    os.chown(ROOT + path, owner.pw_uid, owner.pw_gid)
    os.chmod(ROOT + path, 0o700)


def add_line(path: str, line: str, mode: int, owner: pwd.struct_passwd) -> None:
    """Have a line in a file of the user's."""
    text = read(path)
    if line not in text.splitlines():
        write(
            path,
            text + ("" if not text or text.endswith("\n") else "\n") + line + "\n",
            mode,
            owner,
        )


def merge(path: str, before: "Plan", ours: "Plan", owner: pwd.struct_passwd) -> None:
    """Have our values in a JSON file; what else is there stays. A broken file is made anew."""
    result = merged(json_of(path), before, ours)
    write(path, json.dumps(result, indent=2) + "\n", 0o600, owner)


def json_of(path: str) -> "Plan":
    """Give the object in a JSON file; an empty one if there is none."""
    try:
        found = json.loads(read(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read(path: str) -> str:
    """Give the text of a file, empty if there is none."""
    try:
        with open(ROOT + path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def write(path: str, text: str, mode: int, owner: "pwd.struct_passwd | None") -> None:
    """Put a file in place, whole or not at all."""
    new = ROOT + path + ".new"
    with open(new, "w", encoding="utf-8", errors="surrogateescape") as file:
        if owner is not None:
            os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
        os.fchmod(file.fileno(), mode)
        file.write(text)
    os.replace(new, ROOT + path)


def link(target: str, path: str) -> None:
    """Have a symlink, in place of one that may be there."""
    if os.path.islink(ROOT + path):
        if os.readlink(ROOT + path) == target:
            return
        os.unlink(ROOT + path)
    os.symlink(target, ROOT + path)


def run_as(owner: pwd.struct_passwd, directory: str, script: str) -> int:
    """Run a script as a login shell of the user's would, and give its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(2, 1)  # what it says must not be taken for what this says
            become(owner)
            os.chdir(ROOT + directory)
            home, shell = owner.pw_dir, owner.pw_shell
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            names = {"HOME": ROOT + home, "USER": owner.pw_name, "LOGNAME": owner.pw_name}
            names |= {"SHELL": shell, "PATH": path, "LANG": "C.UTF-8"}
            os.execve("/bin/bash", ["bash", "-lc", 'exec "$0"', script], names)
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def become(owner: pwd.struct_passwd) -> None:
    """Be the user from now on."""
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)


def run(*argv: str) -> int:
    """Run a program to its end and give its exit status."""
    return os.spawnvp(os.P_WAIT, argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())
