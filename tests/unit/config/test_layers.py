from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from tachikoma.config.layers import KEYS, Key, Layer, MismatchError, inside, whole
from tachikoma.model.settings import Settings


def layer(directory: Path) -> Layer:
    return Layer(
        file=directory / "repo" / ".tachikoma.toml",
        base=directory / "repo",
        home=directory / "home",
        in_repository=True,
    )


def test_the_table_holds_every_setting_once_and_in_order() -> None:
    assert [key.name for key in KEYS] == [
        each.name for each in fields(Settings) if each.name != "explicit"
    ]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_default_is_a_value_that_its_key_accepts(tmp_path: Path, key: Key) -> None:
    default = getattr(Settings(), key.name)
    if default is None:
        assert key.kind.check(json.loads(key.sample), layer(tmp_path))
    else:
        written = list(default) if isinstance(default, tuple) else default
        assert key.kind.check(written, layer(tmp_path)) == default


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_exactly_the_keys_without_a_default_say_what_holds_instead(key: Key) -> None:
    without = getattr(Settings(), key.name) is None
    assert (bool(key.sample), bool(key.unset)) == (without, without)


def test_the_bounds_of_a_number_belong_to_it(tmp_path: Path) -> None:
    check = whole(1, 3).check
    assert [check(n, layer(tmp_path)) for n in (1, 2, 3)] == [1, 2, 3]
    for n in (0, 4):
        with pytest.raises(MismatchError):
            check(n, layer(tmp_path))


def test_inside_is_what_the_links_lead_to(tmp_path: Path) -> None:
    here = layer(tmp_path)
    (tmp_path / "repo" / "real").mkdir(parents=True)
    (tmp_path / "repo" / "within").symlink_to(tmp_path / "repo" / "real")
    (tmp_path / "repo" / "without").symlink_to(tmp_path)
    assert inside(tmp_path / "repo" / "within" / "x", None, here) == ""
    assert "outside" in inside(tmp_path / "repo" / "without" / "x", None, here)
    assert "outside" in inside((str(tmp_path / "repository"),), None, here)
