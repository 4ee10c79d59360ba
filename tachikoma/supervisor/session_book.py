"""What is recorded of background sessions: what the VMs that they run in cannot tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tachikoma.host import files
from tachikoma.host.paths import private_dir
from tachikoma.model.errors_fleet import SupervisorError
from tachikoma.model.names import VmName

_VERSION = 1
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session that was started: its name, which is one among all, and where.

    ``created`` is seconds since the epoch.
    """

    name: str
    vm: VmName
    branch: str
    worktree: Path
    created: float


class SessionBook:
    """The records in one file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, SessionRecord]:
        """Give all records by name.

        Raises:
            SupervisorError: the file is not what tachikoma wrote; it is left as it is.
        """
        try:
            return decode(json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise files.from_os_error(error, self._file) from error
        except (ValueError, TypeError, KeyError) as error:
            raise SupervisorError(
                f"{self._file} is not what tachikoma wrote",
                hint="move it away: the sessions stay in their VMs, and `tachikoma daemon status` "
                "finds those that run",
            ) from error

    @contextlib.contextmanager
    def edit(self) -> Iterator[dict[str, SessionRecord]]:
        """Lock, read, let the block change the records, write at once. An error writes nothing.

        Raises:
            SupervisorError: as ``read``, or another command holds the file for too long.
        """
        private_dir(self._file.parent)
        lock = self._file.with_suffix(".lock")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(lock, deadline_s=_PATIENCE_S))
            except TimeoutError as error:
                raise SupervisorError(
                    f"another command has held {lock} for too long", hint="run it again"
                ) from error
            records = self.read()
            yield records
            text = json.dumps(encode(records), indent=1)
            files.write_atomically(self._file, f"{text}\n".encode())


def encode(records: Mapping[str, SessionRecord]) -> dict[str, Any]:
    """Give the records as JSON has them."""
    sessions = [{**asdict(each), "worktree": str(each.worktree)} for each in records.values()]
    return {"version": _VERSION, "sessions": sessions}


def decode(found: Mapping[str, Any]) -> dict[str, SessionRecord]:
    """Read what ``encode`` gave.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if found["version"] != _VERSION:
        raise ValueError("another version")
    records = [
        SessionRecord(**{**each, "worktree": Path(each["worktree"])}) for each in found["sessions"]
    ]
    return {each.name: each for each in records}
