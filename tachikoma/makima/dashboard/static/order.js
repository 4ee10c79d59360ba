// Which task belongs where, and what comes first (pure).

export const COLUMNS = [
  { id: "pending", title: "Pending", empty: "Nothing waits for a daemon." },
  { id: "running", title: "Running", empty: "No agent is at work." },
  { id: "waiting", title: "Waiting for you", empty: "Nothing needs you." },
  { id: "done", title: "Done", empty: "Nothing is done yet." },
  { id: "failed", title: "Failed", empty: "Nothing has failed." },
];

const ENDED = new Set(["done", "failed", "interrupted"]);
const OUT = new Set(["initializing", "running", "paused"]);

export const ended = (task) => ENDED.has(task.status);
export const atWork = (task) => OUT.has(task.status);

/** Give the column of a task: whatever waits for a person is there, whatever its status is. */
export function columnOf(task) {
  if (task.attention) return "waiting";
  if (task.status === "done" || task.status === "pending") return task.status;
  return ended(task) ? "failed" : "running";
}

/** Tell how a task stands in a word for people. */
export function statusWord(task) {
  return task.status === "initializing" ? "starting" : task.status;
}

const time = (text) => (text ? Date.parse(text) : 0);
const latest = (task) => time(task.endedAt) || time(task.startedAt) || time(task.createdAt);

/** Compare tasks of one column: who is next first where they wait, the newest first elsewhere. */
export function compare(column) {
  if (column === "pending") {
    return (a, b) => b.priority - a.priority || time(a.createdAt) - time(b.createdAt) || by(a, b);
  }
  return (a, b) => latest(b) - latest(a) || by(a, b);
}

const by = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** Sort tasks into columns. */
export function columns(tasks) {
  const found = Object.fromEntries(COLUMNS.map(({ id }) => [id, []]));
  for (const task of tasks) found[columnOf(task)].push(task);
  for (const { id } of COLUMNS) found[id].sort(compare(id));
  return found;
}

/** Tell whether a task has every word of a search in what the card shows. */
export function matches(task, search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const shown = [task.name, task.repo, task.branch, task.baseBranch, task.daemon?.hostname, task.summary,
    task.status, task.error, task.attention, task.id].filter(Boolean).join("\n").toLowerCase();
  return words.every((word) => shown.includes(word));
}

/** Give tasks as the rows of a tree: parents before their subtasks, with depth and account. */
export function treeRows(tasks, { closed = new Set(), all = false } = {}) {
  const known = new Map(tasks.map((task) => [task.id, task]));
  const below = new Map();
  const roots = [];
  for (const task of tasks) {
    if (task.parent && known.has(task.parent)) {
      if (!below.has(task.parent)) below.set(task.parent, []);
      below.get(task.parent).push(task);
    } else roots.push(task);
  }
  const rows = [];
  const walk = (list, level, seen) => {
    list.forEach((task, at) => {
      const children = (below.get(task.id) ?? []).toSorted((a, b) => time(a.createdAt) - time(b.createdAt) || by(a, b));
      const open = children.length > 0 && !closed.has(task.id);
      rows.push({
        task, level, at: at + 1, of: list.length, open, children: children.length,
        done: children.filter((each) => each.status === "done").length,
      });
      if (open && !seen.has(task.id)) walk(children, level + 1, new Set([...seen, task.id]));
    });
  };
  const wanted = roots.filter((task) => all || task.orchestrator || below.has(task.id));
  walk(wanted.toSorted((a, b) => time(b.createdAt) - time(a.createdAt) || by(a, b)), 1, new Set());
  return rows;
}
