// The daemons, and how much they had to do.

import { get } from "./api.js";
import { areas, buckets, told } from "./chart.js";
import { h, reconcile, setAttr, setText, svg } from "./dom.js";
import { ago, many, name } from "./format.js";

const WIDTH = 480;
const HEIGHT = 56;
const PIECES = 160;
const SPANS = [[1, "the last hour"], [24, "the last day"], [168, "the last week"]];
const AGAIN_MS = 30_000;

export function showDaemons(main, app) {
  const { store } = app;
  main.className = "daemons-page";
  const loads = new Map();
  let hours = 24;
  const span = h("select", { "aria-label": "Time span of the charts", on: { change: () => { hours = Number(span.value); loads.clear(); load(); } } },
    SPANS.map(([value, text]) => h("option", { value, selected: value === hours }, `Load of ${text}`)));
  const summary = h("p", { class: "told", role: "status" });
  const list = h("ul", { class: "daemons" });
  const empty = h("div", { class: "empty", hidden: true }, h("h2", {}, "No daemon has been here yet"),
    h("p", {}, "A daemon carries tasks out on its machine. Make a key for it and start it there:"),
    h("pre", {}, "tachikoma makima keys create --daemon NAME\ntachikoma makima daemon --server-url ws://THIS-SERVER"));
  main.append(h("div", { class: "bar" }, h("h1", { tabindex: "-1" }, "Daemons"), span, summary), list, empty);

  async function load() {
    const wanted = hours;
    await store.loadDaemons().catch(() => {}); // heartbeats are no events
    await Promise.all([...store.daemons.keys()].map(async (id) => {
      try {
        const found = await get(`/daemons/${id}/load?hours=${wanted}`);
        if (wanted === hours) loads.set(id, found.items);
      } catch {
        // the next round tries again
      }
    }));
    update();
  }

  let asked = "";
  function update() {
    const daemons = [...store.daemons.values()].sort((a, b) => b.connected - a.connected || a.hostname.localeCompare(b.hostname));
    const now = store.now();
    empty.hidden = daemons.length > 0 || !store.loaded;
    const here = daemons.filter((each) => each.connected);
    setText(summary, daemons.length ? `${here.length} of ${many(daemons.length, "daemon")} connected, ${many(here.reduce((sum, each) => sum + each.activeTasks, 0), "task")}` : "");
    reconcile(list, daemons, (each) => each.id, make, (node, each) => dress(node, each, now));
    const key = daemons.map((each) => each.id).join();
    if (key !== asked) {
      asked = key;
      load();
    }
  }

  function make() {
    return h("li", { class: "panel daemon" },
      h("div", { class: "line" }, h("h2", {}), h("span", { class: "status" }), h("span", { class: "busy" })),
      h("figure", {}, svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }), h("figcaption", { class: "hint" })),
      h("dl", { class: "facts" }));
  }

  function dress(node, daemon, now) {
    const [line, figure, facts] = node.children;
    const [title, status, busy] = line.children;
    setText(title, name(daemon.hostname, 80) || daemon.id.slice(0, 8));
    setAttr(status, "data-status", daemon.connected ? "connected" : "away");
    setText(status, daemon.connected ? (daemon.relay ? "relay" : "connected") : "away");
    setText(busy, daemon.maxConcurrentTasks ? `${daemon.activeTasks} of ${many(daemon.maxConcurrentTasks, "task")}` : many(daemon.activeTasks, "task"));
    chart(figure, daemon, now);
    const rows = [
      [daemon.connected ? "Heartbeat" : "Last seen", ago(daemon.lastHeartbeatAt ?? daemon.connectedAt ?? daemon.firstSeenAt, now)],
      ["Connected", daemon.connectedAt && ago(daemon.connectedAt, now)],
      ["Known since", ago(daemon.firstSeenAt, now)],
      ["Works in", daemon.directories && name(daemon.directories.working)],
      ["Worktrees", daemon.directories && name(daemon.directories.worktrees)],
    ].filter(([, value]) => value);
    reconcile(facts, rows, ([term]) => term, ([term]) => h("div", {}, h("dt", {}, term), h("dd", {})), (row, [, value]) => setText(row.lastChild, value));
  }

  function chart(figure, daemon, now) {
    const [picture, caption] = figure.children;
    const samples = loads.get(daemon.id);
    if (picture.samples === samples && picture.drawn === hours) return;
    Object.assign(picture, { samples, drawn: hours });
    const pieces = buckets(samples ?? [], { from: now - hours * 3600_000, to: now, count: PIECES });
    const top = Math.max(1, daemon.maxConcurrentTasks, ...pieces.map((each) => Math.max(each?.active ?? 0, each?.most ?? 0)));
    const text = samples ? told(pieces) : "loading";
    const [, words] = SPANS.find(([value]) => value === hours);
    setAttr(picture, "aria-label", `Load of ${words}: ${text}`);
    picture.replaceChildren(
      ...[0.5, 1].map((part) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT - HEIGHT * part + 0.5, y2: HEIGHT - HEIGHT * part + 0.5 })),
      svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
      ...areas(pieces, { width: WIDTH, height: HEIGHT, top }).map((d) => svg("path", { d })));
    setText(caption, `${text} · top line: ${many(top, "task")} · ${words}`);
  }

  const off = store.watch(update);
  const timers = [setInterval(update, 5000), setInterval(() => { if (!document.hidden) load(); }, AGAIN_MS)];
  update();
  return () => {
    off();
    timers.forEach(clearInterval);
  };
}
