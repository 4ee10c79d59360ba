from __future__ import annotations

import json
from pathlib import Path

import pytest

from tachikoma.proxy.ledger import Entry, RequestLedger, Verdict, line
from tachikoma.proxy.meter import Tokens
from tachikoma.proxy.usage import Sum, UsageBook


def entry(path: str = "/v1/messages?beta=true", method: str = "POST") -> Entry:
    return Entry(1_700_000_000.25, 5.0, method, path)


def test_a_line_tells_all_but_query_and_clock() -> None:
    told = entry()
    told.vm, told.branch, told.status = "tachikoma-a-b", "b", 200
    told.received, told.sent = 3, 7
    told.first_byte_s, told.duration_s, told.verdict = 0.0012345678, 2.0, Verdict.FORWARDED
    assert json.loads(line(told)) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "vm": "tachikoma-a-b",
        "branch": "b",
        "method": "POST",
        "host": "",
        "path": "/v1/messages",
        "status": 200,
        "received": 3,
        "sent": 7,
        "first_byte_s": 0.001235,
        "duration_s": 2.0,
        "verdict": "forwarded",
        "why": "",
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("http://user:pass@host/a?b", "http://host/a"),
        ("/a\nb\x1b[0m", "/a\nb\x1b[0m"),
        ("/\udc80", "/\udc80"),
        ("/" + "x" * 1000, "/" + "x" * 199),
        ("/v1/sk-ant-api03-secret", "/v1/sk-ant-api0[redacted]"),
    ],
)
def test_whatever_the_client_sent_is_one_line_without_secrets(path: str, told: str) -> None:
    written = line(entry(path, "M" * 50))
    assert written.count(b"\n") == 1
    assert written.isascii()
    assert json.loads(written)["path"] == told
    assert json.loads(written)["method"] == "M" * 16


def test_a_model_call_tells_its_model_and_tokens() -> None:
    told = entry()
    told.model, told.tokens = "claude-x", Tokens(1, 2, 3, 4)
    assert json.loads(line(told))["model"] == "claude-x"
    assert json.loads(line(told))["tokens"] == {
        "input": 1,
        "output": 2,
        "cache_write": 3,
        "cache_read": 4,
    }


def read(file: Path) -> list[str]:
    return [json.loads(each)["path"] for each in file.read_text().splitlines()]


def test_entries_stand_in_the_file_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "requests.jsonl"
    with RequestLedger(file=file) as ledger:
        for number in range(50):
            ledger.add(entry(f"/{number}"))
    with RequestLedger(file=file) as ledger:
        ledger.add(entry("/50"))
    assert read(file) == [f"/{number}" for number in range(51)]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_full_file_is_moved_away_and_the_three_last_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    size = len(line(entry("/0")))
    with RequestLedger(file=file, largest=2 * size) as ledger:
        for number in range(9):
            ledger.add(entry(f"/{number}"))
    kept = [file, *(file.with_name(f"{file.name}.{number}") for number in (1, 2, 3))]
    assert [read(each) for each in kept] == [["/8"], ["/6", "/7"], ["/4", "/5"], ["/2", "/3"]]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_file_that_was_removed_is_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    with RequestLedger(file=file) as ledger:
        ledger.add(entry("/0"))
        ledger._writer.submit(file.unlink).result(timeout=5)
        ledger.add(entry("/1"))
    assert read(file) == ["/1"]


def test_a_line_that_was_cut_short_is_ended_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(line(entry("/0")) + line(entry("/1"))[:20])
    with RequestLedger(file=file) as ledger:
        ledger.add(entry("/2"))
    first, torn, last = file.read_bytes().splitlines()
    assert (json.loads(first)["path"], json.loads(last)["path"]) == ("/0", "/2")
    assert torn == line(entry("/1"))[:20]


def test_what_has_token_counts_is_in_the_account_too(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    book = UsageBook(tmp_path / "usage.sqlite")
    counted = entry()
    counted.vm, counted.branch, counted.model = "a", "b", "m"
    counted.tokens = Tokens(1, 2)
    with RequestLedger(file=file, usage=book) as ledger:
        ledger.add(entry())
        ledger.add(counted)
    assert book.sums("vm") == (Sum("a", "m", 1, Tokens(1, 2)),)


def test_a_disk_that_refuses_loses_the_line_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "requests.jsonl"
    file.mkdir()
    with RequestLedger(file=file) as ledger:
        ledger.add(entry())
    assert "not recorded" in caplog.text
