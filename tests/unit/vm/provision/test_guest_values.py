from __future__ import annotations

import base64
import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachikoma.vm.provision import guest_values

json_like = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from("abc"), json_like, max_size=3)


@given(objects, objects)
def test_a_first_merge_has_all_of_ours_and_keeps_the_rest(
    kept: dict[str, object], ours: dict[str, object]
) -> None:
    result = guest_values.merged(kept, {}, ours)
    assert guest_values.merged(result, ours, ours) == result
    for key, value in ours.items():
        if not isinstance(value, dict):
            assert result[key] == value
    for key in set(kept) - set(ours):
        assert result[key] == kept[key]


@given(objects)
def test_what_was_ours_and_untouched_goes_when_the_host_has_it_no_more(
    ours: dict[str, object],
) -> None:
    there = guest_values.merged({"own": 1}, {}, ours)
    gone = guest_values.merged(there, ours, {})
    assert not {key for key in ours if not isinstance(ours[key], dict)} & set(gone)
    assert gone["own"] == 1


no_nul = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(no_nul)
def test_a_quoted_text_is_one_word_for_a_shell(text: str) -> None:
    assert shlex.split(f"export A={guest_values.quoted(text)}") == ["export", f"A={text}"]


@pytest.mark.live
@settings(max_examples=5)
@given(
    st.lists(
        no_nul | st.sampled_from(["'", "\\", "$(id)", "`id`", "\n", "!", "\udcff"]), max_size=50
    )
)
def test_real_shells_read_back_what_is_quoted(texts: list[str]) -> None:
    script = "".join(f"A={guest_values.quoted(text)}; printf '%s\\0' \"$A\"\n" for text in texts)
    for shell in ("sh", "bash"):
        done = subprocess.run(
            [shell, "-s"],
            input=script.encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=True,
        )
        read = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
        assert read == texts


@given(st.binary())
def test_what_travels_in_base64_arrives(data: bytes) -> None:
    text = guest_values.decoded(base64.b64encode(data).decode())
    assert text.encode("utf-8", "surrogateescape") == data


@given(st.text(st.characters(codec="utf-8", min_codepoint=32)))
def test_git_reads_back_any_name(text: str) -> None:
    quoted = guest_values.git_quoted(text)
    assert quoted[1:-1].replace('\\"', '"').replace("\\\\", "\\") == text
