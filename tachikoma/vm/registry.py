"""Which VM belongs to which branch: names given out, and names understood (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from tachikoma.git.port import Repository, Worktree
from tachikoma.model.errors import VmNotFoundError
from tachikoma.model.names import VmName, vm_name
from tachikoma.state.port import Ledger, VmRecord


def claim(
    ledger: Ledger,
    repository: Repository,
    worktree: Worktree,
    *,
    taken: Collection[VmName],
    fresh: VmRecord,
) -> VmRecord:
    """Give the branch its record, made from ``fresh`` under a name of its own if there is none.

    The simple name is given unless another branch's record or a VM without a record (``taken``)
    has it; a worktree that has moved is noted. Changes ``ledger``.
    """
    record = ledger.of_branch(repository.git_dir, worktree.branch)
    if record is None:
        record = replace(fresh, name=_free_name(ledger, repository, worktree.branch, taken))
    elif record.worktree != worktree.path:
        record = replace(record, worktree=worktree.path)
    ledger.put(record)
    return record


def remote_of(ledger: Ledger, repository: Repository) -> str:
    """Give the URL recorded when the repository's first VM was made; "" if it has none.

    What its ``.git`` says now may be a guest's word.
    """
    made = sorted(
        (r for r in ledger.vms.values() if r.repository == repository.git_dir and r.remote),
        key=lambda record: record.created,
    )
    return made[0].remote if made else ""


def of_name(ledger: Ledger, name: str, repository: Path | None) -> VmRecord | None:
    """Find the VM that ``name`` means: a VM's name, a branch of ``repository``, or a branch that
    only one repository has a VM for.

    Raises:
        VmNotFoundError: VMs of several repositories have that branch; names them.
    """
    if (record := ledger.vms.get(VmName(name))) is not None:
        return record
    if repository is not None and (record := ledger.of_branch(repository, name)) is not None:
        return record
    found = [record for record in ledger.vms.values() if record.branch == name]
    if len(found) > 1:
        names = ", ".join(sorted(record.name for record in found))
        raise VmNotFoundError(
            f"several repositories have a VM for the branch {name}",
            hint=f"name the VM instead: {names}",
        )
    return found[0] if found else None


def _free_name(
    ledger: Ledger, repository: Repository, branch: str, taken: Collection[VmName]
) -> VmName:
    simple = vm_name(repository.name, branch)
    if simple not in ledger.vms and simple not in taken:
        return simple
    return vm_name(repository.name, branch, taken_by=f"{repository.git_dir}\0{branch}")
