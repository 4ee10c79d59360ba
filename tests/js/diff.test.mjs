import assert from "node:assert/strict";
import { test } from "node:test";
import { changed, diffRows, isDiff, lineDiff, patchRows } from "./static/diff.js";

const told = (rows) => rows.map(({ kind, text }) => `${{ same: " ", add: "+", del: "-", gap: "~" }[kind] ?? kind}${text}`);

test("lines that stay are told from those that come and go", () => {
  assert.deepEqual(told(lineDiff("a\nb\nc\n", "a\nx\nc\nd\n")), [" a", "-b", "+x", " c", "+d"]);
  assert.deepEqual(told(lineDiff("", "a\nb")), ["+a", "+b"]);
  assert.deepEqual(lineDiff("same\n", "same\n").map((row) => row.kind), ["gap"]);
});

test("what is far from a change is left out", () => {
  const before = Array.from({ length: 40 }, (_, at) => `line ${at}`);
  const after = before.with(20, "other");
  const rows = told(lineDiff(before.join("\n"), after.join("\n")));
  assert.deepEqual(rows, ["~⋯", " line 17", " line 18", " line 19", "-line 20", "+other", " line 21", " line 22", " line 23", "~⋯"]);
});

test("a diff of thousands of lines does not take long", () => {
  const many = (word) => Array.from({ length: 20_000 }, (_, at) => `${word} ${at}`).join("\n");
  assert.deepEqual(changed(lineDiff(many("a"), many("b"))), { added: 20_000, removed: 20_000 });
});

test("git's diffs are seen, and lists are not", () => {
  const text = "commit 1\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-- old\n+new\n\\ No newline\nrest\n- a list";
  assert.equal(isDiff(text), true);
  assert.deepEqual(diffRows(text).map((row) => row.kind), ["same", "meta", "meta", "meta", "hunk", "same", "del", "add", "same", "same", "same"]);
  assert.equal(isDiff("- one\n- two\n+ three"), false);
});

test("hunks of an edit's result become rows, and nonsense none", () => {
  assert.deepEqual(patchRows([{ oldStart: 1, oldLines: 2, newStart: 1, newLines: 2, lines: [" a", "-b", "+c", 7] }]), [
    { kind: "hunk", text: "@@ -1,2 +1,2 @@" }, { kind: "same", text: "a" }, { kind: "del", text: "b" }, { kind: "add", text: "c" },
  ]);
  for (const bad of [null, "x", [null, 1, {}], { lines: [] }]) assert.deepEqual(patchRows(bad), []);
});
