// The form for a new task.

import { freshId, post } from "./api.js";
import { ask, say } from "./dialogs.js";
import { name } from "./format.js";
import { ended } from "./order.js";

export const ACTIONS = [
  { value: "none", label: "Leave it on its branch" },
  { value: "branch", label: "Push its branch" },
  { value: "merge", label: "Merge it into a branch" },
  { value: "pr", label: "Open a pull request" },
];
const LAST = "tachikoma.last-task";

export function newTask(app) {
  const id = freshId();
  const tasks = [...app.store.tasks.values()];
  const known = (field) => [...new Set(tasks.map((task) => task[field]).filter(Boolean))].slice(0, 30);
  const last = remembered();
  const merges = (values) => values.action === "merge" || values.action === "pr";
  const open = tasks.filter((task) => !ended(task)).slice(0, 30);
  ask({
    title: "New task",
    submit: "Start the task",
    fields: [
      { name: "plan", kind: "text", label: "What is to be done", rows: 6, required: true, hint: "The first message to the agent." },
      { name: "repo", label: "Repository", value: last.repo, list: known("repo"), hint: "A URL, or a path on the daemon’s machine." },
      { name: "baseBranch", label: "Start from branch", value: last.baseBranch, list: known("baseBranch"), hint: "If empty, from the repository’s default." },
      { name: "action", kind: "select", label: "When it is done", options: ACTIONS, value: last.action ?? "none" },
      { name: "targetBranch", label: "Into branch", value: last.targetBranch, list: known("targetBranch"), when: merges },
    ],
    more: [
      { name: "name", label: "Name", hint: "If empty, the first line of what is to be done." },
      { name: "targetRepo", label: "Target repository", list: known("targetRepo"), when: (values) => values.action !== "none", hint: "On the daemon’s machine; if empty, its own clone." },
      { name: "priority", kind: "number", label: "Priority", value: 0, min: -100, max: 100, hint: "Higher ones go first." },
      { name: "maxAttempts", kind: "number", label: "Attempts", value: 1, min: 1, max: 10, hint: "How often it is tried before it has failed." },
      { name: "orchestrator", kind: "check", label: "Orchestrator: may lead subtasks" },
      ...(open.length ? [{ name: "dependencies", kind: "several", label: "Begins after", options: open.map((task) => ({ value: task.id, label: name(task.name, 80) })) }] : []),
    ],
    run: async (values) => {
      const body = { id };
      for (const [key, value] of Object.entries(values)) {
        if (value !== "" && value !== undefined && !(Array.isArray(value) && value.length === 0)) body[key] = value;
      }
      const task = await post("/tasks", body);
      const { repo, baseBranch, action, targetBranch } = values;
      sessionStorage.setItem(LAST, JSON.stringify({ repo, baseBranch, action, targetBranch }));
      app.store.put(task);
      say(`“${name(task.name, 80)}” is on its way.`);
    },
  });
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(LAST)) ?? {};
  } catch {
    return {};
  }
}
