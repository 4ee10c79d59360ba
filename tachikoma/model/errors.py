"""Every error a user can meet: message, hint, stable code, exit status; the fleet has its own in
`errors_fleet`.

The tree (codes are stable; scripts may match on them)::

    TachikomaError
      UsageError                  cli.usage                    (exit status 2)
      Interrupted                 cli.interrupted              (exit status 130)
      ConfigError                 config.invalid
        UnknownKeyError           config.unknown_key
        BadValueError             config.bad_value
      GitError                    git.failed
        NotARepositoryError       git.no_repository
        EmptyRepositoryError      git.empty_repository
        DetachedHeadError         git.detached_head
        BranchNameError           git.bad_branch_name
        WorktreeError             git.worktree
        PushFailed                git.push
        RemoteChangedError        git.remote_changed
        PullRequestFailed         git.pull_request
      StateError                  state.failed
        StateCorruptError         state.corrupt
        StateTooNewError          state.too_new
      VmError                     vm.failed
        VmNotFoundError           vm.not_found
        VmBusyError               vm.busy
        VmInUseError              vm.in_use
        VmNotRunningError         vm.not_running
        VmStateError              vm.unexpected_state
        BootTimeoutError          vm.boot_timeout
        ProvisionFailed           vm.provision_failed
      HypervisorError             hypervisor.failed
        HypervisorMissingError    hypervisor.missing
        UnsupportedError          hypervisor.unsupported
        AgentError                hypervisor.agent
        VmExistsError             hypervisor.vm_exists
        CheckpointError           hypervisor.checkpoint
      ImageError                  image.failed
        ImageNotFoundError        image.not_found
        ImageInUseError           image.in_use
        ImageBuildFailed          image.build_failed
      SshError                    ssh.failed
        SshUnreachableError       ssh.unreachable
        PortTakenError            ssh.port_taken
      CopyError                   cp.failed
      ProxyError                  proxy.failed
        ProxyPortError            proxy.port_taken
      CredentialError             credentials.failed
        NoCredentialError         credentials.none
        KeychainError             credentials.keychain
      McpError                    mcp.failed
        BadArgumentError          mcp.bad_argument
        NotConfirmedError         mcp.not_confirmed
        CommandDeadlineError      mcp.deadline
        GuestFileError            mcp.file
        ClientConfigError         mcp.client_config
      HostError                   host.failed
        MissingToolError          host.missing_tool
        CommandFailed             host.command_failed
        DiskFullError             host.disk_full
        PermissionDeniedError     host.permission
"""

from __future__ import annotations

from typing import ClassVar


class TachikomaError(Exception):
    """The root of everything that is reported to a user instead of a traceback.

    Args:
        message: what is wrong and where, one sentence.
        hint: what to do next; "" only where a subclass has nothing better to say.
        details: evidence worth keeping (last lines of a log, an argv), printed under the message.
    """

    code: ClassVar[str] = "tachikoma.failed"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(TachikomaError):
    """The command line itself is wrong."""

    code = "cli.usage"
    exit_status = 2


class Interrupted(TachikomaError):
    """The user pressed Ctrl-C."""

    code = "cli.interrupted"
    exit_status = 130


class ConfigError(TachikomaError):
    """A configuration file cannot be used."""

    code = "config.invalid"


class UnknownKeyError(ConfigError):
    """A configuration key that does not exist; the hint names the nearest one."""

    code = "config.unknown_key"


class BadValueError(ConfigError):
    """A configuration value of the wrong type or outside its range."""

    code = "config.bad_value"


class GitError(TachikomaError):
    """Git said no."""

    code = "git.failed"


class NotARepositoryError(GitError):
    """The directory is in no git repository."""

    code = "git.no_repository"


class EmptyRepositoryError(GitError):
    """The repository has no commit, so there is nothing to branch from."""

    code = "git.empty_repository"


class DetachedHeadError(GitError):
    """HEAD is at a commit and no branch was named."""

    code = "git.detached_head"


class BranchNameError(GitError):
    """Not a name that git accepts for a branch."""

    code = "git.bad_branch_name"


class WorktreeError(GitError):
    """The worktree of a branch cannot be made or used."""

    code = "git.worktree"


class PushFailed(GitError):
    """The remote did not take the branch; details hold what git said."""

    code = "git.push"


class RemoteChangedError(GitError):
    """The remote is not the one that the branch's VM was made with; a guest can change it."""

    code = "git.remote_changed"


class PullRequestFailed(GitError):
    """The branch is pushed, and the pull request could not be opened; the hint says how by hand."""

    code = "git.pull_request"


class StateError(TachikomaError):
    """The state file cannot be used."""

    code = "state.failed"


class StateCorruptError(StateError):
    """The state file is not what tachikoma wrote."""

    code = "state.corrupt"


class StateTooNewError(StateError):
    """The state file comes from a newer tachikoma."""

    code = "state.too_new"


class VmError(TachikomaError):
    """A VM cannot be brought to where the user wants it."""

    code = "vm.failed"


class VmNotFoundError(VmError):
    """There is no VM of that name or branch."""

    code = "vm.not_found"


class VmBusyError(VmError):
    """Another command holds the VM; the message names it."""

    code = "vm.busy"


class VmInUseError(VmError):
    """Something in the guest uses what would have to be taken away; details say what."""

    code = "vm.in_use"


class VmNotRunningError(VmError):
    """The VM exists and does not run."""

    code = "vm.not_running"


class VmStateError(VmError):
    """The hypervisor reports something that tachikoma does not know; nothing is touched."""

    code = "vm.unexpected_state"


class BootTimeoutError(VmError):
    """The guest did not become reachable in time; the message names the requirement."""

    code = "vm.boot_timeout"


class ProvisionFailed(VmError):
    """A provisioning step failed inside the guest; details hold its last output."""

    code = "vm.provision_failed"


class HypervisorError(TachikomaError):
    """The engine failed."""

    code = "hypervisor.failed"


class HypervisorMissingError(HypervisorError):
    """The engine, or a program that it needs, is not installed."""

    code = "hypervisor.missing"


class UnsupportedError(HypervisorError):
    """The engine cannot do this; the message says why."""

    code = "hypervisor.unsupported"


class AgentError(HypervisorError):
    """The guest agent does not answer or refused a command."""

    code = "hypervisor.agent"


class VmExistsError(HypervisorError):
    """A VM of that name already exists in the engine."""

    code = "hypervisor.vm_exists"


class CheckpointError(HypervisorError):
    """There is no such checkpoint, or there is one already."""

    code = "hypervisor.checkpoint"


class ImageError(TachikomaError):
    """A base image cannot be used."""

    code = "image.failed"


class ImageNotFoundError(ImageError):
    """There is no image of that name."""

    code = "image.not_found"


class ImageInUseError(ImageError):
    """VMs still stand on the image."""

    code = "image.in_use"


class ImageBuildFailed(ImageError):
    """Building an image failed; nothing half-made is left."""

    code = "image.build_failed"


class SshError(TachikomaError):
    """SSH to a VM failed."""

    code = "ssh.failed"


class SshUnreachableError(SshError):
    """Nothing answers, or it is not the VM that we know."""

    code = "ssh.unreachable"


class PortTakenError(SshError):
    """Something else listens on a port of this host."""

    code = "ssh.port_taken"


class CopyError(TachikomaError):
    """Files could not be copied into a VM or out of it."""

    code = "cp.failed"


class ProxyError(TachikomaError):
    """The credential proxy cannot be started, reached or stopped."""

    code = "proxy.failed"


class ProxyPortError(ProxyError):
    """Something else listens on the proxy's port."""

    code = "proxy.port_taken"


class CredentialError(TachikomaError):
    """A credential source failed."""

    code = "credentials.failed"


class NoCredentialError(CredentialError):
    """No source has a credential."""

    code = "credentials.none"


class KeychainError(CredentialError):
    """The operating system's keychain cannot be read; the message says why, without a subject."""

    code = "credentials.keychain"


class McpError(TachikomaError):
    """What an agent asked of the MCP server cannot be done."""

    code = "mcp.failed"


class BadArgumentError(McpError):
    """An argument of a tool is missing, of the wrong type, or makes no sense."""

    code = "mcp.bad_argument"


class NotConfirmedError(McpError):
    """Something destructive that nobody confirmed; nothing was done."""

    code = "mcp.not_confirmed"


class CommandDeadlineError(McpError):
    """A command in a VM ran into its deadline; it has been ended."""

    code = "mcp.deadline"


class GuestFileError(McpError):
    """A file in a VM cannot be read or written."""

    code = "mcp.file"


class ClientConfigError(McpError):
    """The configuration of an MCP client cannot be changed safely; it is as it was."""

    code = "mcp.client_config"


class HostError(TachikomaError):
    """This machine cannot do what is needed."""

    code = "host.failed"


class MissingToolError(HostError):
    """A program is not installed; the hint says which package brings it."""

    code = "host.missing_tool"


class CommandFailed(HostError):
    """A host command ended with an error; details hold argv, status and its last words.

    Built only in ``host.process``. ``status`` is the exit status, negative for a signal,
    None when the deadline passed. ``stderr`` is the text of its standard error, redacted.
    """

    code = "host.command_failed"

    def __init__(
        self, message: str, *, status: int | None, stderr: str, hint: str = "", details: str = ""
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.status = status
        self.stderr = stderr


class DiskFullError(HostError):
    """No space is left where tachikoma keeps its files."""

    code = "host.disk_full"


class PermissionDeniedError(HostError):
    """The operating system refused access to a file or device."""

    code = "host.permission"
