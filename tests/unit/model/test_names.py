from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tachikoma.model.names import LONGEST, PREFIX, is_vm_name, mark, slugify, vm_name

ANY = (
    st.text() | st.text(alphabet="/.-_#@!ü é☃", max_size=5) | st.text(alphabet="ab-/", min_size=30)
)


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("main", "tachikoma-repo-main"),
        ("feature/x", "tachikoma-repo-feature-x"),
        ("Feature/X_1.2", "tachikoma-repo-feature-x-1-2"),
        ("feature/ünï-cödé", "tachikoma-repo-feature-uni-code"),
        ("--a//b--", "tachikoma-repo-a-b"),
        ("straße", "tachikoma-repo-strae"),
    ],
)
def test_a_plain_branch_gives_the_simple_name(branch: str, name: str) -> None:
    assert vm_name("repo", branch) == name


@given(repo=ANY, branch=ANY, taken_by=ANY)
def test_every_name_is_valid_for_every_repository_and_branch(
    repo: str, branch: str, taken_by: str
) -> None:
    name = vm_name(repo, branch, taken_by=taken_by)
    assert is_vm_name(name)
    assert name.startswith(PREFIX)
    assert not name.endswith("-")
    assert "--" not in name


@given(repo=ANY, branch=ANY, one=st.text(min_size=1), other=st.text(min_size=1))
def test_a_taken_name_gives_way_to_one_of_its_own_for_each_taker(
    repo: str, branch: str, one: str, other: str
) -> None:
    assume(one != other)
    assert vm_name(repo, branch, taken_by=one) != vm_name(repo, branch, taken_by=other)
    assert vm_name(repo, branch, taken_by=one) == vm_name(repo, branch, taken_by=one)


@given(st.text(alphabet="!/☃ ._-", min_size=1), st.text(alphabet="!/☃ ._-", min_size=1))
def test_branches_of_nothing_but_symbols_get_names_that_differ(one: str, other: str) -> None:
    assume(one != other)
    assert re.fullmatch(r"tachikoma-repo-[0-9a-f]{6}", vm_name("repo", one))
    assert vm_name("repo", one) != vm_name("repo", other)


def test_long_branches_are_cut_and_still_told_apart() -> None:
    one, other = vm_name("repo", "x" * 200), vm_name("repo", "x" * 199 + "y")
    assert re.fullmatch(r"tachikoma-repo-x{33}-[0-9a-f]{6}", one)
    assert one != other


def test_long_repositories_are_cut_and_still_told_apart() -> None:
    one, other = vm_name("r" * 200, "main"), vm_name("r" * 199 + "s", "main")
    assert max(len(one), len(other)) <= LONGEST
    assert one != other
    assert one.endswith("-main")


def test_a_long_name_that_is_taken_still_fits() -> None:
    name = vm_name("r" * 200, "x" * 200, taken_by="/src/r:x")
    assert is_vm_name(name)
    assert name.endswith("-" + mark("/src/r:x"))


def test_a_slug_that_just_fits_is_not_cut() -> None:
    assert slugify("a" * 40) == "a" * 40
    assert slugify("a" * 41) == "a" * 33 + "-" + mark("a" * 41)


@given(st.text(), st.integers(min_value=8, max_value=80))
def test_a_slug_is_never_empty_and_never_too_long(text: str, longest: int) -> None:
    slug = slugify(text, longest=longest)
    assert 1 <= len(slug) <= longest
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)


@given(st.text(alphabet="abcXYZ019-/_ü", max_size=40))
def test_a_slug_is_its_own_slug(text: str) -> None:
    assert slugify(slugify(text)) == slugify(text)


def test_a_mark_is_the_same_for_ever_and_knows_its_parts_apart() -> None:
    assert mark("a", "b") == "59b271"
    assert mark("a", "b") != mark("ab")
    assert mark("caf\udce9") != mark("café")


@pytest.mark.parametrize(
    "text", ["", "-x", "X", "a/b", "..", "a b", "a\n", "ü", "x" * 64, "tachikoma_x"]
)
def test_what_could_not_be_a_file_or_host_name_is_no_vm_name(text: str) -> None:
    assert not is_vm_name(text)
