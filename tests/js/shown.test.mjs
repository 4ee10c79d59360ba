import assert from "node:assert/strict";
import { test } from "node:test";
import { areas, buckets, told } from "./static/chart.js";
import * as format from "./static/format.js";
import { columnOf, columns, matches, treeRows } from "./static/order.js";

const AT = Date.parse("2026-11-21T12:00:00Z");
const ago = (s) => new Date(AT - s * 1000).toISOString();
const task = (id, more = {}) => ({
  id, name: id, status: "running", attention: "", parent: null, orchestrator: false, dependencies: [], priority: 0,
  createdAt: ago(100), startedAt: ago(60), endedAt: null, repo: null, daemon: null, ...more,
});

test("times, sizes and sums are told as people read them", () => {
  assert.deepEqual([0, 59_900, 184_000, 7_500_000, 273_600_000, NaN].map(format.duration), ["0s", "59s", "3m 04s", "2h 05m", "3d 4h", ""]);
  assert.deepEqual([1, 60, 3000, 90_000, 400_000].map((s) => format.ago(ago(s), AT)), ["just now", "60 s ago", "50 min ago", "25 h ago", "5 days ago"]);
  assert.deepEqual([0, 999, 1000, 12_345, 99_960, 999_600, 2e9].map(format.count), ["0", "999", "1k", "12.3k", "100k", "1M", "2G"]);
  assert.deepEqual([0, 0.004, 0.8421, 1234.5].map(format.cost), ["", "<$0.01", "$0.84", "$1,234.50"]);
  assert.deepEqual([0, 999, 1500, 3.4e9, 9.996e11].map(format.bytes), ["0 B", "999 B", "1.5 kB", "3.4 GB", "1.0 TB"]);
  assert.deepEqual([0, 512, 4096].map(format.memory), ["–", "512 MiB", "4 GiB"]);
  assert.deepEqual([format.elapsed(task("a"), AT), format.elapsed(task("a", { startedAt: null, endedAt: ago(1) }), AT)], [60_000, null]);
});

test("repositories are told by what people call them", () => {
  const places = ["https://github.com/acme/web.git", "git@github.com:acme/web.git", "ssh://git@h.example/a/b/c", "/home/ada/web/", "web", "", null];
  assert.deepEqual(places.map(format.repository), ["acme/web", "acme/web", "b/c", "web", "web", "", ""]);
});

test("a name is one line in which nothing turns or moves", () => {
  assert.equal(format.name("a\u202e\n\x1b[31m b\u0000"), "a [31m b");
  assert.equal(format.name("x".repeat(400)).length, 300);
  assert.equal(format.name(undefined), "");
});

test("whatever waits for a person is in one column, whatever its status", () => {
  assert.deepEqual(
    [task("a"), task("b", { status: "initializing" }), task("c", { status: "done" }), task("d", { status: "done", attention: "x" }),
      task("e", { status: "interrupted" }), task("f", { status: "failed" }), task("g", { status: "pending" }), task("h", { status: "paused", attention: "x" })].map(columnOf),
    ["running", "running", "done", "waiting", "failed", "failed", "pending", "waiting"],
  );
});

test("who is next comes first where they wait, and the newest elsewhere", () => {
  const sorted = columns([
    task("late", { status: "pending", createdAt: ago(1) }), task("early", { status: "pending", createdAt: ago(9) }), task("first", { status: "pending", priority: 5, createdAt: ago(0) }),
    task("old", { status: "done", endedAt: ago(9) }), task("new", { status: "done", endedAt: ago(1) }),
  ]);
  assert.deepEqual([sorted.pending, sorted.done].map((list) => list.map((each) => each.id)), [["first", "early", "late"], ["new", "old"]]);
});

test("a search has all its words somewhere on the card", () => {
  const one = task("a", { name: "Retry requests", repo: "https://h/acme/shop", daemon: { hostname: "mars" } });
  assert.deepEqual(["", "retry mars", "SHOP", "retry venus"].map((words) => matches(one, words)), [true, true, true, false]);
});

test("a tree has parents before children, and an end even if parents go round", () => {
  const list = [task("root", { orchestrator: true }), task("b", { parent: "root", status: "done", createdAt: ago(1) }), task("a", { parent: "root", createdAt: ago(5) }), task("leaf", { parent: "a" }), task("alone"), task("lost", { parent: "gone" })];
  assert.deepEqual(treeRows(list).map((row) => [row.task.id, row.level, row.children, row.done]), [["root", 1, 2, 1], ["a", 2, 1, 0], ["leaf", 3, 0, 0], ["b", 2, 0, 0]]);
  assert.deepEqual(treeRows(list, { closed: new Set(["root"]) }).map((row) => [row.task.id, row.open]), [["root", false]]);
  assert.equal(treeRows(list, { all: true }).length, 6);
  assert.deepEqual(treeRows([task("x", { parent: "y" }), task("y", { parent: "x" })], { all: true }), []);
});

test("a load has its peak in each piece, and gaps where nothing is known", () => {
  const sample = (s, active) => ({ at: ago(s), active, most: 4 });
  const pieces = buckets([sample(95, 1), sample(92, 3), sample(15, 2), sample(5, 0), sample(500, 9)], { from: AT - 100_000, to: AT, count: 10 });
  assert.deepEqual(pieces.map((each) => each?.active ?? null), [3, null, null, null, null, null, null, null, 2, 0]);
  assert.deepEqual(areas(pieces, { width: 100, height: 40, top: 4 }), ["M0 40V10H10V40Z", "M80 40V20H90V40H100V40Z"]);
  assert.deepEqual([told(pieces), told([null])], ["peak 3, mean 1.7", "no samples"]);
});
