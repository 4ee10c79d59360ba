"""What Tart says when it fails, and which of our errors that is (pure): one table."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tachikoma.host.process import redacted
from tachikoma.model.errors import (
    AgentError,
    DiskFullError,
    HypervisorError,
    HypervisorMissingError,
    ImageError,
    ImageNotFoundError,
    PermissionDeniedError,
    TachikomaError,
    UnsupportedError,
    VmExistsError,
    VmNotFoundError,
    VmNotRunningError,
)

NOISE = "Failed to perform garbage collection: "
"""Tart says this on standard error also when all is well."""
ALREADY_RUNNING = "already_running"
STREAM_BROKEN = "stream_broken"
_USAGE_STATUS = 64
_LAST_LINES = 12
_LOGIN = (
    "sign in with `tart login HOST`, or set TART_REGISTRY_USERNAME and TART_REGISTRY_PASSWORD; "
    "over SSH, first `security unlock-keychain`"
)
_SOFTNET = (
    'Softnet makes network = "proxy": `brew install openai/tools/softnet`, then let it run as root '
    "(`sudo chown root $(which softnet) && sudo chmod u+s $(which softnet)`); "
    'or set network = "open"'
)
_AGENT = (
    "the image must have tart-guest-agent inside, as those of `tachikoma image pull` have; if it "
    "has, the guest may still be booting: see its log"
)
_REPORT = "update Tart and tachikoma; if it stays so, report it with the lines above"
_REMAKE = "`tachikoma destroy` removes the VM, whose worktree and branch stay; then spawn it anew"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A failure that Tart reports in words that match ``pattern``; ``name`` is the contract's."""

    name: str
    pattern: str
    error: type[TachikomaError]
    message: str
    hint: str

    def found_in(self, line: str) -> re.Match[str] | None:
        """Look for it in one line."""
        return re.match(rf"(?:Error: )?(?:{self.pattern})", line)


_R = Refusal
TABLE: tuple[Refusal, ...] = (
    # VMs
    _R(
        "vm_does_not_exist",
        r'the specified VM "(?P<name>[^"]+)" does not exist',
        VmNotFoundError,
        "Tart has no VM {name}",
        "`tachikoma list` shows all VMs",
    ),
    _R(
        "vm_missing_files",
        "VM is missing (some of its files|files for a supported layout)",
        HypervisorError,
        "the VM's files are not complete",
        _REMAKE,
    ),
    _R(
        "vm_not_running",
        r'VM "(VM ")?(?P<name>[^"]+)" is not running',
        VmNotRunningError,
        "the VM {name} does not run",
        "`tachikoma spawn` starts it",
    ),
    _R(
        ALREADY_RUNNING,
        r'VM "(?P<name>[^"]+)" is already running!',
        HypervisorError,
        "the VM {name} runs already",
        "if it cannot be used, stop it first: `tachikoma halt`",
    ),
    _R(
        "vm_is_running",
        r'VM "(?P<name>[^"]+)" is running',
        HypervisorError,
        "the VM {name} still runs",
        "stop it first: `tachikoma halt`",
    ),
    _R(
        "vm_exists",
        r'.*VM "?(?P<name>[^" ]+)"? already exists',
        VmExistsError,
        "there is a VM {name} already",
        "`tachikoma destroy` removes it",
    ),
    _R(
        "kill_failed",
        r'failed to forcefully terminate the VM "(?P<name>[^"]+)": (?P<why>.*)',
        HypervisorError,
        "the VM {name} cannot be ended: {why}",
        "the process that runs it may belong to another user; see `ps aux | grep tart`",
    ),
    _R(
        "suspend_linux",
        "You can only suspend macOS VMs",
        HypervisorError,
        "Tart cannot continue a suspended Linux VM",
        "`tachikoma halt` drops what was saved; then spawn it",
    ),
    _R(
        "suspend_failed",
        "Failed to suspend the VM",
        HypervisorError,
        "Tart could not suspend the VM",
        "use `tachikoma halt`: Tart cannot suspend Linux VMs",
    ),
    # What macOS does not give
    _R(
        "vm_limit",
        r"The number of VMs exceeds the system limit( \(other running VMs: (?P<names>.*)\))?",
        HypervisorError,
        "macOS runs no more VMs at once{names}",
        "stop one (`tachikoma halt`); if none runs, macOS has lost count: restart the Mac",
    ),
    _R(
        "start_failed",
        r".*VZErrorDomain Code=1\b",
        HypervisorError,
        "macOS did not start the VM",
        "on macOS 15 and later somebody must have signed in at the screen once since it started, "
        "and the login keychain must be there and unlocked: "
        "`security unlock-keychain login.keychain`",
    ),
    _R(
        "vz_error",
        r'.*VZErrorDomain Code=(?P<code>\d+) "(?P<why>[^"]*)',
        HypervisorError,
        "macOS did not run the VM (error {code}): {why}",
        "see whether the host has enough memory and disk for vm_memory and vm_cpus; "
        "restarting the Mac helps where the framework itself is stuck",
    ),
    _R(
        "auxiliary_storage",
        "Failed to lock auxiliary storage",
        HypervisorError,
        "the VM's files are in use by another process",
        "it may be running already: `tachikoma list`, `tart list`",
    ),
    _R(
        "unsupported_arch",
        r"UnsupportedArchitectureError\(\)",
        ImageError,
        "the image is for another kind of processor than this Mac's",
        "use an image for arm64 on Apple Silicon: set base_image",
    ),
    _R(
        "unsupported_os",
        r"(error: )?(?P<why>.* only supported on hosts .*)",
        UnsupportedError,
        "{why}",
        "update macOS",
    ),
    _R(
        "macos13",
        '"tart exec" is only available on macOS 14',
        UnsupportedError,
        "Tart runs commands in guests on macOS 14 (Sonoma) or newer only",
        "update macOS",
    ),
    _R(
        "resources_too_small",
        r"LessThanMinimalResourcesError: (?P<why>.*)",
        HypervisorError,
        "too little for a VM: {why}",
        "set vm_cpus and vm_memory to more",
    ),
    _R(
        "disk_shrink",
        "[nN]ew disk size of",
        HypervisorError,
        "a VM's disk cannot be made smaller",
        "use a larger size",
    ),
    _R(
        "disk_resize_failed",
        "(diskutil not found in PATH|Failed to (resize ASIF disk image|execute diskutil resize))",
        HypervisorError,
        "the VM's disk could not be resized",
        "see that diskutil is on PATH: /usr/sbin",
    ),
    _R(
        "disk_in_use",
        r"disk .* seems to be already in use|failed to open block device",
        HypervisorError,
        "a disk of the VM is in use by another program",
        "unmount it in Finder, or end that program",
    ),
    _R(
        "no_space",
        r".*(No space left on device|not enough (free )?(disk )?space|.*errno(: | )28\b)",
        DiskFullError,
        "no space is left on the disk that holds Tart's files",
        "free some: `tachikoma image list` and `tart list` show what takes it",
    ),
    # Softnet
    _R(
        "softnet_missing",
        r'InitializationFailed\(why: "(?P<why>.*)"\)',
        HypervisorMissingError,
        "Softnet does not start: {why}",
        _SOFTNET,
    ),
    _R("softnet_suid", "Softnet failed: ", HypervisorError, "Softnet failed", _SOFTNET),
    _R(
        "softnet_died",
        r'RuntimeFailed\(why: "Softnet process terminated prematurely"\)',
        HypervisorError,
        "Softnet ended as soon as it had begun; it may not run as root",
        _SOFTNET,
    ),
    # Addresses
    _R(
        "no_ip",
        "no IP address found",
        HypervisorError,
        "the guest has no address yet",
        "`tart ip --resolver agent` asks the guest itself",
    ),
    _R(
        "leases_format",
        r"(UnexpectedFormat|Truncated)\(name: ",
        HypervisorError,
        "macOS is writing its file of addresses, or it is damaged",
        "run it again; if it stays so: `sudo rm /var/db/dhcpd_leases`",
    ),
    _R(
        "arp",
        "(arp command (failed|yielded)|ARPCache internal error)",
        HypervisorError,
        "the host's table of neighbours cannot be read",
        "see what `arp -an` says",
    ),
    # The agent
    _R(
        "agent_unreachable",
        "Failed to connect to the VM using its control socket",
        AgentError,
        "the guest's agent does not answer",
        _AGENT,
    ),
    _R(
        "guest_cannot_start_command",
        r"unknown \(2\): (?P<why>.*)",
        AgentError,
        "the guest's agent cannot run a command: {why}",
        "the guest must have sh, sudo, setpriv and setsid, and its agent's user may use sudo "
        "without a password",
    ),
    _R(
        STREAM_BROKEN,
        r"unavailable \(14\)",
        AgentError,
        "the line to the guest's agent broke",
        "the VM may have stopped: `tachikoma status`",
    ),
    _R(
        "agent_rpc",
        r"(cancelled|invalid argument|deadline exceeded|not found|internal error|unimplemented)"
        r" \(\d+\)",
        AgentError,
        "the guest's agent did not do what it was asked",
        _AGENT,
    ),
    _R(
        "sudo",
        r"sudo: (?P<why>.*)",
        AgentError,
        "the user of the guest's agent may not use sudo: {why}",
        "the image must let that user use sudo without a password, as those of "
        "`tachikoma image pull` do",
    ),
    _R(
        "tty_crash",
        ".*Fatal error: ",
        HypervisorError,
        "Tart crashed",
        "update Tart (`brew upgrade tart`), then run it again",
    ),
    # Images and registries
    _R(
        "registry_missing",
        r"UnexpectedHTTPStatusCode\(when: \"[^\"]*\", code: 404",
        ImageNotFoundError,
        "the registry has no such image",
        "see how it is spelled, with its tag",
    ),
    _R(
        "registry_forbidden",
        r"UnexpectedHTTPStatusCode\(when: \"(?P<when>[^\"]*)\", code: (?P<code>40[13])",
        ImageError,
        "the registry refused this user ({code}, {when})",
        _LOGIN,
    ),
    _R(
        "registry_http",
        r"UnexpectedHTTPStatusCode\(when: \"(?P<when>[^\"]*)\", code: (?P<code>\d+)",
        ImageError,
        "the registry answered with {code} ({when})",
        "try again later; what is here already stays",
    ),
    _R(
        "registry_auth",
        r"AuthFailed\(why: ",
        ImageError,
        "the registry does not let this user in",
        _LOGIN,
    ),
    _R(
        "invalid_credentials",
        "invalid credentials: ",
        ImageError,
        "the registry does not take these credentials",
        _LOGIN,
    ),
    _R(
        "keychain",
        r".*([Kk]eychain|-25308)",
        ImageError,
        "the keychain is locked: Tart finds no credentials in it",
        "`security unlock-keychain login.keychain`, or set TART_REGISTRY_USERNAME and "
        "TART_REGISTRY_PASSWORD",
    ),
    _R(
        "bad_remote_name",
        "(failed to parse remote name: |improperly formatted host )",
        ImageError,
        "that is no name of an image in a registry",
        "write it as HOST/PATH:TAG, such as ghcr.io/cirruslabs/ubuntu:latest",
    ),
    _R(
        "oci_storage",
        "OCI storage error: ",
        ImageNotFoundError,
        "the image is not here",
        "`tachikoma image pull` fetches it",
    ),
    _R(
        "pull_decompress",
        "failed to decompress disk: ",
        ImageError,
        "the image came damaged, or the disk is full",
        "pull it again; `tachikoma doctor` tells how much disk is free",
    ),
    _R(
        "legacy_disk_v1",
        "Pulling OCI images with legacy disk media type",
        ImageError,
        "the image is in a form that Tart does not read any more",
        "use a newer one, or push it anew with a current Tart",
    ),
    # Files and locks
    _R(
        "tart_home_invalid",
        "TART_HOME is invalid: (?P<why>.*)",
        HypervisorError,
        "the directory that TART_HOME names cannot be used: {why}",
        "let TART_HOME name a directory that can be written, or unset it",
    ),
    _R(
        "access_date",
        r"utimes\(2\) failed: (?P<why>.*)",
        PermissionDeniedError,
        "Tart's files cannot be written: {why}",
        "see who owns ~/.tart",
    ),
    _R(
        "pid_lock",
        r"failed to (lock|unlock|get lock|open lock file) |Failed\(\"failed to lock ",
        HypervisorError,
        "Tart's files cannot be locked",
        "keep ~/.tart (or TART_HOME) on a local disk",
    ),
    _R(
        "bad_config_json",
        "(The data couldn.t be read because |.*DecodingError|keyNotFound|dataCorrupted)",
        HypervisorError,
        "the VM's config.json cannot be read",
        _REMAKE,
    ),
    _R(
        "cancelled",
        r"(CancellationError\(\)|cancelled)$",
        HypervisorError,
        "Tart was interrupted",
        "run it again",
    ),
    _R(
        "transfer_failed",
        "VM (export|import) failed: ",
        HypervisorError,
        "Tart could not export or import the VM",
        "see whether the disk is full, and who owns the file",
    ),
)


def translated(command: str, status: int | None, said: str) -> TachikomaError:
    """Give the error for a failure of `tart COMMAND` that said ``said``."""
    lines = essence(said)
    details = redacted("\n".join(lines[-_LAST_LINES:]))
    for line in reversed(lines):
        for refusal in TABLE:
            if (found := refusal.found_in(line)) is not None:
                return refusal.error(_filled(refusal, found), hint=refusal.hint, details=details)
    if status == _USAGE_STATUS:
        return HypervisorError(
            f"Tart did not understand `tart {command}`", hint=_REPORT, details=details
        )
    ended = "crashed" if status is not None and status < 0 else "failed"
    first = redacted(lines[0].removeprefix("Error: ")) if lines else "it did not say why"
    return HypervisorError(
        f"`tart {command}` {ended}: {first}",
        hint="`tachikoma doctor` checks what Tart takes; `tart --version` names this one",
        details=details,
    )


def is_already_running(said: str) -> bool:
    """Tell whether a `tart run` gave way to another one of the same VM."""
    return _says(ALREADY_RUNNING, said)


def is_broken_off(said: str) -> bool:
    """Tell whether a `tart exec` lost its guest after it had reached it."""
    return _says(STREAM_BROKEN, said)


def essence(said: str) -> list[str]:
    """Give the lines that tell of the failure: no noise, no usage text."""
    lines = []
    for line in said.strip().splitlines():
        if line.startswith(("Help:  ", "Usage: ")):
            break
        if not line.startswith(NOISE) and line.strip():
            lines.append(line.strip())
    return lines


def _says(name: str, said: str) -> bool:
    refusal = next(each for each in TABLE if each.name == name)
    return any(refusal.found_in(line) for line in essence(said))


def _filled(refusal: Refusal, found: re.Match[str]) -> str:
    parts = {name: redacted(value or "") for name, value in found.groupdict().items()}
    if refusal.name == "vm_limit":
        parts["names"] = f" (running: {parts['names']})" if parts["names"] else ""
    return refusal.message.format(**parts)
