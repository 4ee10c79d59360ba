"""The state as one JSON file, changed under a lock and replaced whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tachikoma.host import files
from tachikoma.host.clock import Clock
from tachikoma.model.errors import StateCorruptError, StateError, StateTooNewError
from tachikoma.model.events import Report
from tachikoma.model.names import VmName, is_vm_name
from tachikoma.state.migrations import VERSION, NotOursError, TooNewError, migrated
from tachikoma.state.port import Ledger, VmRecord
from tachikoma.state.vm_lock import Holder, held

_EDIT_DEADLINE_S = 10.0


class JsonFileStore:
    """The records in ``file``, the locks of the VMs in the directory ``locks``.

    Reading takes no lock: the file is only ever replaced whole. What is locked for a change is
    ``<file>.lock`` beside it, because a lock on the file itself would go with the replaced one.
    """

    def __init__(self, *, file: Path, locks: Path, clock: Clock) -> None:
        self._file = file
        self._lock = file.with_name(f"{file.name}.lock")
        self._locks = locks
        self._clock = clock

    def read(self) -> Ledger:
        """Give what is recorded now; a missing file is an empty ledger.

        Raises:
            StateCorruptError: it cannot be understood; it is left as it is.
            StateTooNewError: a newer tachikoma wrote it.
            HostError: it cannot be read.
        """
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return Ledger()
        except OSError as error:
            raise files.from_os_error(error, self._file) from error
        try:
            return decode(raw)
        except TooNewError as error:
            raise StateTooNewError(
                f"{self._file} was written by a newer tachikoma: {error}",
                hint="use that one, or a later one; the file stays as it is",
            ) from error
        except NotOursError as error:
            raise StateCorruptError(
                f"{self._file} cannot be understood: {error}",
                hint="put a good copy in its place, or move it away: the VMs stay as they are, and"
                " `tachikoma list` then shows them without their branches",
            ) from error

    @contextlib.contextmanager
    def edit(self) -> Iterator[Ledger]:
        """Lock, read, let the block change the ledger, write at once. An error writes nothing.

        Short: never held over anything that waits.

        Raises:
            StateError: somebody else holds the lock all the time, or as ``read``.
            HostError: the file cannot be written; the old one stays.
        """
        with self._locked():
            ledger = self.read()
            before = dict(ledger.vms)
            yield ledger
            if ledger.vms != before:
                self._sweep()
                files.write_atomically(self._file, encode(ledger))

    def hold(
        self, vm: VmName, purpose: str, *, report: Report, deadline_s: float
    ) -> AbstractAsyncContextManager[None]:
        """Be the only one who works on ``vm``; waits for another holder and reports who it is.

        The lock ends with its holder, however that ends; its file goes with it.

        Raises:
            VmBusyError: still held after ``deadline_s``; names the holder's pid and purpose.
        """
        assert is_vm_name(vm), vm
        return held(
            self._locks / f"{vm}.lock",
            vm,
            Holder(pid=os.getpid(), purpose=purpose, since=self._clock.now()),
            clock=self._clock,
            report=report,
            deadline_s=deadline_s,
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(self._lock, deadline_s=_EDIT_DEADLINE_S))
            except TimeoutError as error:
                raise StateError(
                    f"{self._lock} stayed locked for {_EDIT_DEADLINE_S:g} s",
                    hint=f"another tachikoma hangs; `fuser {self._lock}` tells which",
                ) from error
            yield

    def _sweep(self) -> None:
        """Remove what a writer left that was killed while it wrote."""
        for left in self._file.parent.glob(f".{self._file.name}.*.tmp"):
            left.unlink(missing_ok=True)


def encode(ledger: Ledger) -> bytes:
    """Give the file for ``ledger``: JSON in ASCII, so that any path and branch name survives."""
    vms = {name: _encoded(record) for name, record in sorted(ledger.vms.items())}
    return json.dumps({"version": VERSION, "vms": vms}, indent=1).encode("ascii") + b"\n"


def decode(raw: bytes) -> Ledger:
    """Give the ledger of a file of any version.

    Raises:
        TooNewError: a newer tachikoma wrote it.
        NotOursError: it is not what tachikoma writes; says why.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NotOursError(f"it is no JSON ({error})") from error
    vms = _mapping(migrated(dict(_mapping(document, "it"))).get("vms"), "vms")
    return Ledger({VmName(name): _record(name, fields) for name, fields in vms.items()})


def _encoded(record: VmRecord) -> dict[str, object]:
    assert is_vm_name(record.name), record.name
    return {
        "repository": str(record.repository),
        "repository_name": record.repository_name,
        "branch": record.branch,
        "worktree": str(record.worktree),
        "engine": record.engine,
        "image": record.image,
        "created": record.created,
        "last_used": record.last_used,
        "token_hashes": list(record.token_hashes),
        "mounts": [[tag, str(path)] for tag, path in record.mounts],
        "remote": record.remote,
        "egress_allow": list(record.egress_allow),
        "egress_deny": list(record.egress_deny),
    }


def _record(name: str, raw: object) -> VmRecord:
    if not is_vm_name(name):
        raise NotOursError(f"{name!r} cannot be the name of a VM")
    fields = _mapping(raw, name)

    def text(key: str) -> str:
        return _text(fields.get(key), f"{name}.{key}")

    def items(key: str) -> list[object]:
        return _items(fields.get(key), f"{name}.{key}")

    def texts_or_none(key: str) -> tuple[str, ...]:
        """Read a list that earlier versions did not write."""
        return tuple(_text(each, f"{name}.{key}") for each in items(key)) if key in fields else ()

    return VmRecord(
        name=VmName(name),
        repository=Path(text("repository")),
        repository_name=text("repository_name"),
        branch=text("branch"),
        worktree=Path(text("worktree")),
        engine=text("engine"),
        image=text("image"),
        created=_number(fields.get("created"), f"{name}.created"),
        last_used=_number(fields.get("last_used"), f"{name}.last_used"),
        token_hashes=tuple(_text(each, f"{name}.token_hashes") for each in items("token_hashes")),
        mounts=tuple(_mount(each, f"{name}.mounts") for each in items("mounts")),
        remote=_text(fields.get("remote", ""), f"{name}.remote"),
        egress_allow=texts_or_none("egress_allow"),
        egress_deny=texts_or_none("egress_deny"),
    )


def _mount(raw: object, what: str) -> tuple[str, Path]:
    pair = _items(raw, what)
    if len(pair) != 2:
        raise NotOursError(f"{what} holds no pairs")
    return _text(pair[0], what), Path(_text(pair[1], what))


def _mapping(raw: object, what: str) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        raise NotOursError(f"{what} is no table")
    return raw


def _items(raw: object, what: str) -> list[object]:
    if not isinstance(raw, list):
        raise NotOursError(f"{what} is no list")
    return raw


def _text(raw: object, what: str) -> str:
    if not isinstance(raw, str):
        raise NotOursError(f"{what} is no text")
    return raw


def _number(raw: object, what: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise NotOursError(f"{what} is no number")
    try:
        return float(raw)
    except OverflowError as error:
        raise NotOursError(f"{what} is too large") from error
