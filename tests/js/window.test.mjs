import assert from "node:assert/strict";
import { test } from "node:test";
import { AT_ONCE, Window } from "./static/window.js";

/** A server that keeps `chunks`, in pages of so many at most. */
function server(chunks, { most = 500, dropped = 0 } = {}) {
  const asked = [];
  const load = async ({ after = 0, limit = 200, last }) => {
    asked.push({ after, limit, last });
    const from = last ? Math.max(0, chunks.length - last) : Math.max(0, chunks.findIndex((each) => each.number > after));
    const rest = last || chunks.some((each) => each.number > after) ? chunks.slice(from) : [];
    const items = rest.slice(0, Math.min(last ?? limit, most));
    const next = items.at(-1)?.number ?? after;
    return { items, next, more: next < (chunks.at(-1)?.number ?? 0), droppedBytes: dropped, ended: false };
  };
  return { load, asked };
}

const chunk = (number, text = `line ${number}`, partial = false) => ({ number, at: "", attempt: 1, text, partial });
const event = (number) => chunk(number, JSON.stringify({ type: "assistant", message: { content: [{ type: "text", text: `say ${number}` }] } }));
const texts = (window) => window.entries.map((each) => each.text);

test("the latest piece is loaded, then the one before, until the beginning", async () => {
  const all = Array.from({ length: AT_ONCE * 2 + 10 }, (_, at) => event(at + 1));
  const window = new Window(server(all).load);
  await window.loadLast();
  assert.deepEqual([texts(window)[0], texts(window).at(-1), window.hasEarlier], [`say ${AT_ONCE + 11}`, `say ${AT_ONCE * 2 + 10}`, true]);
  await window.loadEarlier();
  await window.loadEarlier();
  assert.deepEqual([texts(window).length, texts(window)[0], window.hasEarlier], [AT_ONCE * 2 + 10, "say 1", false]);
});

test("where lines are long, less of them is loaded at once, and none is left out", async () => {
  const window = new Window(server(Array.from({ length: 700 }, (_, at) => event(at + 1)), { most: 120 }).load);
  await window.loadLast();
  const first = window.entries.length;
  while (window.hasEarlier) await window.loadEarlier();
  assert.ok(first > 1 && first <= 120, `${first}`);
  assert.deepEqual(texts(window), Array.from({ length: 700 }, (_, at) => `say ${at + 1}`));
});

test("no piece begins in the middle of a line", async () => {
  const pieces = Array.from({ length: AT_ONCE + 50 }, (_, at) => chunk(at + 1, at === 0 ? '{"type":"assistant","message":{"content":[{"type":"text","text":"' : "ab", at < AT_ONCE + 49));
  pieces[AT_ONCE + 49].text = '"}]}}';
  const all = [...pieces, event(AT_ONCE + 51), event(AT_ONCE + 52)];
  const window = new Window(server(all).load);
  await window.loadLast();
  assert.deepEqual(texts(window), [`say ${AT_ONCE + 51}`, `say ${AT_ONCE + 52}`]);
  await window.loadEarlier();
  assert.equal(texts(window)[0], "ab".repeat(AT_ONCE + 48));
  assert.equal(window.hasEarlier, false);
});

test("a line longer than a page is fetched whole", async () => {
  const all = Array.from({ length: 1000 }, (_, at) => chunk(at + 1, "z", at < 999));
  const window = new Window(server(all).load);
  await window.loadLast();
  assert.deepEqual(texts(window), ["z".repeat(1000)]);
  assert.equal(window.start, 1);
});

test("what is not kept any more is not asked for again and again", async () => {
  const all = Array.from({ length: AT_ONCE }, (_, at) => event(at + 5001));
  const window = new Window(server(all, { dropped: 9000 }).load);
  await window.loadLast();
  assert.equal(window.hasEarlier, true);
  await window.loadEarlier();
  assert.deepEqual([window.hasEarlier, window.dropped, window.entries.length], [false, 9000, AT_ONCE]);
});

test("fifty megabytes go through, and little of it stays", async () => {
  const window = new Window(server([]).load);
  await window.loadLast();
  let number = 0;
  for (let round = 0; round < 500; round += 1) {
    window.push(Array.from({ length: 10 }, () => chunk((number += 1), JSON.stringify({ type: "assistant", message: { content: [{ type: "text", text: "x".repeat(10_000) }] } }))));
    window.trimHead();
  }
  const size = window.entries.reduce((sum, each) => sum + each.size, 0);
  assert.ok(size < 9_000_000 && window.entries.length > 100, `${size}`);
  assert.deepEqual([window.next, window.hasEarlier], [5000, true]);
});

test("reading far up lets go of the end, and reading down again finds every line once", async () => {
  const all = Array.from({ length: 4000 }, (_, at) => event(at + 1));
  const window = new Window(server(all).load);
  await window.loadLast();
  while (window.hasEarlier) {
    await window.loadEarlier();
    window.trimTail();
  }
  assert.equal(window.atEnd, false);
  assert.equal(texts(window)[0], "say 1");
  const seen = [...texts(window)];
  while (!window.atEnd) {
    const { added } = await window.loadLater();
    seen.push(...added.map((each) => each.text));
    window.trimHead();
  }
  assert.deepEqual(seen, all.map((_, at) => `say ${at + 1}`));
});

test("a chunk that comes twice is taken once", async () => {
  const window = new Window(server([event(1), event(2)]).load);
  await window.loadLast();
  window.push([event(2), event(3)]);
  assert.deepEqual(texts(window), ["say 1", "say 2", "say 3"]);
});
