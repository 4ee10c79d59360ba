// Shortcuts: one letter, or `g` and a letter. They can be switched off, for who dictates or has
// a pointing device that types.

import { h } from "./dom.js";
import { dialog } from "./dialogs.js";

const SWITCH = "tachikoma.shortcuts";
const CHORD_MS = 1200;
const scopes = [];
let chord = 0;

export const enabled = () => localStorage.getItem(SWITCH) !== "off";

/** Add shortcuts {keys, says, run}; returns how to take them away. */
export function shortcuts(title, list) {
  const scope = { title, list };
  scopes.push(scope);
  return () => {
    const at = scopes.indexOf(scope);
    if (at >= 0) scopes.splice(at, 1);
  };
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !enabled()) return;
  if (document.querySelector("dialog[open]") || typing(event.target)) return;
  const after = Date.now() - chord < CHORD_MS;
  chord = 0;
  if (event.key === "g" && !after) {
    chord = Date.now();
    return;
  }
  const pressed = after ? `g ${event.key}` : event.key;
  for (const scope of scopes.toReversed()) {
    const found = scope.list.find((each) => each.keys.includes(pressed));
    if (found && found.run(pressed) !== false) {
      event.preventDefault();
      return;
    }
  }
});

function typing(target) {
  return target instanceof Element && target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]") !== null;
}

/** Show what keys there are. */
export function help() {
  const box = h("input", { type: "checkbox", id: "keys-on", on: { change: () => localStorage.setItem(SWITCH, box.checked ? "on" : "off") } });
  box.checked = enabled();
  dialog({
    title: "Keyboard shortcuts",
    wide: true,
    content: [
      h("div", { class: "keys" }, scopes.map(({ title, list }) => h("section", {},
        h("h3", {}, title),
        h("dl", {}, list.map(({ keys, says }) => h("div", {},
          h("dt", {}, keys.map((key, at) => [at ? " or " : "", ...key.split(" ").map((each) => h("kbd", {}, LOOKS[each] ?? each))])),
          h("dd", {}, says),
        ))),
      ))),
      h("p", { class: "hint" }, "Enter opens what has the focus, Tab goes on, Escape closes."),
      h("label", { class: "check" }, box, "Single-key shortcuts"),
    ],
  });
}

const LOOKS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };
