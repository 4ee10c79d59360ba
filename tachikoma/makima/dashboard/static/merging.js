// The branches of an orchestrator's subtasks, and merging them by hand.

import { get, post } from "./api.js";
import { ask, fail, say } from "./dialogs.js";
import { h } from "./dom.js";
import { name } from "./format.js";

export function mergePanel(app, id) {
  const root = h("div", { class: "merging" });
  const load = h("button", { type: "button", on: { click: look } }, "Look at the branches");
  root.append(h("p", { class: "hint" }, "Its daemon is asked how they stand."), load);
  let busy = false;

  async function look() {
    await does(async () => {
      const [branches, state] = await Promise.all([get(`/tasks/${id}/branches`), get(`/tasks/${id}/merge`)]);
      draw(branches.items, state);
    });
  }

  async function does(work) {
    if (busy) return;
    busy = true;
    for (const each of root.querySelectorAll("button")) each.disabled = true;
    try {
      await work();
    } catch (error) {
      fail(error);
    }
    for (const each of root.querySelectorAll("button")) each.disabled = false;
    busy = false;
  }

  async function step(path, body, done) {
    await does(async () => {
      const outcome = await post(`/tasks/${id}/merge/${path}`, body);
      if (outcome.success) say(name(outcome.message, 200) || done);
      else if (!outcome.conflicts?.length) fail({ status: 200, message: name(outcome.message, 500) || "That could not be done." });
    });
    await look();
  }

  function draw(branches, state) {
    const button = (text, run, kind = null) => h("button", { type: "button", class: kind, on: { click: run } }, text);
    root.replaceChildren(
      state.inProgress && h("div", { class: "banner wait" },
        h("p", {}, "A merge of ", h("code", {}, name(state.sourceBranch)), " is under way."),
        h("ul", { class: "plain" }, state.conflictedFiles.map((file) => h("li", {}, h("code", {}, name(file)), " ",
          button("Take ours", () => step("resolve", { file, strategy: "ours" }, "Settled.")), " ",
          button("Take theirs", () => step("resolve", { file, strategy: "theirs" }, "Settled."))))),
        button("Commit the merge", () => step("commit", { message: `Merge ${state.sourceBranch}` }, "Committed."), "primary"), " ",
        button("Give it up", () => step("abort", undefined, "Given up."), "danger")),
      h("ul", { class: "plain" }, branches.map((each) => h("li", {}, h("code", {}, name(each.name)), " ",
        h("span", { class: "hint" }, [each.lastCommit?.slice(0, 10), name(each.lastCommitMessage, 100)].filter(Boolean).join(" ")), " ",
        each.isMerged ? h("span", { class: "status", "data-status": "done" }, "merged") : !state.inProgress && [
          button("Merge", () => step("start", { branch: each.name }, "Merged.")), " ",
          each.task && button("Skip…", () => skip(each)),
        ]))),
      branches.length === 0 && h("p", { class: "hint" }, "There are no branches yet."),
      button("Look again", look, "quiet"),
    );
    for (const each of [...root.childNodes]) if (each.nodeType === Node.TEXT_NODE) each.remove();
  }

  function skip(branch) {
    ask({
      title: "Leave this branch out?",
      fields: [{ name: "reason", label: "Why", required: true }],
      submit: "Skip it",
      run: async ({ reason }) => {
        await post(`/tasks/${id}/merge/skip`, { subtask: branch.task, reason });
        say("It is left out.");
        look();
      },
    });
  }

  return { root, update: () => {} };
}
