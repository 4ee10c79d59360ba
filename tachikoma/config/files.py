"""The settings files of one place, and how a command changes one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tachikoma.config import describe, edit
from tachikoma.config.layers import Layer
from tachikoma.config.load import LOCAL_FILE, REPOSITORY_FILE, check, parsed
from tachikoma.host import files
from tachikoma.host.paths import private_dir
from tachikoma.model.errors import BadValueError, ConfigError, HostError


@dataclass(frozen=True, slots=True)
class SettingsFiles:
    """Where settings are read from: the user's own file, and two of the repository, if any."""

    own: Path
    repository: Path | None
    home: Path

    @property
    def shared(self) -> Path | None:
        """The file that everybody who works on the repository has."""
        return None if self.repository is None else self.repository / REPOSITORY_FILE

    @property
    def local(self) -> Path | None:
        """The file in the repository that is not committed."""
        return None if self.repository is None else self.repository / LOCAL_FILE

    def understood(self, key: str, values: Sequence[str], file: Path) -> str:
        """Give what was typed for ``key`` as TOML: a TOML value, a bare text, or a list of texts.

        Raises:
            UnknownKeyError, BadValueError: there is no such key, or it accepts none of these.
        """
        in_repository = file != self.own
        base = self.repository if in_repository and self.repository else self.home
        layer = Layer(file, base=base, home=self.home, in_repository=in_repository)
        refused: BadValueError | None = None
        for candidate in _candidates(values):
            try:
                check(key, candidate, layer)
            except BadValueError as error:
                refused = error
            else:
                return describe.toml(candidate)  # type: ignore[arg-type]  # what a key accepts is plain
        assert refused is not None
        raise refused

    def change(self, file: Path, key: str, toml: str | None) -> bool:
        """Set ``key`` in ``file`` to a TOML value, or take it out (None); False: it was not there.

        The file is replaced whole; a symbolic link stays one.

        Raises:
            ConfigError: the file is no TOML, or is written so that this cannot be done safely.
        """
        text = _read(file)
        known = key in parsed(text.encode("utf-8"), file)
        changed = edit.without(text, key) if toml is None else edit.with_value(text, key, toml)
        if changed != text:
            self._write(file, changed)
        return known

    def ensure(self, file: Path) -> None:
        """Make ``file`` with every key explained and commented out, unless it is there."""
        if not file.exists():
            self._write(file, describe.example())

    def _write(self, file: Path, text: str) -> None:
        if file == self.own:
            private_dir(file.parent)
        target = file.resolve()
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        files.write_atomically(target, text.encode("utf-8"), mode=mode)


def _candidates(values: Sequence[str]) -> list[object]:
    if len(values) > 1:
        return [list(values)]
    (only,) = values
    found: list[object] = []
    with contextlib.suppress(ConfigError, KeyError):  # no TOML value: a bare text
        found.append(parsed(f"value = {only}\n".encode(), Path("-"))["value"])
    return [*found, only, [only]]


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8", hint="correct the file") from error
    except OSError as error:
        raise HostError(f"{file} cannot be read: {error.strerror}", hint="look at it") from error
