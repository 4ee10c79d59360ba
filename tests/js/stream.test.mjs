import assert from "node:assert/strict";
import { test } from "node:test";
import { Transcript, bodyOf, commitsIn, summaryOf } from "./static/stream.js";

const line = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const chunks = (values, from = 1) => values.map((value, at) => ({ number: from + at, at: "2026-11-21T00:00:00Z", attempt: 1, text: line(value), partial: false }));
const says = (...content) => ({ type: "assistant", message: { content } });
const tool = (id, name, input) => says({ type: "tool_use", id, name, input });
const came = (id, content, more = {}) => ({ type: "user", message: { content: [{ type: "tool_result", tool_use_id: id, content }] }, ...more });

function read(...values) {
  const transcript = new Transcript();
  transcript.push(chunks(values));
  return transcript.entries;
}

test("a turn is read as what happened in it", () => {
  const entries = read(
    { type: "system", subtype: "init", cwd: "/w", session_id: "s", model: "opus", claude_code_version: "2" },
    says({ type: "thinking", thinking: "hm" }, { type: "text", text: "I look." }),
    tool("t", "Read", { file_path: "/w/src/a.py" }),
    came("t", [{ type: "text", text: "1 line" }, { type: "image" }]),
    { type: "system", subtype: "init", cwd: "/w", session_id: "s", model: "opus" },
    { type: "result", subtype: "success", is_error: false, result: "I look.", num_turns: 2, duration_ms: 9, total_cost_usd: 1 },
  );
  assert.deepEqual(entries.map((each) => each.kind), ["session", "thinking", "text", "tool", "turn"]);
  assert.deepEqual([entries[3].summary, entries[3].result, entries[3].isError], ["src/a.py", "1 line\n[a picture]", false]);
  assert.deepEqual([entries[4].text, entries[4].turns, entries[4].usd], ["", 2, 1]);
});

test("what Claude Code notes for programs is not shown, what nobody knows is", () => {
  const entries = read(
    { type: "command_lifecycle", command_uuid: "c", state: "queued", uuid: "u", session_id: "s" },
    { type: "shout", words: "hello" },
  );
  assert.deepEqual(entries.map((each) => [each.kind, each.text]), [["plain", '{"type":"shout","words":"hello"}']]);
});

test("failures are seen as failures", () => {
  const entries = read(
    { type: "system", subtype: "api_retry", attempt: 2, max_retries: 10, error: "rate_limit", error_status: 429 },
    { type: "assistant", error: "x", message: { model: "<synthetic>", content: [{ type: "text", text: "API Error" }] } },
    { type: "result", subtype: "error_during_execution", errors: ["aborted", { a: 1 }] },
    { type: "user", message: { content: [{ type: "text", text: "[Request interrupted by user]" }] } },
  );
  assert.deepEqual(entries.map((each) => [each.kind, each.text || each.why]), [
    ["retry", "Trying the model again, 2 of 10: rate limit (429)"], ["error", "API Error"],
    ["turn", 'aborted; {"a":1}'], ["notice", "Request interrupted by user"],
  ]);
});

test("a line in pieces is one line, and is seen while it comes", () => {
  const transcript = new Transcript();
  const [whole] = chunks([says({ type: "text", text: "x".repeat(50) })]);
  const first = transcript.push([{ ...whole, text: whole.text.slice(0, 30), partial: true }]);
  assert.equal(first.added[0].kind, "partial");
  const second = transcript.push([{ ...whole, number: 2, text: whole.text.slice(30) }]);
  assert.deepEqual([second.removed[0].kind, second.added[0].kind, transcript.entries.length], ["partial", "text", 1]);
  assert.deepEqual([transcript.entries[0].first, transcript.entries[0].last], [1, 2]);
});

test("standard error is plain lines, together where they came together", () => {
  const entries = read("one\x1b[0m", "two", says({ type: "text", text: "x" }), "three", "{not json", '{"no":"type"}', "  ");
  assert.deepEqual(entries.map((each) => each.text), ["one\ntwo", "x", 'three\n{not json\n{"no":"type"}']);
});

test("another attempt is marked, and cuts a line that was never ended", () => {
  const transcript = new Transcript();
  transcript.push([
    { number: 1, at: "", attempt: 1, text: "half", partial: true },
    { number: 2, at: "", attempt: 2, text: "whole", partial: false },
  ]);
  assert.deepEqual(transcript.entries.map((each) => [each.kind, each.text ?? each.attempt]), [["plain", "half"], ["attempt", 2], ["plain", "whole"]]);
});

test("a result whose call was in an earlier piece finds it when that is loaded", () => {
  const now = new Transcript();
  now.push(chunks([came("t", "done"), "x"], 10));
  assert.deepEqual(now.entries.map((each) => each.kind), ["result", "plain"]);
  const before = new Transcript();
  before.push(chunks([tool("t", "Bash", { command: "ls" })], 1));
  const joined = now.prepend(before);
  assert.equal(joined.length, 1);
  assert.deepEqual(now.entries.map((each) => [each.kind, each.result]), [["tool", "done"], ["plain", undefined]]);
});

test("whatever an agent prints, reading it does not fail", () => {
  const odd = [null, 1, true, "s", [], [[]], {}, { type: "text" }, { type: "tool_use", input: [] }, { type: "tool_result", content: { a: 1 } }, { type: "thinking", thinking: 7 }];
  const events = [];
  for (const type of ["assistant", "user", "system", "result", "stream_event", "rate_limit_event", "control_request", "zzz"]) {
    for (const value of odd) {
      events.push({ type, subtype: value, message: value, event: value, errors: value, request: value, parent_tool_use_id: value, rate_limit_info: value });
      events.push({ type, message: { content: value }, tool_use_result: { structuredPatch: value } }, { type, message: { content: [value] } });
    }
  }
  assert.ok(read(...events, '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"__proto__","name":"constructor","input":{"__proto__":1}}]}}', "[".repeat(100_000), `{"type":${"[".repeat(9000)}`).length > 0);
});

test("a line beyond all measure keeps its beginning and says what is missing", () => {
  const transcript = new Transcript();
  const piece = "y".repeat(1_000_000);
  transcript.push(Array.from({ length: 12 }, (_, at) => ({ number: at + 1, at: "", attempt: 1, text: piece, partial: at < 11 })));
  const [entry] = transcript.entries;
  assert.equal(entry.text.length, 1_000_000);
  assert.equal(entry.lost, 11_000_000);
});

test("edits become diffs, and everything else is told by what it is used for", () => {
  const edit = bodyOf("MultiEdit", { edits: [{ old_string: "a", new_string: "b" }, { old_string: "c\n", new_string: "" }] });
  assert.deepEqual([edit.body, edit.added, edit.removed], ["diff", 1, 2]);
  assert.deepEqual(bodyOf("Write", { content: "1\n2\n" }).rows.map((row) => row.kind), ["add", "add"]);
  assert.equal(bodyOf("Bash", { command: "ls" }).body, "command");
  assert.equal(bodyOf("TodoWrite", { todos: [{}] }).body, "todos");
  assert.equal(bodyOf("Edit", {}).body, "diff");
  assert.equal(bodyOf("Odd", {}).body, "json");
  assert.equal(summaryOf({ description: "d", command: "\n make test\nx" }), "make test");
  assert.equal(summaryOf({ file_path: "/w/a" }, "/w"), "a");
  assert.equal(summaryOf({ todos: [{ status: "completed" }, {}] }), "1 of 2 done");
  assert.equal(summaryOf({ odd: 7 }), "");
});

test("commits are what git says it made", () => {
  assert.deepEqual(commitsIn("x\n[main (root-commit) 1234567] First\n[a/b abcdef01] Then\n[no] 12 x"), [
    { branch: "main", sha: "1234567", message: "First" }, { branch: "a/b", sha: "abcdef01", message: "Then" },
  ]);
});

test("text that streams is seen at once and replaced by what was said", () => {
  const delta = (text) => ({ type: "stream_event", event: { type: "content_block_delta", delta: { type: "text_delta", text } } });
  const entries = read(delta("Hel"), delta("lo"));
  assert.deepEqual(entries.map((each) => [each.kind, each.text]), [["draft", "Hello"]]);
  assert.deepEqual(read(delta("Hel"), says({ type: "text", text: "Hello." })).map((each) => [each.kind, each.text]), [["text", "Hello."]]);
});
