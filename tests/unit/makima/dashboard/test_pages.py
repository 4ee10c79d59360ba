from __future__ import annotations

import gzip
import re
from pathlib import Path

from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request

from tachikoma.makima.dashboard.pages import POLICY, answer, assets

FILES = assets()
LARGEST_ON_THE_WIRE = 120_000


def test_a_file_comes_with_the_policy_and_its_mark() -> None:
    response = answer(FILES["main.js"], make_mocked_request("GET", "/static/main.js"))
    assert (response.status, response.content_type) == (200, "text/javascript")
    assert response.headers["Content-Security-Policy"] == POLICY
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.body == FILES["main.js"].body
    assert response.etag is not None


def test_a_file_is_packed_for_who_can_unpack_it() -> None:
    request = make_mocked_request("GET", "/", headers={hdrs.ACCEPT_ENCODING: "br, gzip"})
    response = answer(FILES["style.css"], request)
    assert response.headers[hdrs.CONTENT_ENCODING] == "gzip"
    assert isinstance(response.body, bytes)
    assert gzip.decompress(response.body) == FILES["style.css"].body


def test_what_the_browser_has_is_not_sent_again() -> None:
    asset = FILES["main.js"]
    for mark, status in ((f'"{asset.tag}"', 304), ('W/"other"', 200)):
        request = make_mocked_request("GET", "/", headers={hdrs.IF_NONE_MATCH: mark})
        response = answer(asset, request)
        assert (response.status, bool(response.body)) == (status, status == 200)


def test_the_policy_allows_nothing_inline_and_no_way_from_text_to_html() -> None:
    assert "unsafe" not in POLICY
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in POLICY
    for name, asset in FILES.items():
        text = asset.body.decode()
        ways = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\(|new Function"
        )
        assert re.search(ways, text) is None, name
        if name.endswith(".html"):
            assert re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)", text) is None


def test_nothing_comes_from_elsewhere() -> None:
    namespaces = {"http://www.w3.org/2000/svg"}
    for name, asset in FILES.items():
        found = set(re.findall(r"https?://[\w.-]+[\w/.-]*", asset.body.decode()))
        assert found <= namespaces, name


def test_every_file_that_is_named_is_there() -> None:
    for name, asset in FILES.items():
        text = asset.body.decode()
        named = set(re.findall(r'from "\./([\w.]+)"|/static/([\w.]+)', text))
        for pair in named:
            assert "".join(pair) in FILES, (name, pair)


def test_all_of_it_is_small() -> None:
    assert sum(len(each.packed) for each in FILES.values()) < LARGEST_ON_THE_WIRE


def test_other_files_in_the_directory_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "more").mkdir()
    assert list(assets(tmp_path)) == ["a.js"]
