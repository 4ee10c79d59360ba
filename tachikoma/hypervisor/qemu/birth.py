"""What runs inside a machine that becomes a golden snapshot: as root, Python 3.9 or newer.

It removes what tells one machine from another, stops the services that have read it, and then
waits at a serial port. There each machine that is restored from the snapshot is told who it is,
makes itself that, answers, and starts the services again. Whoever writes to that port is the
host, so what it says is believed.

Standard input: nothing. Standard output, once: ``prepared``. From the port, one line of JSON:
``seed`` (hex, fresh random bytes), ``machine_id``, ``boot_id``, ``mac``. To the port: ``born``.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import time

PORT = "org.tachikoma.birth"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
READY = "/run/tachikoma/ready"
BOOT_ID = "/run/tachikoma/boot-id"
SERVICES = ["ssh.service", "systemd-logind.service", "dbus.service", "dbus.socket"]
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
SIOCSIFHWADDR = 0x8924
ARPHRD_ETHER = 1
MS_BIND = 4096
SETTLE_S = 30.0
PAUSE_S = 0.01
GIVE_WAY_S = 6.0


def main() -> int:
    """Become nobody, say so, and leave a process behind that waits to be born."""
    settle()
    forget()
    port = os.open(port_path(), os.O_RDWR)
    if os.fork() == 0:
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        become(hear(port), port)
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
            os.unlink(path)
    with open("/etc/machine-id", "w"):
        pass
    run("rm", "-rf", "/run/log/journal", "/var/lib/dbus/machine-id")
    for program in ("mount", "git", "ssh-keygen", "sshd"):  # in memory when they are wanted
        read_through("/usr/sbin/" + program if program == "sshd" else "/usr/bin/" + program)
    os.sync()


def hear(port: int) -> "dict[str, str]":
    """Wait for the line that tells who this is now."""
    heard = b""
    while not heard.endswith(b"\n"):
        piece = os.read(port, 4096)  # nothing, at once, while the host is not there
        if not piece:
            time.sleep(PAUSE_S)
        heard += piece
    about = json.loads(heard)
    assert isinstance(about, dict)
    return about


def become(about: "dict[str, str]", port: int) -> None:
    """Be that machine: first what no other may share, then what may wait."""
    stir(bytes.fromhex(about["seed"]))
    with open("/etc/machine-id", "w") as file:
        file.write(about["machine_id"] + "\n")
    os.makedirs("/run/tachikoma", exist_ok=True)
    with open(BOOT_ID, "w") as file:
        file.write(about["boot_id"] + "\n")
    bind(BOOT_ID, "/proc/sys/kernel/random/boot_id")
    set_address(about["mac"])
    os.write(port, b"born\n")
    os.close(port)
    run("systemctl", "start", "--no-block", "ssh.service")
    end = time.monotonic() + GIVE_WAY_S
    while not os.path.exists(READY) and time.monotonic() < end:
        time.sleep(PAUSE_S)
    run("systemctl", "restart", "--no-block", "systemd-journald.service")
    run("systemctl", "start", "--no-block", *SERVICES)


def stir(seed: bytes) -> None:
    """Make the kernel's random numbers this machine's own, from now on."""
    device = os.open("/dev/random", os.O_RDWR)
    fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    fcntl.ioctl(device, RNDRESEEDCRNG)
    os.close(device)


def set_address(mac: str) -> None:
    """Give the network card its address."""
    address = struct.pack("16sH6s8x", b"eth0", ARPHRD_ETHER, bytes.fromhex(mac.replace(":", "")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFHWADDR, address)


def bind(path: str, over: str) -> None:
    """Have the file ``path`` seen at ``over``."""
    if ctypes.CDLL(None).mount(path.encode(), over.encode(), None, MS_BIND, None) != 0:
        raise OSError("cannot mount over " + over)


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
