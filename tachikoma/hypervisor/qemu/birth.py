"""What runs inside a machine that becomes a golden snapshot: as root, Python 3.9 or newer.

It removes what tells one machine from another, stops the services that have read it, and then
waits at a serial port. There each machine that is restored from the snapshot is told who it is,
makes itself that, and answers. Then it runs one Python program for the host, as it would be run
by an interpreter of its own, except that this one is awake already: where every instruction is
emulated, starting one takes most of a second. Whoever writes to that port is the host, so what
it says is believed.

Standard input: a list of programs in JSON, which are compiled ahead. Standard output, once:
``prepared``. Over the port, a line of JSON each:

* host: ``seed`` (hex, fresh random bytes), ``now`` (seconds since the epoch), ``machine_id``,
  ``boot_id``, ``mac``, and the pair ``host_key`` and ``host_key_public`` of the SSH server
* guest: ``born``, the digests of the programs that it has compiled
* host: ``environment`` for a program, ``stdin`` (base64), and ``known``, its digest, or its text
  as ``script``
* guest: ``stdout`` or ``stderr`` (base64) as they come, at last ``status``
"""

import base64
import ctypes
import fcntl
import hashlib
import json
import os
import pwd  # noqa: F401 - what the program will want is there when it does
import select
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

PORT = "org.tachikoma.birth"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
READY = "/run/tachikoma/ready"
ARP_NOTIFY = "/proc/sys/net/ipv4/conf/eth0/arp_notify"
BOOT_ID = "/run/tachikoma/boot-id"
SERVICES = ["systemd-logind.service", "dbus.service", "dbus.socket"]
JOURNALS = "/run/log/journal"
SSHD_PID = "/run/sshd.pid"
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
SIOCSIFHWADDR = 0x8924
ARPHRD_ETHER = 1
MS_BIND = 4096
SETTLE_S = 30.0
SSHD_S = 5.0
PAUSE_S = 0.01
PIPE_HOLDS = 60 << 10
GIVE_WAY_S = 6.0


def main() -> int:
    """Become nobody, say so, and leave a process behind that waits to be born."""
    known = {digest_of(text): compile(text, "<string>", "exec") for text in json.load(sys.stdin)}
    settle()
    forget()
    port = os.open(port_path(), os.O_RDWR)
    if os.fork() == 0:
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        live(port, known)
        os._exit(0)
    print("prepared")
    return 0


def settle() -> None:
    """Let the boot come to its end: what has been done then need not be done again."""
    run("modprobe", "-q", "virtiofs")
    end = time.monotonic() + SETTLE_S
    while run("systemctl", "is-active", "--quiet", "multi-user.target") != 0:
        if time.monotonic() > end:
            break
        time.sleep(0.2)


def forget() -> None:
    """Remove this machine's identity, from the disk and from what runs."""
    run("systemctl", "stop", *SERVICES)
    for path in (HOST_KEY, HOST_KEY + ".pub", "/var/lib/systemd/random-seed"):
        if os.path.lexists(path):
            wipe(path)
    put("/etc/machine-id", "", 0o444)
    run("rm", "-rf", JOURNALS, "/var/lib/dbus/machine-id")
    for program in ("mount", "git", "ssh-keygen", "sshd"):  # in memory when they are wanted
        read_through("/usr/sbin/" + program if program == "sshd" else "/usr/bin/" + program)
    os.sync()


def live(port: int, known: "dict[str, CodeType]") -> None:
    """Be born, and run the program that the host then sends, if it does."""
    become(hear(port, patient=True))
    tell(port, {"born": sorted(known)})
    if os.fork() == 0:
        os.close(port)
        start_services()
        return
    job = hear(port, patient=False)
    if job:
        work(port, job, known)


def hear(port: int, *, patient: bool) -> "dict[str, Any]":
    """Wait for a line from the host. Nothing comes of it when the host goes, unless ``patient``."""
    heard = b""
    while not heard.endswith(b"\n"):
        piece = os.read(port, 1 << 16)  # nothing, at once, while the host is not there
        if not piece and not patient:
            return {}
        if not piece:
            time.sleep(PAUSE_S)
        heard += piece
    about = json.loads(heard)
    assert isinstance(about, dict)
    return about


def tell(port: int, what: object) -> None:
    """Say a line to the host."""
    data = json.dumps(what).encode() + b"\n"
    while data:
        data = data[os.write(port, data) :]


def become(about: "dict[str, str]") -> None:
    """Be that machine: what no other may share."""
    stir(bytes.fromhex(about["seed"]))
    time.clock_settime(time.CLOCK_REALTIME, float(about["now"]))  # it stood still since then
    put("/etc/machine-id", about["machine_id"] + "\n", 0o444)
    os.makedirs("/run/tachikoma", exist_ok=True)
    put(BOOT_ID, about["boot_id"] + "\n", 0o444)
    bind(BOOT_ID, "/proc/sys/kernel/random/boot_id")
    set_address(about["mac"])
    put(HOST_KEY, about["host_key"], 0o600)
    put(HOST_KEY + ".pub", about["host_key_public"], 0o644)
    restart_ssh()


def restart_ssh() -> None:
    """Have the SSH server use this machine's key, and no more the one that nobody owns.

    It stops listening in the moment in which it removes the file with its process id.
    """
    with open(SSHD_PID) as file:
        server = int(file.read())
    os.kill(server, signal.SIGHUP)
    end = time.monotonic() + SSHD_S
    while os.path.exists(SSHD_PID) and time.monotonic() < end:
        time.sleep(0.001)


def start_services() -> None:
    """Start what had to stop, when the host is through with what it waits for."""
    end = time.monotonic() + GIVE_WAY_S
    while not os.path.exists(READY) and time.monotonic() < end:
        time.sleep(PAUSE_S)
    run("systemctl", "restart", "systemd-journald.service")
    with open("/etc/machine-id") as file:
        mine = file.read().strip()
    for each in os.listdir(JOURNALS):
        if each != mine:  # the journal went on under the name of before
            run("rm", "-rf", JOURNALS + "/" + each)
    run("systemctl", "start", "--no-block", *SERVICES)


def work(port: int, job: "dict[str, Any]", known: "dict[str, CodeType]") -> None:
    """Run a program in a copy of this interpreter and hand on what it says; end with the host."""
    inputs, outputs, errors = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        for number, end in enumerate((inputs[0], outputs[1], errors[1])):
            os.dup2(end, number)
        os.closerange(3, 64)
        be(job, known.get(job["known"]) or compile(job["script"], "<string>", "exec"))
    for end in (inputs[0], outputs[1], errors[1]):
        os.close(end)
    poll = select.poll()
    for end in (port, outputs[0], errors[0]):
        poll.register(end, select.POLLIN)
    names = {outputs[0]: "stdout", errors[0]: "stderr"}
    feed(inputs[1], base64.b64decode(job["stdin"]))
    while names:
        for ready, _ in poll.poll():
            piece = os.read(ready, 1 << 16)
            if ready == port:  # the host has gone; it has nothing to say here
                os.killpg(child, signal.SIGKILL)
                poll.unregister(port)
            elif piece:
                tell(port, {names[ready]: base64.b64encode(piece).decode()})
            else:
                poll.unregister(ready)
                del names[ready]
    status = os.waitpid(child, 0)[1]
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    tell(port, {"status": code})


def feed(pipe: int, data: bytes) -> None:
    """Write to the program's standard input, in a process of its own where that could block."""
    large = len(data) > PIPE_HOLDS
    if large and os.fork() != 0:
        os.close(pipe)
        return
    try:
        while data:
            data = data[os.write(pipe, data) :]
    except BrokenPipeError:
        pass  # it has ended, or wants no more
    os.close(pipe)
    if large:
        os._exit(0)


def be(job: "dict[str, Any]", code: "CodeType") -> None:
    """Be an interpreter that has just been started with ``-c``."""
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir("/")
    sys.argv = ["-c"]
    try:
        exec(code, {"__name__": "__main__"})  # noqa: S102 - it is what an interpreter does
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - an interpreter's last resort
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def stir(seed: bytes) -> None:
    """Make the kernel's random numbers this machine's own, from now on."""
    device = os.open("/dev/random", os.O_RDWR)
    fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    fcntl.ioctl(device, RNDRESEEDCRNG)
    os.close(device)


def set_address(mac: str) -> None:
    """Give the network card its address, and have the kernel say so on the network: QEMU has heard
    the old one if anything was sent since the machine woke up, never forgets it, and would go on
    sending there.
    """
    put(ARP_NOTIFY, "1\n", 0o644)
    address = struct.pack("16sH6s8x", b"eth0", ARPHRD_ETHER, bytes.fromhex(mac.replace(":", "")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFHWADDR, address)


def put(path: str, text: str, mode: int) -> None:
    """Write a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def wipe(path: str) -> None:
    """Remove a file, and what it held from the disk."""
    with open(path, "r+b", buffering=0) as file:
        file.write(bytes(os.path.getsize(path)))
        os.fsync(file.fileno())
    os.unlink(path)


def bind(path: str, over: str) -> None:
    """Have the file ``path`` seen at ``over``."""
    if ctypes.CDLL(None).mount(path.encode(), over.encode(), None, MS_BIND, None) != 0:
        raise OSError("cannot mount over " + over)


def digest_of(text: str) -> str:
    """Give the name by which the host asks for a program that was compiled ahead."""
    return hashlib.sha256(text.encode()).hexdigest()


def port_path() -> str:
    """Find the port by its name; udev may not have."""
    for port in os.listdir("/sys/class/virtio-ports"):
        with open("/sys/class/virtio-ports/" + port + "/name") as file:
            if file.read().strip() == PORT:
                return "/dev/" + port
    raise SystemExit("there is no port " + PORT)


def read_through(path: str) -> None:
    """Have a file in the page cache."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass


def run(*argv: str) -> int:
    """Run a program to its end and give its exit status."""
    return os.spawnvp(os.P_WAIT, argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())
