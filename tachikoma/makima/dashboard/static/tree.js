// Orchestrators and what they lead, as a tree.

import { h, reconcile, setAttr, setText } from "./dom.js";
import { duration, elapsed, many, name } from "./format.js";
import { shortcuts } from "./keys.js";
import { placeOf, spentOn } from "./board.js";
import { statusWord, treeRows } from "./order.js";

export function showTree(main, app) {
  const { store } = app;
  main.className = "tree-page";
  const closed = new Set();
  let focused = null;
  const all = h("input", { type: "checkbox", on: { change: update } });
  const tree = h("div", { class: "tree", role: "tree", "aria-label": "Tasks", on: { keydown: keys } });
  const empty = h("div", { class: "empty", hidden: true }, h("h2", {}, "No orchestrators"),
    h("p", {}, "A task that may lead subtasks shows up here with all that it leads. Tick “Orchestrator” when you create one, or start it by ", h("code", {}, "tachikoma task run"), "."));
  main.append(h("div", { class: "bar" }, h("h1", { tabindex: "-1" }, "Tree"), h("label", { class: "check" }, all, "Tasks on their own, too")), tree, empty);

  function update() {
    const rows = treeRows([...store.tasks.values()], { closed, all: all.checked });
    const now = store.now();
    tree.hidden = rows.length === 0;
    empty.hidden = rows.length > 0 || !store.loaded;
    if (!rows.some((row) => row.task.id === focused)) focused = rows[0]?.task.id ?? null;
    reconcile(tree, rows, (row) => row.task.id, make, (node, row) => dress(node, row, now));
  }

  function make({ task }) {
    return h("div", { class: "row", role: "treeitem", "data-id": task.id, on: { focus: () => { focused = task.id; update(); }, click: (event) => open(event, task) } },
      h("span", { class: "status" }),
      h("span", { class: "title" }, h("span", { class: "twist", "aria-hidden": "true" }), h("a", { class: "name", href: `/tasks/${task.id}`, tabindex: "-1" })),
      h("span", { class: "sum" }), h("span", { class: "where" }), h("span", { class: "time" }), h("span", { class: "spent" }));
  }

  function dress(node, row, now) {
    const { task } = row;
    const [status, cell, sum, where, time, spent] = node.children;
    const [twist, title] = cell.children;
    setAttr(node, "aria-level", row.level);
    setAttr(node, "aria-posinset", row.at);
    setAttr(node, "aria-setsize", row.of);
    setAttr(node, "aria-expanded", row.children ? String(row.open) : null);
    setAttr(node, "data-level", Math.min(row.level, 8));
    setAttr(node, "tabindex", focused === task.id ? "0" : "-1");
    setText(twist, row.children ? (row.open ? "▾" : "▸") : "");
    setAttr(status, "data-status", task.attention ? "waiting" : task.status);
    setText(status, task.attention ? "waiting" : statusWord(task));
    setText(title, name(task.name, 140));
    const after = task.dependencies.map((id) => store.tasks.get(id)).filter((each) => each && each.status !== "done");
    setText(sum, row.children ? `${row.done} of ${many(row.children, "subtask")} done` : after.length ? `after ${after.map((each) => name(each.name, 40)).join(", ")}` : name(task.summary, 100));
    setText(where, placeOf(task));
    const ms = elapsed(task, now);
    setText(time, ms === null ? "" : duration(ms));
    setText(spent, spentOn(task.figures));
  }

  function open(event, task) {
    if (event.target.closest(".twist") && event.target.textContent) {
      toggle(task.id);
      event.currentTarget.focus();
    } else if (!event.target.closest("a")) app.navigate(`/tasks/${task.id}`);
  }

  function toggle(id, close = !closed.has(id)) {
    if (close) closed.add(id);
    else closed.delete(id);
    update();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = [...tree.children];
    const at = rows.indexOf(document.activeElement);
    if (at < 0) return;
    const row = rows[at];
    const level = Number(row.getAttribute("aria-level"));
    const state = row.getAttribute("aria-expanded");
    const above = rows.slice(0, at).findLast((each) => Number(each.getAttribute("aria-level")) < level);
    const does = {
      ArrowDown: () => rows[at + 1]?.focus(), ArrowUp: () => rows[at - 1]?.focus(),
      Home: () => rows[0].focus(), End: () => rows.at(-1).focus(),
      ArrowRight: () => (state === "false" ? toggle(row.dataset.id, false) : state === "true" && rows[at + 1]?.focus()),
      ArrowLeft: () => (state === "true" ? toggle(row.dataset.id, true) : above?.focus()),
      Enter: () => app.navigate(`/tasks/${row.dataset.id}`), " ": () => state && toggle(row.dataset.id),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  const off = [store.watch(update), shortcuts("Tree", [
    { keys: ["j"], says: "Into the tree", run: () => tree.querySelector("[tabindex='0']")?.focus() },
    { keys: ["ArrowUp"], says: "Row before", run: () => false },
    { keys: ["ArrowDown"], says: "Next row", run: () => false },
    { keys: ["ArrowLeft"], says: "Close, or to the parent", run: () => false },
    { keys: ["ArrowRight"], says: "Open", run: () => false },
  ])];
  const timer = setInterval(update, 1000);
  update();
  return () => {
    clearInterval(timer);
    for (const each of off) each();
  };
}
