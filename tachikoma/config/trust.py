"""Which repository files the user trusts, each with the one content that was shown."""

from __future__ import annotations

import json
from pathlib import Path

from tachikoma.host import files
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import ConfigError

_VERSION = 1


class TrustedFiles:
    """The user's word on files in repositories, kept in ``file`` where no guest can write.

    What is trusted is a path with a content (its SHA-256): another content is another file.
    The record is changed under a lock and replaced whole. One that cannot be understood trusts
    nothing, and the next grant makes it anew.
    """

    def __init__(self, *, file: Path) -> None:
        self._file = file

    def trusts(self, path: Path, digest: str) -> bool:
        """Tell whether the user trusts ``path`` with this content."""
        return self._read().get(str(path)) == digest

    def known(self, path: Path) -> bool:
        """Tell whether the user has trusted ``path`` with any content."""
        return str(path) in self._read()

    def grant(self, path: Path, digest: str) -> None:
        """Trust ``path`` with this content, and with no other any more.

        Raises:
            ConfigError: another process holds the record.
            HostError: the record cannot be written; it stays as it was.
        """
        self._change(path, digest)

    def revoke(self, path: Path) -> None:
        """Trust ``path`` no longer. Does nothing if it was not trusted.

        Raises:
            ConfigError, HostError: as ``grant``.
        """
        self._change(path, None)

    def _change(self, path: Path, digest: str | None) -> None:
        private_dir(self._file.parent)
        lock = self._file.with_name(f"{self._file.name}.lock")
        try:
            with files.locked(lock):
                known = self._read()
                known.pop(str(path), None)
                if digest is not None:
                    known[str(path)] = digest
                document = {"version": _VERSION, "files": dict(sorted(known.items()))}
                files.write_atomically(self._file, json.dumps(document, indent=1).encode() + b"\n")
        except TimeoutError as error:
            raise ConfigError(
                f"another process holds {lock}", hint="end it, then run this again"
            ) from error

    def _read(self) -> dict[str, str]:
        try:
            document = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(document, dict) or document.get("version") != _VERSION:
            return {}
        listed = document.get("files")
        entries = listed.items() if isinstance(listed, dict) else ()
        return {path: digest for path, digest in entries if isinstance(digest, str)}
