// Dialogs, and the words that come and go at the edge.

import { h } from "./dom.js";

const SHOWN_MS = 6000;
let serial = 0;

/** Show a dialog; gives the element. It is gone from the page once it is closed. */
export function dialog({ title, content, wide = false, actions = null }) {
  const back = document.activeElement;
  const id = `dialog-${(serial += 1)}`;
  const node = h("dialog", { class: wide ? "wide" : null, "aria-labelledby": id },
    h("header", {}, h("h2", { id }, title),
      h("button", { type: "button", class: "icon", "aria-label": "Close", on: { click: () => node.close() } }, "✕")),
    h("div", { class: "content" }, content),
    actions,
  );
  node.addEventListener("close", () => {
    node.remove();
    if (back instanceof HTMLElement && back.isConnected) back.focus();
  });
  node.addEventListener("click", (event) => { if (event.target === node && !node.querySelector("form")) node.close(); });
  document.body.append(node);
  node.showModal();
  return node;
}

/** Ask for some values, then do something with them; stays open with the reason if that fails. */
export function ask({ title, intro = null, fields = [], more = [], submit, danger = false, run }) {
  const inputs = new Map();
  const id = `form-${(serial += 1)}`;
  const trouble = h("div", { class: "trouble", role: "alert" });
  const button = h("button", { class: danger ? "danger" : "primary" }, submit);
  const form = h("form", { on: { submit: go } },
    intro && h("p", {}, intro),
    fields.map(made),
    more.length > 0 && h("details", {}, h("summary", {}, "More options"), more.map(made)),
    trouble,
    h("footer", {}, h("button", { type: "button", on: { click: () => node.close() } }, "Cancel"), button),
  );
  const node = dialog({ title, content: form });
  (form.querySelector("[data-first]") ?? form.querySelector("textarea, input, select") ?? button).focus();
  update();
  return node;

  function made(field) {
    const name = `${id}-${field.name}`;
    const hint = field.hint ? h("span", { class: "hint", id: `${name}-hint` }, field.hint) : null;
    const common = { id: name, name: field.name, "aria-describedby": hint ? `${name}-hint` : null, required: field.required ?? false };
    let row;
    if (field.kind === "check") {
      const input = h("input", { ...common, type: "checkbox" });
      input.checked = field.value ?? false;
      inputs.set(field.name, { field, value: () => input.checked });
      row = h("div", { class: "field" }, h("label", { class: "check" }, input, field.label), hint);
    } else if (field.kind === "choice" || field.kind === "several") {
      const several = field.kind === "several";
      const options = field.options.map((option) => {
        const input = h("input", { type: several ? "checkbox" : "radio", name: common.name, value: option.value });
        input.checked = option.value === field.value;
        return { input, row: h("label", { class: "check" }, input, h("span", {}, option.label, option.hint && h("span", { class: "hint" }, option.hint))) };
      });
      const chosen = () => options.filter(({ input }) => input.checked).map(({ input }) => input.value);
      inputs.set(field.name, { field, value: () => (several ? chosen() : chosen()[0]) });
      row = h("fieldset", { class: several ? "several" : null }, h("legend", {}, field.label), options.map((each) => each.row), hint);
    } else {
      const input = field.kind === "text"
        ? h("textarea", { ...common, rows: field.rows ?? 5 })
        : field.kind === "select"
          ? h("select", common, field.options.map((option) => h("option", { value: option.value }, option.label)))
          : h("input", { ...common, type: field.kind ?? "text", min: field.min, max: field.max, list: field.list ? `${name}-list` : null,
            autocomplete: "off", spellcheck: "false", placeholder: field.placeholder });
      if (field.value !== undefined) input.value = field.value;
      inputs.set(field.name, { field, value: () => (field.kind === "number" ? Number(input.value) : input.value.trim()), input });
      row = h("div", { class: "field" }, h("label", { for: name }, field.label, field.required && h("span", { class: "must", "aria-hidden": "true" }, " *")), input,
        field.list && h("datalist", { id: `${name}-list` }, field.list.map((value) => h("option", { value }))), hint);
    }
    row.addEventListener("change", update);
    inputs.get(field.name).row = row;
    return row;
  }

  function values() {
    return Object.fromEntries([...inputs].filter(([, each]) => !each.row.hidden).map(([name, each]) => [name, each.value()]));
  }

  function update() {
    const now = Object.fromEntries([...inputs].map(([name, each]) => [name, each.value()]));
    for (const { field, row, input } of inputs.values()) {
      if (!field.when) continue;
      row.hidden = !field.when(now);
      if (input) input.disabled = row.hidden;
    }
  }

  async function go(event) {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    trouble.replaceChildren();
    try {
      await run(values());
      node.close();
    } catch (error) {
      trouble.replaceChildren(...words(error));
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  }
}

/** Give the elements that say what went wrong. */
export function words(error) {
  if (error.status === undefined) console.error(error);
  return [h("strong", {}, error.message || "Something went wrong in this page."), error.hint && h("span", {}, error.hint)].filter(Boolean);
}

/** Say that something was done. */
export function say(text) {
  const node = h("div", { class: "toast" }, text);
  document.getElementById("said").append(node);
  setTimeout(() => node.remove(), SHOWN_MS);
}

/** Say that something went wrong, until somebody has read it. */
export function fail(error) {
  const place = document.getElementById("alerts");
  const node = h("div", { class: "toast bad" }, h("div", {}, words(error)),
    h("button", { type: "button", class: "icon", "aria-label": "Dismiss", on: { click: () => node.remove() } }, "✕"));
  while (place.children.length > 2) place.firstChild.remove();
  place.append(node);
}
