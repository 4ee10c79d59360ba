"""Which VM a name on the command line means, without asking the engine."""

from __future__ import annotations

from tachikoma.cli.door import Door
from tachikoma.git.port import Repository
from tachikoma.model.errors import NotARepositoryError
from tachikoma.state.port import VmRecord
from tachikoma.vm import registry


async def repository_here(door: Door) -> Repository | None:
    """Give the repository that the command runs in, None outside of any."""
    try:
        return await door.runtime.git.repository(door.runtime.cwd)
    except NotARepositoryError:
        return None


async def record_of(door: Door, name: str | None) -> VmRecord | None:
    """Find the record that ``name`` (a VM, a branch, None: the current branch) means.

    Raises:
        VmNotFoundError: the name means VMs of several repositories.
        GitError: without a name: there is no current branch.
    """
    ledger = door.runtime.store.read()
    if name is None:
        repository = await door.runtime.git.repository(door.runtime.cwd)
        branch = await door.runtime.git.current_branch(door.runtime.cwd)
        return ledger.of_branch(repository.git_dir, branch)
    here = await repository_here(door)
    return registry.of_name(ledger, name, here.git_dir if here else None)
