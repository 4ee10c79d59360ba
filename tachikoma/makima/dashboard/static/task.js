// A task's page: how it stands, what its agent prints, and what can be done about it.

import { get, post } from "./api.js";
import { spentOn } from "./board.js";
import { ask, fail, say, words } from "./dialogs.js";
import { h, reconcile, setAttr, setText, settled } from "./dom.js";
import { longText } from "./entries.js";
import { ago, clock, count, cost, duration, elapsed, name, repository } from "./format.js";
import { shortcuts } from "./keys.js";
import { mergePanel } from "./merging.js";
import { ACTIONS } from "./newtask.js";
import { atWork, ended, statusWord } from "./order.js";
import { showOutput } from "./output.js";
import { safeLink } from "./text.js";

const MOST_EVENTS = 500;

export function showTask(main, app, id) {
  const { store } = app;
  main.className = "task-page";
  let task = null;
  let closed = false;
  let commits = new Map();
  const events = new Map();

  const crumbs = h("nav", { class: "crumbs", "aria-label": "Where this is" });
  const title = h("h1", { tabindex: "-1" }, "Task");
  const status = h("span", { class: "status", role: "status" });
  const banner = h("div", { class: "banners" });
  const buttons = h("div", { class: "buttons", role: "group", "aria-label": "Actions" });
  const facts = h("dl", { class: "facts" });
  const plan = h("div", { class: "plan" });
  const attempts = h("ol", { class: "plain" });
  const found = h("ul", { class: "plain" });
  const subtasks = h("ul", { class: "plain" });
  const history = h("ol", { class: "history" });
  const result = h("div", { class: "plan" });
  const output = showOutput(app, id, sawEntries);
  const merging = mergePanel(app, id);
  const composer = composing();

  const part = (text, node, { open = true, hidden = false } = {}) => h("details", { class: "part", open, hidden }, h("summary", {}, h("h2", {}, text)), node);
  const parts = {
    facts: part("At a glance", facts), plan: part("Plan", plan), result: part("What it said last", result, { open: false, hidden: true }),
    subtasks: part("Subtasks", subtasks, { hidden: true }), merging: part("Branches of subtasks", merging.root, { hidden: true }),
    attempts: part("Attempts", attempts, { hidden: true }), commits: part("Commits in the output", found, { hidden: true }),
    history: part("History", history, { open: false }),
  };
  main.append(crumbs, h("div", { class: "task-head" }, h("div", { class: "title" }, title, status), buttons), banner,
    h("div", { class: "task-body" }, h("div", { class: "task-main" }, output.root, composer.root), h("aside", { "aria-label": "About this task" }, Object.values(parts))));

  async function load() {
    try {
      task = await get(`/tasks/${id}`);
      store.put(rowOf(task));
    } catch (error) {
      if (closed) return;
      if (error.status === 404) {
        main.replaceChildren(h("div", { class: "empty" }, h("h1", { tabindex: "-1" }, "There is no such task"), h("p", {}, h("a", { href: "/" }, "To the board"))));
        return;
      }
      banner.replaceChildren(h("div", { class: "banner bad", role: "alert" }, words(error)));
      return;
    }
    if (!closed) update();
  }

  async function loadEvents() {
    try {
      let after = 0;
      for (;;) {
        const page = await get(`/tasks/${id}/events?after=${after}&limit=500`);
        for (const each of page.items) events.set(each.id, each);
        if (page.items.length < 500) break;
        after = page.next;
      }
    } catch {
      return; // it is asked for again with the next event
    }
    if (!closed) drawHistory();
  }

  const reload = settled(load, 300);

  function heard(event) {
    if (event.what === "hello" || event.what === "reset") {
      load();
      loadEvents();
      return;
    }
    if (event.task?.id !== id) return;
    const was = task;
    if (task && event.task.version >= task.version) task = { ...task, ...event.task };
    events.set(event.id, { id: event.id, at: event.at, what: event.what, text: event.text });
    if (was && ended(was) && !ended(event.task)) output.again();
    update();
    drawHistory();
    reload(); // attempts and the result are not in the event
  }

  function update() {
    if (!task) return;
    const known = store.tasks.get(id) ?? store.archived?.get(id);
    if (known && known.version >= task.version) task = { ...task, ...known };
    const now = store.now();
    document.title = `${name(task.name, 60)} – Tachikoma`;
    const parent = task.parent ? store.tasks.get(task.parent) : null;
    crumbs.replaceChildren(h("a", { href: "/" }, "Board"), ...(task.parent ? [" / ", h("a", { href: `/tasks/${task.parent}` }, parent ? name(parent.name, 60) : "its orchestrator")] : []));
    setText(title, name(task.name, 200));
    setAttr(status, "data-status", task.status);
    setText(status, task.archived ? `${statusWord(task)}, archived` : statusWord(task));
    drawBanner();
    drawButtons();
    drawFacts(now);
    drawTexts();
    drawLists();
    composer.update(task);
    merging.update(task);
  }

  function drawBanner() {
    const said = [
      task.attention && ["wait", `Waiting for you: ${name(task.attention)}`],
      task.waitsFor && ["", `Waits for ${name(task.waitsFor)}`],
      task.error && ["bad", name(task.error, 1000)],
      task.actionOutcome && [task.actionOutcome.success ? "good" : "bad", name(task.actionOutcome.message, 1000), task.actionOutcome.prUrl],
    ].filter(Boolean);
    reconcile(banner, said, ([tone, text]) => `${tone} ${text}`, ([tone, text, link]) => {
      const href = safeLink(link);
      return h("div", { class: `banner ${tone}` }, text, href && [" ", h("a", { href, target: "_blank", rel: "noopener noreferrer" }, href)]);
    });
  }

  const does = {
    pause: { word: "Pause", key: "p", shown: () => !ended(task) && task.status !== "paused", run: () => act("pause", "It is held.") },
    resume: { word: "Resume", key: "p", primary: true, shown: () => task.status === "paused", run: () => act("resume", "It goes on.") },
    interrupt: { word: "Interrupt…", key: "i", shown: () => !ended(task), run: interrupt },
    retry: { word: "Retry…", key: "r", primary: true, shown: () => task.status === "failed" || task.status === "interrupted", run: retry },
    deliver: { word: "Deliver…", key: "d", shown: () => ended(task) && task.attempt > 0, run: deliver },
    archive: { word: "Archive", key: "e", shown: () => ended(task) && !task.archived, run: () => act("archive", "It is out of the way.", { archived: true }) },
    unarchive: { word: "Take back", key: "e", shown: () => task.archived, run: () => act("archive", "It is back on the board.", { archived: false }) },
  };

  function drawButtons() {
    reconcile(buttons, Object.entries(does).filter(([, each]) => each.shown()), ([key]) => key, ([, each]) =>
      h("button", { type: "button", class: each.primary ? "primary" : null, title: `${each.word} (${each.key})`, on: { click: each.run } }, each.word));
  }

  async function act(what, done, body) {
    const pressed = [...buttons.children];
    for (const each of pressed) each.disabled = true;
    try {
      take(await post(`/tasks/${id}/${what}`, body));
      say(done);
    } catch (error) {
      fail(error);
    }
    for (const each of pressed) each.disabled = false;
  }

  function take(found) {
    if (!found?.id) return;
    task = found;
    store.put(rowOf(found));
    update();
  }

  function interrupt() {
    const working = atWork(task);
    ask({
      title: "Interrupt the task?",
      intro: working ? "Its work so far stays on its branch, and it can be tried again." : "It has not begun, and will not.",
      fields: working ? [{ name: "how", kind: "choice", label: "How", value: "ask", options: [
        { value: "ask", label: "Ask the agent to stop", hint: "It may finish what it is writing." },
        { value: "kill", label: "Kill it at once", hint: "For an agent that does not listen." },
      ] }] : [],
      submit: "Interrupt", danger: true,
      run: async ({ how }) => {
        take(await post(`/tasks/${id}/interrupt`, { graceful: how !== "kill" }));
        say(how === "kill" ? "It is being killed." : "It is asked to stop.");
      },
    });
  }

  function retry() {
    ask({
      title: "Try the task again?",
      fields: [{ name: "from", kind: "choice", label: "From where", value: "on", options: [
        { value: "on", label: "Go on from the last attempt", hint: "With its branch and its conversation." },
        { value: "fresh", label: "Begin anew", hint: "From the base branch." },
      ] }],
      submit: "Retry",
      run: async ({ from }) => {
        take(await post(`/tasks/${id}/retry`, { fresh: from === "fresh" }));
        say("It is tried again.");
      },
    });
  }

  function deliver() {
    const merges = (values) => values.action !== "branch";
    ask({
      title: "Deliver its work",
      intro: "This may take some minutes.",
      fields: [
        { name: "action", kind: "select", label: "How", options: ACTIONS.slice(1), value: task.action === "none" ? "merge" : task.action },
        { name: "targetBranch", label: "Into branch", value: task.targetBranch ?? "", when: merges, hint: "If empty, as the task has it." },
        { name: "targetRepo", label: "Target repository", value: task.targetRepo ?? "", hint: "On the daemon’s machine; if empty, its own clone." },
      ],
      submit: "Deliver",
      run: async (values) => {
        const body = Object.fromEntries(Object.entries(values).filter(([, value]) => value));
        const outcome = await post(`/tasks/${id}/action`, body);
        if (!outcome.success) throw Object.assign(new Error(outcome.message || "It could not be delivered."), { status: 200 });
        say(name(outcome.message, 200) || "It is delivered.");
        load();
      },
    });
  }

  function drawFacts(now) {
    const ms = elapsed(task, now);
    const f = task.figures;
    const rows = [
      ["Repository", task.repo && h("span", { title: name(task.repo) }, repository(task.repo))],
      ["Branch", task.branch && h("code", {}, name(task.branch))],
      ["From", task.baseBranch && h("code", {}, name(task.baseBranch))],
      ["When done", task.action !== "none" && [ACTIONS.find((each) => each.value === task.action)?.label ?? task.action, task.targetBranch && h("code", {}, name(task.targetBranch))].filter(Boolean).flatMap((each) => [each, " "])],
      ["Daemon", task.daemon && name(task.daemon.hostname || task.daemon.id)],
      ["Attempt", task.attempt > 0 && `${task.attempt} of ${task.maxAttempts}`],
      ["Priority", task.priority !== 0 && String(task.priority)],
      ["Started", task.startedAt && h("time", { datetime: task.startedAt }, clock(task.startedAt, now))],
      [ended(task) ? "Took" : task.startedAt ? "Elapsed" : "Waiting", ms !== null && duration(ms)],
      ["Ended", task.endedAt && h("time", { datetime: task.endedAt }, ago(task.endedAt, now))],
      ["Turns", f.turns > 0 && String(f.turns)],
      ["Tokens", spentOn(f) && h("span", { title: "input, output, from cache, to cache" }, `${count(f.inputTokens)} in · ${count(f.outputTokens)} out · ${count(f.cacheReadTokens)} cached · ${count(f.cacheCreationTokens)} to cache`)],
      ["Cost", cost(f.costUsd)],
      ["After", task.dependencies.length > 0 && task.dependencies.map((each, at) => [at ? ", " : "", taskLink(each)])],
      ["Now", !ended(task) && name(task.summary, 200)],
    ].filter(([, value]) => value);
    const key = rows.map(([term, value]) => term + (typeof value === "string" ? value : "")).join("|") + task.version;
    if (facts.dataset.key === key) return;
    facts.dataset.key = key;
    facts.replaceChildren(...rows.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
  }

  function taskLink(other) {
    const known = store.tasks.get(other);
    return h("a", { href: `/tasks/${other}` }, known ? name(known.name, 80) : other.slice(0, 8));
  }

  function drawTexts() {
    for (const [node, text] of [[plan, task.plan ?? ""], [result, task.result ?? ""]]) {
      if (node.text === text) continue;
      node.text = text;
      node.replaceChildren(...longText(text));
    }
    parts.result.hidden = !task.result;
  }

  function drawLists() {
    const below = [...store.tasks.values()].filter((each) => each.parent === id).sort((a, b) => Date.parse(a.createdAt) - Date.parse(b.createdAt));
    parts.subtasks.hidden = below.length === 0;
    reconcile(subtasks, below, (each) => each.id, () => h("li", {}, h("span", { class: "status" }), " ", h("a", {})), (node, each) => {
      setAttr(node.children[0], "data-status", each.attention ? "waiting" : each.status);
      setText(node.children[0], each.attention ? "waiting" : statusWord(each));
      setAttr(node.children[1], "href", `/tasks/${each.id}`);
      setText(node.children[1], name(each.name, 120));
    });
    parts.merging.hidden = !(task.orchestrator && atWork(task) && below.length > 0);
    const tried = task.attempts ?? [];
    parts.attempts.hidden = tried.length < 2;
    reconcile(attempts, tried, (each) => each.id, () => h("li", {}, h("span", { class: "status" }), " ", h("span", {}), h("p", { class: "hint" })), (node, each) => {
      setAttr(node.children[0], "data-status", each.status);
      setText(node.children[0], each.status);
      setText(node.children[1], [name(each.daemon?.hostname, 60), each.endedAt && duration(Date.parse(each.endedAt) - Date.parse(each.createdAt))].filter(Boolean).join(" · "));
      setText(node.children[2], name(each.error, 300));
    });
  }

  function sawEntries(entries) {
    let more = false;
    for (const entry of entries) {
      for (const each of entry.commits ?? []) {
        if (!commits.has(each.sha)) commits.set(each.sha, each), (more = true);
      }
    }
    if (!more) return;
    parts.commits.hidden = false;
    reconcile(found, [...commits.values()].reverse(), (each) => each.sha, (each) => h("li", {}, h("code", {}, each.sha.slice(0, 10)), " ", name(each.message, 200)));
  }

  function drawHistory() {
    const now = store.now();
    const list = [...events.values()].sort((a, b) => b.id - a.id).slice(0, MOST_EVENTS);
    reconcile(history, list, (each) => each.id, (each) => h("li", {}, h("time", { datetime: each.at }, clock(each.at, now, true)), h("span", {}, h("b", {}, name(each.what, 40)), " ", h("span", {}, name(each.text, 500)))));
  }

  function composing() {
    const text = h("textarea", { id: "message", rows: 2, placeholder: "Say something to the agent…", "aria-label": "Message to the agent" });
    const send = h("button", { class: "primary" }, "Send");
    const why = h("span", { class: "hint" }, "Ctrl+Enter sends.");
    const root = h("form", { class: "composer", on: { submit: go } }, text, h("div", {}, why, send));
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) root.requestSubmit();
      if (event.key === "Escape") text.blur();
    });
    async function go(event) {
      event.preventDefault();
      const said = text.value.trim();
      if (!said || send.disabled) return;
      send.disabled = true;
      try {
        await post(`/tasks/${id}/message`, { text: said });
        text.value = "";
        say("The message is sent.");
      } catch (error) {
        fail(error);
      }
      send.disabled = false;
    }
    return { root, text, update: (now) => { root.hidden = !atWork(now); } };
  }

  function pressed(key) {
    const each = task && Object.values(does).find((one) => one.key === key && one.shown());
    if (!each) return false;
    each.run();
    return true;
  }

  const off = [
    store.watch(update), store.hear(heard),
    shortcuts("Task", [
      { keys: ["m"], says: "Message to the agent", run: () => (composer.root.hidden ? false : composer.text.focus()) },
      { keys: ["p"], says: "Pause or resume", run: () => pressed("p") },
      { keys: ["i"], says: "Interrupt", run: () => pressed("i") },
      { keys: ["r"], says: "Retry", run: () => pressed("r") },
      { keys: ["d"], says: "Deliver its work", run: () => pressed("d") },
      { keys: ["e"], says: "Archive, or take back", run: () => pressed("e") },
      ...output.keys,
    ]),
  ];
  const timer = setInterval(() => task && drawFacts(store.now()), 1000);
  load();
  loadEvents();
  return () => {
    closed = true;
    clearInterval(timer);
    output.close();
    for (const each of off) each();
  };
}

function rowOf(task) {
  const { plan, result, copyFiles, attempts, outputBytes, outputDroppedBytes, ...row } = task;
  return row;
}
