// How an entry of the output looks. Everything goes through text nodes.

import { changed } from "./diff.js";
import { h, setAttr, setText } from "./dom.js";
import { bytes, clock, cost, duration, name } from "./format.js";
import { resultRows } from "./stream.js";
import { prose, segments } from "./text.js";

const SHOWN = 12_000;
const SHOWN_MORE = 120_000;
const ROWS = 400;

/** Make the element of an entry. */
export function entryNode(entry, now) {
  const node = h("article", { class: `entry ${entry.kind}`, tabindex: "-1", "data-inside": entry.inside ? "" : null });
  node.entry = entry;
  draw(node, now);
  return node;
}

/** Draw an entry anew if it has changed. */
export function redraw(node, now) {
  if (node.version !== node.entry.version) draw(node, now);
}

function draw(node, now) {
  const { entry } = node;
  node.version = entry.version;
  if (entry.kind === "tool" && node.firstChild) {
    updateTool(node, entry);
    return;
  }
  setAttr(node, "title", clock(entry.at, now, true));
  node.replaceChildren(...[(LOOKS[entry.kind] ?? LOOKS.plain)(entry, node)].flat().filter(Boolean));
}

const label = (text) => h("span", { class: "label" }, text);

const LOOKS = {
  text: (entry) => h("div", { class: "prose" }, proseNodes(entry.text)),
  draft: (entry) => h("div", { class: "prose" }, longText(entry.text)),
  error: (entry) => [label("Error"), longText(entry.text)],
  thinking: (entry) => folded(["Thinking"], firstLine(entry.text), () => longText(entry.text)),
  message: (entry) => [label("Message"), h("div", { class: "prose" }, longText(entry.text))],
  notice: (entry) => h("p", {}, longText(entry.text)),
  retry: (entry) => h("p", {}, longText(entry.text)),
  attempt: (entry) => h("p", {}, `Attempt ${entry.attempt}`),
  session: (entry) => h("p", {}, name(`Claude Code ${entry.version} ${entry.model ? `with ${entry.model}` : ""}`, 200)),
  plain: (entry) => [h("pre", {}, longText(entry.text)), entry.lost > 0 && h("p", { class: "hint" }, `${bytes(entry.lost)} of this line are not shown; \`tachikoma task logs\` has them.`)],
  partial: (entry) => (entry.text ? h("pre", {}, longText(entry.text)) : h("p", { class: "hint" }, `A line is coming, ${bytes(entry.size)} so far…`)),
  result: (entry) => folded(["Result"], firstLine(entry.result), () => resultNodes(entry), entry.isError),
  turn: (entry) => {
    const facts = [entry.turns ? `${entry.turns} ${entry.turns === 1 ? "turn" : "turns"}` : "", entry.ms ? duration(entry.ms) : "", entry.usd ? `${cost(entry.usd)} so far` : ""].filter(Boolean).join(" · ");
    return [
      entry.text && h("div", { class: "prose" }, proseNodes(entry.text)),
      h("p", { "data-tone": entry.isError ? "bad" : null }, entry.isError ? "The turn failed" : "The turn is over", facts && h("span", { class: "hint" }, ` ${facts}`)),
      entry.why && h("pre", {}, longText(entry.why)),
    ];
  },
  tool: (entry, node) => {
    const state = h("span", { class: "ran" });
    const details = h("details", {}, h("summary", {}, h("b", {}, name(entry.name, 60)), " ", h("span", { class: "what" }, name(entry.summary, 200)), counts(entry), state));
    details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(toolBody(node.entry)); });
    node.replaceChildren(details);
    if (entry.body === "diff" && entry.rows.length <= 60) details.open = true;
    if (details.open) details.append(toolBody(entry));
    updateTool(node, entry);
    return details;
  },
};

function updateTool(node, entry) {
  const details = node.firstChild;
  const state = details.firstChild.lastChild;
  const word = entry.result === null ? "running" : entry.isError ? "failed" : "done";
  setAttr(node, "data-ran", word);
  setText(state, { running: "…", failed: "failed", done: "" }[word]);
  setAttr(state, "aria-label", word === "running" ? "no result yet" : null);
  if (entry.isError && !details.open) {
    details.open = true;
    if (details.children.length === 1) details.append(toolBody(entry));
  }
  if (details.children.length > 1) details.lastChild.replaceWith(toolBody(entry));
}

function counts(entry) {
  if (entry.body !== "diff") return null;
  return h("span", { class: "counts" }, h("ins", {}, `+${entry.added}`), " ", h("del", {}, `−${entry.removed}`));
}

function toolBody(entry) {
  const input = {
    diff: () => diffNode(entry.patch ?? entry.rows),
    command: () => [entry.input.description && h("p", { class: "hint" }, longText(String(entry.input.description))), h("pre", { class: "command" }, longText(String(entry.input.command)))],
    todos: () => h("ul", { class: "todos" }, entry.input.todos.slice(0, 200).map((each) => h("li", { "data-state": name(each?.status, 20) }, longText(String(each?.content ?? ""))))),
    json: () => (Object.keys(entry.input).length ? h("pre", {}, longText(JSON.stringify(entry.input, null, 2))) : null),
  }[entry.body]();
  const result = entry.result === null ? null : entry.body === "diff" && !entry.isError ? null : resultNodes(entry);
  return h("div", { class: "body" }, input, result);
}

function resultNodes(entry) {
  if (entry.kind === "result" && entry.patch.length > 0) return diffNode(entry.patch);
  const rows = entry.isError ? null : resultRows(entry.result);
  if (rows) return h("div", { class: "result" }, diffNode(rows));
  return h("pre", { class: "result", "data-tone": entry.isError ? "bad" : null }, entry.result.trim() ? longText(entry.result) : h("span", { class: "hint" }, "(nothing)"));
}

function folded(head, summary, make, open = false) {
  const details = h("details", {}, h("summary", {}, h("b", {}, head), " ", h("span", { class: "what" }, summary)));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(h("div", { class: "body" }, make())); });
  details.open = open;
  return details;
}

function firstLine(text) {
  return name(text.slice(0, 2000).split("\n").find((line) => line.trim()) ?? "", 160);
}

function diffNode(rows) {
  const { added, removed } = changed(rows);
  const place = h("div", { class: "diff", role: "group", tabindex: "0", "aria-label": `Changes: ${added} lines added, ${removed} removed` });
  let at = 0;
  const more = h("button", { type: "button", class: "quiet", on: { click: grow } });
  function grow() {
    more.remove();
    const table = rows.slice(at, (at += ROWS)).map(({ kind, text }) => h(kind === "add" ? "ins" : kind === "del" ? "del" : "span", { class: kind }, longText(text === "" ? " " : text)));
    place.append(...table);
    if (at < rows.length) {
      setText(more, `Show more (${rows.length - at} lines)`);
      place.append(more);
    }
  }
  grow();
  return place;
}

function proseNodes(text) {
  if (text.length > 60_000) return longText(text);
  return prose(text).map((block) => {
    if (block.kind === "code") return h("pre", {}, longText(block.text));
    const runs = block.runs.map((run) => (run.kind === "code" ? h("code", {}, pieces(run.text)) : run.kind === "strong" ? h("strong", {}, pieces(run.text)) : pieces(run.text)));
    return block.kind === "heading" ? h("p", { class: "heading" }, runs) : h("p", {}, runs);
  });
}

/** Text as it is to be seen; of a long one the beginning, and a button for more. */
export function longText(text) {
  if (text.length <= SHOWN + 500) return pieces(text);
  let at = SHOWN;
  const more = h("button", { type: "button", class: "quiet", on: { click: grow } }, said());
  function said() {
    return `Show more (${bytes(text.length - at)})`;
  }
  function grow() {
    more.before(...pieces(text.slice(at, (at += SHOWN_MORE))));
    if (at >= text.length) more.remove();
    else setText(more, said());
  }
  return [...pieces(text.slice(0, at)), " … ", more];
}

function pieces(text) {
  return segments(text).map((piece) => {
    if (piece.kind === "link") return h("a", { href: piece.href, target: "_blank", rel: "noopener noreferrer", title: piece.href }, piece.text);
    if (piece.kind === "unseen") return h("span", { class: "unseen", title: "a character that is not seen" }, piece.text);
    return piece.text;
  });
}
