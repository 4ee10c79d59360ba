import assert from "node:assert/strict";
import { test } from "node:test";
import { plain, prose, safeLink, segments } from "./static/text.js";

test("terminal escapes go, whatever they are, and text stays", () => {
  assert.equal(plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07on \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b(B\x9b2Jend"), "red on link end");
  assert.equal(plain("\x1b]0;never ended\nnext line"), "\nnext line");
  assert.equal(plain("\x1bPdevice\x1b\\x\x1b"), "x");
});

test("a progress line shows what it showed last", () => {
  assert.equal(plain("1%\r50%\r100%\r\nnext"), "100%\nnext");
  assert.equal(plain("abc\b\bX"), "aX");
});

test("megabytes of hostile escapes take no time", () => {
  const began = Date.now();
  for (const piece of ["\x1b[", "\x1b]", "\x1bP", "\b", "a\r", "https://", "`", "**", "[x](", "\u202e"]) {
    segments(plain(piece.repeat(300_000)));
    prose(piece.repeat(30_000));
  }
  assert.ok(Date.now() - began < 4000, `${Date.now() - began} ms`);
});

test("only web addresses become links, and only what belongs to them", () => {
  assert.deepEqual(segments("see (https://a.example/x_(y)), or javascript:alert(1)."), [
    { kind: "text", text: "see (" },
    { kind: "link", text: "https://a.example/x_(y)", href: "https://a.example/x_(y)" },
    { kind: "text", text: "), or javascript:alert(1)." },
  ]);
  for (const no of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://bank.example@evil.example/", "https://", "ftp://a.example", null]) {
    assert.equal(safeLink(no), null, String(no));
  }
  assert.deepEqual(segments("https://user:pass@host.example/").map((each) => each.kind), ["text"]);
});

test("characters that nobody sees are named, so that text cannot be turned round", () => {
  assert.deepEqual(segments("a\u202eb\u0007"), [
    { kind: "text", text: "a" }, { kind: "unseen", text: "U+202E" }, { kind: "text", text: "b" }, { kind: "unseen", text: "U+0007" },
  ]);
  assert.equal(segments("https://a.example/\u202egpj.exe")[0].text, "https://a.example/");
  assert.deepEqual(segments("tab\tand\nline"), [{ kind: "text", text: "tab\tand\nline" }]);
});

test("prose has code, headings and runs, and markup of pages is text", () => {
  assert.deepEqual(prose("# Plan\nuse `x` and **y**\n```js\n<b>1</b>\n```\n<script>"), [
    { kind: "heading", runs: [{ kind: "text", text: "Plan" }] },
    { kind: "text", runs: [{ kind: "text", text: "use " }, { kind: "code", text: "x" }, { kind: "text", text: " and " }, { kind: "strong", text: "y" }] },
    { kind: "code", text: "<b>1</b>" },
    { kind: "text", runs: [{ kind: "text", text: "<script>" }] },
  ]);
  assert.deepEqual(prose("~~~\nnever closed"), [{ kind: "code", text: "never closed" }]);
});
