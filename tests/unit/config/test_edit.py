from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from tachikoma.config.edit import with_value, without
from tachikoma.model.errors import ConfigError

KEYS = ("vm_cpus", "vm_memory", "claude_flags", "base_image")


def test_a_new_key_goes_to_the_end() -> None:
    assert with_value("", "vm_cpus", "2") == "vm_cpus = 2\n"
    assert with_value("# mine\nb = 1", "vm_cpus", "2") == "# mine\nb = 1\nvm_cpus = 2\n"


def test_a_key_that_is_there_is_replaced_and_the_rest_stays() -> None:
    text = '# first\n  "vm_cpus"   =  2 # two\n\n# last\nx = "y"\n'
    assert with_value(text, "vm_cpus", "8") == '# first\nvm_cpus = 8\n\n# last\nx = "y"\n'


def test_a_value_of_several_lines_goes_as_a_whole() -> None:
    text = 'a = [\n  "x = 1", # ]\n  "y",\n]\nb = """\na = 3\n"""\n'
    assert with_value(text, "a", "[]") == 'a = []\nb = """\na = 3\n"""\n'
    assert without(text, "a") == 'b = """\na = 3\n"""\n'


def test_line_ends_stay() -> None:
    assert with_value("a = 1\r\nb = 2\r\n", "a", "3") == "a = 3\r\nb = 2\r\n"


def test_a_commented_key_is_none() -> None:
    assert with_value("# a = 1\n", "a", "2") == "# a = 1\na = 2\n"
    assert without("# a = 1\n", "a") == "# a = 1\n"


def test_a_text_that_looks_like_the_key_is_not_touched() -> None:
    text = 'b = """\na = 1\n"""\na = 2\n'
    with pytest.raises(ConfigError, match="cannot be changed safely"):
        with_value(text, "a", "3")


PLAIN = st.one_of(
    st.integers(0, 99),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
    st.lists(st.sampled_from(["a", "b = 1", "# x", '"', "]"]), max_size=3),
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file of settings with comments, blank lines and lists over several lines."""
    lines: list[str] = []
    for key in draw(st.permutations(KEYS))[: draw(st.integers(0, 4))]:
        lines += draw(st.sampled_from([[], [""], ["# a comment"], ["# vm_cpus = 1"]]))
        value = draw(PLAIN)
        if isinstance(value, list) and draw(st.booleans()):
            lines += [f"{key} = [", *(f"  {json.dumps(each)}," for each in value), "]"]
        else:
            lines.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""])


@given(text=files(), key=st.sampled_from(KEYS), value=PLAIN)
def test_after_a_change_only_that_key_means_something_else(text: str, key: str, value: Any) -> None:
    before = tomli.loads(text)
    with contextlib.suppress(ConfigError):
        changed = with_value(text, key, json.dumps(value, ensure_ascii=False))
        assert tomli.loads(changed) == {**before, key: value}
        assert [line for line in text.splitlines() if line.startswith("#")] == [
            line for line in changed.splitlines() if line.startswith("#")
        ]
        left = without(changed, key)
        assert tomli.loads(left) == {k: v for k, v in before.items() if k != key}
