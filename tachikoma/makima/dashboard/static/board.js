// The board: a column for each way that a task can stand.

import { h, reconcile, setAttr, setText, settled } from "./dom.js";
import { fail } from "./dialogs.js";
import { ago, cost, count, duration, elapsed, name, repository, tokens } from "./format.js";
import { shortcuts } from "./keys.js";
import { newTask } from "./newtask.js";
import { COLUMNS, columns, ended, matches, statusWord } from "./order.js";

const AT_ONCE = 40;

export function showBoard(main, app) {
  const { store } = app;
  main.className = "board-page";
  const shown = Object.fromEntries(COLUMNS.map(({ id }) => [id, AT_ONCE]));
  let archived = false;
  let found = new Set();
  let focused = null;

  const search = h("input", { type: "search", placeholder: "Search tasks", "aria-label": "Search tasks", on: { input: () => { update(); ask(); } } });
  const which = h("select", { "aria-label": "Which tasks", on: { change: choose } }, h("option", { value: "" }, "Current"), h("option", { value: "archived" }, "Archived"));
  const told = h("p", { class: "told", role: "status" });
  const notice = h("div");
  const chips = h("nav", { class: "chips", "aria-label": "Columns" }, COLUMNS.map(({ id, title }) =>
    h("a", { href: `#column-${id}`, "data-column": id }, title, " ", h("b", {}, "0"))));
  const board = h("div", { class: "board", on: { keydown: keys, focusin: (event) => { const card = event.target.closest(".card"); if (card) rove(card); } } },
    COLUMNS.map(({ id, title, empty }) => h("section", { class: "column", id: `column-${id}`, "data-column": id, "aria-labelledby": `title-${id}` },
      h("h2", { id: `title-${id}` }, title, " ", h("span", { class: "count" }, "0")),
      h("ul", { class: "cards" }),
      h("p", { class: "nothing" }, empty),
      h("button", { type: "button", class: "quiet more", hidden: true, on: { click: () => { shown[id] += AT_ONCE; update(); } } }, "Show more"),
    )));
  main.append(
    h("div", { class: "bar" }, h("h1", { tabindex: "-1" }, "Board"), search, which, told),
    chips, notice, board,
  );

  const ask = settled(async () => {
    const text = search.value.trim();
    found = text.length < 2 ? new Set() : await store.find(text, archived).catch(() => new Set());
    update();
  }, 250);

  async function choose() {
    archived = which.value === "archived";
    try {
      if (archived) await store.loadArchived();
    } catch (error) {
      fail(error);
    }
    update();
    ask();
  }

  function update() {
    const text = search.value.trim();
    const all = [...((archived ? store.archived : store.tasks) ?? new Map()).values()];
    const wanted = text ? all.filter((task) => matches(task, text) || found.has(task.id)) : all;
    const sorted = columns(wanted);
    const now = store.now();
    for (const [at, { id, empty }] of COLUMNS.entries()) {
      const [title, list, nothing, more] = board.children[at].children;
      const tasks = sorted[id];
      setText(title.lastChild, String(tasks.length));
      setText(chips.children[at].lastChild, String(tasks.length));
      setAttr(board.children[at], "data-empty", tasks.length === 0 ? "" : null);
      setAttr(chips.children[at], "data-empty", tasks.length === 0 ? "" : null);
      reconcile(list, tasks.slice(0, shown[id]), (task) => task.id, card, (node, task) => dress(node.firstChild, task, now));
      nothing.hidden = tasks.length > 0;
      setText(nothing, text && all.length > 0 ? "Nothing that fits the search." : empty);
      more.hidden = tasks.length <= shown[id];
      setText(more, `Show more (${tasks.length - shown[id]})`);
    }
    setText(told, text ? `${wanted.length} found` : !archived && store.total > all.length ? `the newest ${all.length} of ${store.total}; search finds all` : "");
    tell(all);
    tabStop();
  }

  function tell(all) {
    const state = store.error ? "error" : !store.loaded ? "loading" : all.length === 0 && !archived ? "empty" : "";
    if (notice.dataset.state === state) return;
    notice.dataset.state = state;
    board.hidden = state === "loading" || state === "empty";
    chips.hidden = board.hidden;
    notice.replaceChildren(...{
      error: () => [h("div", { class: "banner bad", role: "alert" }, h("strong", {}, "The tasks could not be loaded. "), store.error.message, " It is tried again by itself.")],
      loading: () => [h("p", { class: "empty" }, "Loading the tasks…")],
      empty: () => [h("div", { class: "empty" }, h("h2", {}, "No tasks yet"),
        h("p", {}, "Describe some work, and an agent on one of your daemons does it on a branch of its own."),
        h("button", { type: "button", class: "primary", on: { click: () => newTask(app) } }, "Create the first task"),
        h("p", { class: "hint" }, "In a terminal: ", h("code", {}, "tachikoma task run \"PLAN\" --repo URL")))],
      "": () => [],
    }[state]());
  }

  function tick() {
    const now = store.now();
    for (const node of board.querySelectorAll(".card")) if (node.task) clockOf(node, node.task, now);
  }

  // One card is in the order of Tab; arrows go to the others.
  function tabStop() {
    if (!focused?.isConnected) focused = board.querySelector(".card");
    for (const node of board.querySelectorAll(".card")) setAttr(node, "tabindex", node === focused ? "0" : "-1");
  }

  function rove(card) {
    focused = card;
    tabStop();
  }

  function move(dx, dy) {
    const from = document.activeElement?.closest?.(".card") ?? null;
    if (!from) return focused ? (focused.focus(), true) : false;
    const lists = [...board.querySelectorAll(".cards")];
    let column = lists.indexOf(from.closest(".cards"));
    let row = [...lists[column].children].indexOf(from.parentNode);
    if (dy) row = Math.min(lists[column].children.length - 1, Math.max(0, row + dy));
    for (let next = column + dx; dx && next >= 0 && next < lists.length; next += dx) {
      if (lists[next].children.length === 0) continue;
      column = next;
      row = Math.min(row, lists[next].children.length - 1);
      break;
    }
    lists[column].children[row].firstChild.focus();
    return true;
  }

  function keys(event) {
    const by = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowLeft: [-1, 0], Home: [0, -1e6], End: [0, 1e6] }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".card")) return;
    event.preventDefault();
    move(...by);
  }

  const off = [
    store.watch(update),
    shortcuts("Board", [
      { keys: ["/"], says: "Search", run: () => search.focus() },
      { keys: ["j", "ArrowDown"], says: "Next card", run: (key) => (key.length === 1 ? move(0, 1) : false) },
      { keys: ["k", "ArrowUp"], says: "Card before", run: (key) => (key.length === 1 ? move(0, -1) : false) },
      { keys: ["l", "ArrowRight"], says: "Column to the right", run: (key) => (key.length === 1 ? move(1, 0) : false) },
      { keys: ["h", "ArrowLeft"], says: "Column to the left", run: (key) => (key.length === 1 ? move(-1, 0) : false) },
    ]),
  ];
  const timer = setInterval(tick, 1000);
  search.addEventListener("keydown", (event) => { if (event.key === "Escape") { search.value = ""; update(); search.blur(); } });
  update();
  return () => {
    clearInterval(timer);
    for (const each of off) each();
  };
}

function card(task) {
  return h("li", {}, h("a", { class: "card", href: `/tasks/${task.id}`, tabindex: "-1" },
    h("span", { class: "name" }), h("span", { class: "where" }), h("span", { class: "note" }),
    h("span", { class: "facts" }, h("span", { class: "status" }), h("span", { class: "time" }), h("span", { class: "host" }), h("span", { class: "spent" })),
  ));
}

function dress(node, task, now) {
  node.task = task;
  const [title, where, note, facts] = node.children;
  setText(title, name(task.name, 140));
  setText(where, placeOf(task));
  where.hidden = !where.textContent;
  const bad = task.status === "failed" || task.status === "interrupted";
  setText(note, name(task.attention || task.waitsFor || (bad && task.error) || task.summary, 240));
  setAttr(note, "data-tone", task.attention ? "wait" : bad ? "bad" : null);
  note.hidden = !note.textContent;
  const [status, , host, spent] = facts.children;
  setAttr(status, "data-status", task.status);
  const mark = task.orchestrator ? `${statusWord(task)} · leads ${task.subtasks}` : statusWord(task);
  setText(status, task.attempt > 1 ? `${mark} · attempt ${task.attempt}` : mark);
  setText(host, name(task.daemon?.hostname, 60));
  setText(spent, spentOn(task.figures));
  clockOf(node, task, now);
}

function clockOf(node, task, now) {
  const time = node.lastChild.children[1];
  const ms = elapsed(task, now);
  setText(time, ended(task) ? `${ms === null ? "" : `${duration(ms)}, `}${ago(task.endedAt, now)}` : ms === null ? "" : duration(ms));
}

/** Say where a task works: repository and branch. */
export function placeOf(task) {
  return [repository(task.repo), name(task.branch ?? task.baseBranch, 120)].filter(Boolean).join(" · ");
}

/** Say what agents took. */
export function spentOn(figures) {
  const sum = tokens(figures);
  return [sum ? `${count(sum)} tokens` : "", cost(figures.costUsd)].filter(Boolean).join(" · ");
}
