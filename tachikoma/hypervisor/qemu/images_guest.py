"""What is inside a Debian image, beyond its packages: files, and a script run once in its root.

All of it serves two aims. The guest holds what a coding agent expects and nothing that tells
two VMs apart (no host key, no machine id, no random seed). And it boots fast where every
instruction is emulated: the virtio drivers are in the initrd, so that the guest's agent, its
address and sshd need not wait for udev; all else comes after them, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
HOSTNAME = "tachikoma"
USER = "admin"
_PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "libnss-myhostname", "tiny-initramfs"),
    *("iproute2", "iputils-ping", "netbase", "openssh-server", "openssh-client"),
    *("qemu-guest-agent", "ca-certificates", "curl", "sudo", "procps", "lsof", "bash-completion"),
    *("git", "patch", "make", "python3", "jq", "ripgrep", "less", "nano", "tmux", "tree", "file"),
    *("rsync", "unzip", "bzip2", "xz-utils", "zstd"),
)
_KERNELS = {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"}
_CONSOLES = {"amd64": "ttyS0", "arm64": "ttyAMA0"}
INSIDE_SOURCES = "etc/apt/sources.list"
HELD_SOURCES = "etc/apt/sources.list.plain"


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A file of the guest, by its path without the leading slash. A ``text`` of None masks it."""

    path: str
    text: str | None
    mode: int = 0o644


def packages(architecture: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Name the Debian packages of an image."""
    return (_KERNELS[architecture], *_PACKAGES, *more)


def kernel_cmdline(architecture: str) -> str:
    """Give the kernel's command line.

    The measures against speculative execution are off: who runs code in the guest is root there
    anyhow by sudo, and the wall that matters is the one between guest and host.
    """
    return (
        f"root=/dev/vda rw console={_CONSOLES[architecture]} net.ifnames=0 quiet"
        " systemd.show_status=0 mitigations=off audit=0 random.trust_cpu=on"
    )


_INITRAMFS = """\
AUTO_MODULES=no
MICROCODE=no
INCLUDE_MODULES=virtio_pci,virtio_blk,virtio_net,virtio_console,virtio-rng
"""

# Without PAM a login takes a quarter less time where every instruction is emulated. It would have
# set the locale; what else it does concerns passwords and messages, of which there are none.
_SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitUserEnvironment no
UsePAM no
UseDNS no
SetEnv LANG=C.UTF-8
X11Forwarding no
PrintMotd no
PrintLastLog no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""

# The key pair is made by the first boot, or anew where a crash cut its making short.
_SSH_UNIT = """\
[Unit]
Description=OpenSSH server
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
[Service]
Type=notify
ExecStartPre=/usr/local/libexec/make-host-key
ExecStart=/usr/sbin/sshd -D
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
RestartSec=1
RuntimeDirectory=sshd
RuntimeDirectoryPreserve=yes
[Install]
WantedBy=sysinit.target
"""
_MAKE_HOST_KEY = """\
#!/bin/sh -e
key=/etc/ssh/ssh_host_ed25519_key
if ! [ -s $key ] || ! [ -s $key.pub ]; then
    rm -f $key $key.pub
    ssh-keygen -q -t ed25519 -N '' -C '' -f $key
    sync $key $key.pub
fi
"""

# Debian's own unit waits for udev to name the port; the kernel has named it long before.
_AGENT_UNIT = """\
[Unit]
Description=QEMU guest agent
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/local/libexec/guest-agent
Restart=always
RestartSec=1
[Install]
WantedBy=sysinit.target
"""
_GUEST_AGENT = """\
#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    if read -r name < "$port/name" && [ "$name" = org.qemu.guest_agent.0 ]; then
        exec /usr/sbin/qemu-ga --path="/dev/${port##*/}"
    fi
done
exit 1
"""

# QEMU's user network has this address for its one guest; nothing needs to be asked for it.
_ADDRESS_UNIT = """\
[Unit]
Description=Address of the network card
DefaultDependencies=no
Conflicts=shutdown.target
Before=network-pre.target shutdown.target
ConditionPathExists=/sys/class/net/eth0
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/libexec/network-address
[Install]
WantedBy=sysinit.target
"""
_NETWORK_ADDRESS = """\
#!/bin/sh
ip -batch - <<'END'
link set lo up
link set eth0 up
address replace 10.0.2.15/24 dev eth0
route replace default via 10.0.2.2 dev eth0
END
"""

# What else starts at boot would take the processor from the host's setting up of this VM.
_GIVE_WAY_UNIT = """\
[Unit]
Description=Let the host set this machine up first
DefaultDependencies=no
After=ssh.service
Conflicts=shutdown.target
Before=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/libexec/give-way
[Install]
WantedBy=sysinit.target
"""
_GIVE_WAY = """\
#!/bin/bash
# Forty times a tenth of a second at most, without starting a process for each.
exec {pause}<> <(:)
for ((i = 0; i < 40; i++)); do
    [[ -e /run/tachikoma/ready ]] && break
    read -r -t 0.1 -u "$pause"
done
exit 0
"""

# A full trigger loads a driver for every feature of the processor and of the chipset.
_TRIGGER = """\
[Unit]
After=give-way.service
[Service]
ExecStart=
ExecStart=-/usr/bin/udevadm trigger --type=devices --action=add --subsystem-match=block \
--subsystem-match=net --subsystem-match=virtio-ports --subsystem-match=input \
--subsystem-match=tty --subsystem-match=misc --subsystem-match=mem --subsystem-match=rtc
"""
_LATER = "[Unit]\nAfter=ssh.service give-way.service\n"
_AFTER_SSH = (
    *("systemd-udevd.service", "systemd-tmpfiles-setup-dev.service", "systemd-sysctl.service"),
    *("systemd-tmpfiles-setup.service", "systemd-logind.service"),
    "dbus.service",
)
_TMP = "d /tmp 1777 root root -\nd /var/tmp 1777 root root -\n"
"""The usual file empties /tmp at boot, when a worktree of the host may be mounted below it."""
_JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\nForwardToSyslog=no\nAudit=no\n"

_MASKED = (
    # work in the background that a VM of a few hours has no need of
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-tmpfiles-clean.timer"),
    # nobody sits at its screen, and nobody could log in there
    *("getty.target", "serial-getty@ttyS0.service", "serial-getty@ttyAMA0.service"),
    # kernel file systems and drivers; whoever wants one mounts or loads it
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"),
    *("sys-fs-fuse-connections.mount", "dev-hugepages.mount", "dev-mqueue.mount"),
    *("proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount"),
    *("systemd-binfmt.service", "systemd-modules-load.service", "kmod-static-nodes.service"),
    *("modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@drm.service"),
    *("modprobe@efi_pstore.service", "modprobe@fuse.service", "modprobe@loop.service"),
    # done when the image was built, or of no use in a guest
    *("systemd-sysusers.service", "systemd-firstboot.service", "systemd-repart.service"),
    *("systemd-remount-fs.service", "systemd-network-generator.service"),
    *("systemd-networkd-wait-online.service", "systemd-journal-flush.service"),
    *("systemd-random-seed.service", "systemd-pstore.service", "systemd-hwdb-update.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    # it would refuse logins until it has run, and sshd is there before
    "systemd-user-sessions.service",
)
_GENERATORS = (
    *("bless-boot", "cryptsetup", "debug", "getty", "gpt-auto", "hibernate-resume"),
    *("integritysetup", "rc-local", "run", "system-update", "sysv", "veritysetup"),
)

EARLY_FILES = (GuestFile("etc/tiny-initramfs/tiny-initramfs.conf", _INITRAMFS),)
"""The files that must be there before the packages are set up."""


def files() -> tuple[GuestFile, ...]:
    """Give the files laid over the installed packages."""
    units = "etc/systemd/system"
    return (
        GuestFile("etc/hostname", f"{HOSTNAME}\n"),
        GuestFile("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        GuestFile("etc/resolv.conf", "nameserver 10.0.2.3\noptions timeout:2 attempts:2\n"),
        GuestFile("etc/fstab", ""),
        GuestFile("etc/machine-id", ""),
        GuestFile("etc/default/locale", "LANG=C.UTF-8\n"),
        GuestFile(f"etc/sudoers.d/{USER}", f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
        GuestFile("etc/ssh/sshd_config", _SSHD),
        GuestFile("etc/tmpfiles.d/systemd-nologin.conf", None),
        GuestFile("etc/tmpfiles.d/tmp.conf", _TMP),
        GuestFile("etc/systemd/journald.conf.d/volatile.conf", _JOURNAL),
        GuestFile("usr/local/libexec/make-host-key", _MAKE_HOST_KEY, 0o755),
        GuestFile("usr/local/libexec/guest-agent", _GUEST_AGENT, 0o755),
        GuestFile("usr/local/libexec/network-address", _NETWORK_ADDRESS, 0o755),
        GuestFile("usr/local/libexec/give-way", _GIVE_WAY, 0o755),
        GuestFile(f"{units}/ssh.service", _SSH_UNIT),
        GuestFile(f"{units}/qemu-guest-agent.service", _AGENT_UNIT),
        GuestFile(f"{units}/network-address.service", _ADDRESS_UNIT),
        GuestFile(f"{units}/give-way.service", _GIVE_WAY_UNIT),
        GuestFile(f"{units}/systemd-udev-trigger.service.d/few.conf", _TRIGGER),
        *(GuestFile(f"{units}/{unit}.d/later.conf", _LATER) for unit in _AFTER_SSH),
        *(GuestFile(f"{units}/{unit}", None) for unit in _MASKED),
        *(
            GuestFile(f"etc/systemd/system-generators/{name}", None)
            for short in _GENERATORS
            for name in (f"systemd-{short}-generator",)
        ),
    )


def lay(into: Path, what: tuple[GuestFile, ...]) -> None:
    """Write the files below ``into``."""
    for file in what:
        path = into / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        for directory in path.parents[: len(path.relative_to(into).parts)]:
            directory.chmod(0o755)  # whatever the umask
        if file.text is None:
            path.symlink_to("/dev/null")
        else:
            path.write_text(file.text, encoding="utf-8")
            path.chmod(file.mode)


SETUP = f"""\
set -eu
rm -f /etc/rcS.d/* /etc/rc?.d/* /etc/systemd/system/*.wants/ssh.service
rm -f /etc/systemd/system/sshd.service /etc/systemd/system/*.wants/qemu-guest-agent.service
rm -f /etc/systemd/system/timers.target.wants/*
cd /etc/systemd/system
mkdir -p sysinit.target.wants multi-user.target.wants
for unit in ssh qemu-guest-agent network-address give-way; do
    ln -s "/etc/systemd/system/$unit.service" sysinit.target.wants/
done
systemctl --quiet set-default multi-user.target

groupadd --gid 1000 {USER}
useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash --password '*' {USER}

if [ -f /{HELD_SOURCES} ]; then mv -f /{HELD_SOURCES} /{INSIDE_SOURCES}; fi
rm -f /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed
rm -f /etc/machine-id.* /var/lib/systemd/credential.secret /etc/*- /var/log/*.log
rm -f /vmlinuz.old /initrd.img.old
rm -rf /var/log/apt /var/cache/debconf/*-old /var/lib/dpkg/*-old
"""
"""A shell script that is run as root inside, after the packages and the files."""
