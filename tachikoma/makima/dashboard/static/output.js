// A task's live output: a piece of it in the page, following the end or standing still.

import { get } from "./api.js";
import { words } from "./dialogs.js";
import { eachFrame, h, setText } from "./dom.js";
import { entryNode, redraw } from "./entries.js";
import { bytes } from "./format.js";
import { Live } from "./live.js";
import { Window } from "./window.js";

const NEAR_PX = 40;
const MOST_WAITING = 3000;

/** Show the output of a task. `onEntries` hears of what is in the page; returns what steers it. */
export function showOutput(app, id, onEntries) {
  const nodes = new Map();
  let waiting = [];
  let live = null;
  let follow = true;
  let busy = false;
  let closed = false;

  const earlier = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => guarded(loadEarlier) } }, "Load earlier output");
  const gone = h("p", { class: "hint", hidden: true });
  const list = h("div", { class: "entries" });
  const later = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => guarded(loadLater) } }, "Load later output");
  const empty = h("p", { class: "empty" }, "Loading the output…");
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What the agent prints" }, earlier, gone, list, later, empty);
  const state = h("span", { class: "hint", role: "status" });
  const toggle = h("button", { type: "button", class: "toggle", "aria-pressed": "true", title: "Follow the end (f)", on: { click: () => setFollow(!follow) } }, "Follow");
  const latest = h("button", { type: "button", class: "latest", hidden: true, on: { click: () => setFollow(true) } }, "↓ Latest");
  const root = h("section", { class: "output", "aria-labelledby": "output-title" },
    h("header", {}, h("h2", { id: "output-title" }, "Output"), state,
      h("button", { type: "button", class: "quiet", on: { click: () => fold(true) } }, "Unfold"),
      h("button", { type: "button", class: "quiet", on: { click: () => fold(false) } }, "Fold"), toggle),
    h("div", { class: "frame" }, scroll, latest));

  // What is folded open, or wraps anew, must not push the end out of sight.
  const sized = new ResizeObserver(() => toEnd());
  sized.observe(list);
  sized.observe(scroll);

  const pane = new Window((query) => get(`/tasks/${id}/output?${new URLSearchParams(query)}`));
  const flush = eachFrame(takeWaiting);

  scroll.addEventListener("scroll", () => {
    const near = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
    if (follow && !near && scroll.scrollTop < lastTop - 2) setFollow(false);
    else if (!follow && near && pane.atEnd && scroll.scrollTop > lastTop + 2) setFollow(true);
    lastTop = scroll.scrollTop;
    if (scroll.scrollTop < 200 && !earlier.hidden && !follow) guarded(loadEarlier);
  }, { passive: true });
  let lastTop = 0;

  async function guarded(work) {
    if (busy || closed) return;
    busy = true;
    try {
      await work();
    } catch (error) {
      if (!closed) empty.replaceChildren(...words(error)), (empty.hidden = false);
    }
    busy = false;
    tell();
    if (waiting.length) flush();
  }

  async function begin() {
    live?.close();
    live = null;
    waiting = [];
    await pane.loadLast();
    if (closed) return;
    nodes.clear();
    list.replaceChildren(...pane.entries.map(node));
    onEntries(pane.entries);
    toEnd();
    listen();
  }

  function listen() {
    live?.close();
    live = new Live(`/api/v1/tasks/${id}/output/stream`, {
      after: pane.next,
      kinds: {
        output: (chunk) => {
          waiting.push(chunk);
          // Nobody reads so fast: what is in between can be loaded.
          if (waiting.length > MOST_WAITING) (waiting = []), guarded(begin);
          else flush();
        },
        gap: (data) => { takeWaiting(); pane.gap(data.droppedBytes); },
        end: () => { live.close(); pane.ended = true; takeWaiting(); tell(); },
      },
      onState: () => tell(),
    });
  }

  function takeWaiting() {
    if (busy || closed || waiting.length === 0) return;
    const chunks = waiting;
    waiting = [];
    apply(pane.push(chunks));
    if (follow) {
      remove(pane.trimHead());
      toEnd();
    } else if (pane.trimTail().length > 0) detach();
    onEntries(pane.entries);
    tell();
  }

  function detach() {
    live?.close();
    live = null;
    waiting = [];
    redo();
  }

  function redo() {
    const wanted = new Set(pane.entries);
    for (const [entry, each] of nodes) if (!wanted.has(entry)) each.remove(), nodes.delete(entry);
  }

  async function loadEarlier() {
    const before = scroll.scrollHeight - scroll.scrollTop;
    const { added, joined } = await pane.loadEarlier();
    if (closed) return;
    setFollow(false);
    remove(joined);
    list.prepend(...added.map(node));
    if (pane.trimTail().length > 0) detach();
    scroll.scrollTop = lastTop = scroll.scrollHeight - before;
    onEntries(pane.entries);
  }

  async function loadLater() {
    const changes = await pane.loadLater();
    if (closed) return;
    apply(changes);
    const { scrollTop, scrollHeight } = scroll;
    remove(pane.trimHead());
    scroll.scrollTop = lastTop = scrollTop - (scrollHeight - scroll.scrollHeight);
    if (pane.atEnd) listen();
    onEntries(pane.entries);
  }

  function node(entry) {
    const made = entryNode(entry, app.store.now());
    nodes.set(entry, made);
    return made;
  }

  function apply({ added, changed, removed }) {
    remove(removed);
    for (const entry of changed) if (nodes.has(entry)) redraw(nodes.get(entry), app.store.now());
    list.append(...added.map(node));
  }

  function remove(entries) {
    for (const entry of entries) {
      nodes.get(entry)?.remove();
      nodes.delete(entry);
    }
  }

  function toEnd() {
    if (!follow) return;
    scroll.scrollTop = scroll.scrollHeight;
    lastTop = scroll.scrollTop;
  }

  function setFollow(wanted) {
    follow = wanted;
    toggle.setAttribute("aria-pressed", String(follow));
    if (follow && !pane.atEnd) guarded(begin);
    else toEnd();
    tell();
  }

  function tell() {
    earlier.hidden = !pane.hasEarlier;
    gone.hidden = pane.hasEarlier || pane.dropped === 0;
    setText(gone, gone.hidden ? "" : `${bytes(pane.dropped)} of output before this are not kept any more.`);
    later.hidden = pane.atEnd;
    latest.hidden = follow || (pane.atEnd && pane.ended);
    empty.hidden = busy || pane.entries.length > 0;
    if (!empty.hidden) setText(empty, pane.ended ? "It printed nothing." : "Nothing is printed yet. What the agent does shows up here.");
    setText(state, !pane.atEnd ? "an earlier piece" : pane.ended ? "ended" : follow ? "following" : "standing still");
  }

  function fold(open) {
    for (const each of list.querySelectorAll("details")) each.open = open;
    toEnd();
  }

  function step(by) {
    const all = [...list.children];
    const at = all.indexOf(document.activeElement?.closest?.(".entry"));
    const next = at < 0 ? all.at(by > 0 ? 0 : -1) : all[at + by];
    if (!next) return;
    setFollow(false);
    next.focus();
  }

  function unfold() {
    const details = document.activeElement?.closest?.(".entry")?.querySelector("details");
    if (!details) return false;
    details.open = !details.open;
    return true;
  }

  guarded(begin);
  return {
    root,
    keys: [
      { keys: ["f"], says: "Follow the output, or stop", run: () => setFollow(!follow) },
      { keys: ["j"], says: "Next entry", run: () => step(1) },
      { keys: ["k"], says: "Entry before", run: () => step(-1) },
      { keys: ["o"], says: "Unfold or fold the entry", run: unfold },
    ],
    /** The task goes on after its end was heard. */
    again: () => { if (pane.ended && pane.atEnd && !busy) { pane.ended = false; listen(); tell(); } },
    close: () => { closed = true; sized.disconnect(); live?.close(); },
  };
}
