// What agents and programs print, made fit to be looked at (pure). Nothing here makes HTML.

const ESCAPES = new RegExp(
  [
    "(?:\\u001b\\[|\\u009b)[0-?]*[ -/]*[@-~]", // CSI: colours, cursor
    "(?:\\u001b\\]|\\u009d)[^\\u0007\\u001b\\u009c\\n]*(?:\\u0007|\\u001b\\\\|\\u009c)?", // OSC: titles, links
    "(?:\\u001b[PX^_])[^\\u001b\\n]*(?:\\u001b\\\\)?", // DCS, SOS, PM, APC
    "\\u001b[ -/]*[0-~]?", // all others
  ].join("|"),
  "g",
);
const UNSEEN = "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff";
const LINK_OR_UNSEEN = new RegExp(`(https?://[^\\s<>"'\`${UNSEEN}\\u0000-\\u001f]+)|([${UNSEEN}])`, "gi");
const LONGEST_LINK = 2000;

/** Take terminal escapes out, and what a progress line has overwritten. */
export function plain(text) {
  let clean = text;
  if (/[\u001b\u009b\u009d]/.test(clean)) clean = clean.replace(ESCAPES, "");
  if (clean.includes("\b")) clean = backspaced(clean);
  if (!clean.includes("\r")) return clean;
  return clean
    .split("\n")
    .map((line) => {
      const left = line.replace(/\r+$/, "");
      return left.slice(left.lastIndexOf("\r") + 1);
    })
    .join("\n");
}

function backspaced(text) {
  const kept = [];
  for (const letter of text) {
    if (letter !== "\b") kept.push(letter);
    else if (kept.length > 0 && kept.at(-1) !== "\n") kept.pop();
  }
  return kept.join("");
}

/** Cut a text into what is text, what is a link, and what nobody would see and so is named. */
export function segments(text) {
  const found = [];
  let at = 0;
  const add = (kind, piece, href) => { if (piece) found.push(href ? { kind, text: piece, href } : { kind, text: piece }); };
  for (const match of text.matchAll(LINK_OR_UNSEEN)) {
    const [whole, link] = match;
    let shown = whole;
    let href = null;
    if (link) {
      shown = trimmed(link);
      href = safeLink(shown);
      if (!href) continue;
    }
    add("text", text.slice(at, match.index));
    if (href) add("link", shown, href);
    else add("unseen", codePoint(whole));
    at = match.index + shown.length;
  }
  add("text", text.slice(at));
  return found;
}

/** Give the address of a link that may be followed, or null: only http and https, without a user. */
export function safeLink(text) {
  if (typeof text !== "string" || text.length > LONGEST_LINK) return null;
  try {
    const url = new URL(text);
    const web = url.protocol === "https:" || url.protocol === "http:";
    return web && !url.username && !url.password ? url.href : null;
  } catch {
    return null;
  }
}

function trimmed(link) {
  let end = link.replace(/[.,;:!?'"]+$/, "");
  while (/[)\]}]$/.test(end) && !closes(end)) end = end.slice(0, -1).replace(/[.,;:!?'"]+$/, "");
  return end;
}

function closes(link) {
  const pair = { ")": "(", "]": "[", "}": "{" };
  const last = link.at(-1);
  return link.split(pair[last]).length >= link.split(last).length;
}

function codePoint(letter) {
  return `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Cut prose into blocks: fenced code, headings, and paragraphs of runs (text, code, strong). */
export function prose(text) {
  const blocks = [];
  let lines = [];
  let fence = null;
  const close = () => {
    const joined = lines.join("\n").replace(/^\n+|\n+$/g, "");
    if (joined) blocks.push({ kind: "text", runs: runs(joined) });
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = /^\s{0,3}(`{3,}|~{3,})/.exec(line);
    if (fence) {
      if (mark && mark[1][0] === fence[0] && mark[1].length >= fence.length && line.trim() === mark[1]) {
        blocks.push({ kind: "code", text: lines.join("\n") });
        lines = [];
        fence = null;
      } else lines.push(line);
    } else if (mark) {
      close();
      fence = mark[1];
    } else {
      const heading = /^#{1,6}\s+(.+?)\s*#*$/.exec(line.slice(0, 500));
      if (heading && line.length <= 500) {
        close();
        blocks.push({ kind: "heading", runs: runs(heading[1]) });
      } else lines.push(line);
    }
  }
  if (fence) blocks.push({ kind: "code", text: lines.join("\n") });
  else close();
  return blocks;
}

function runs(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(/`([^`\n]{1,400})`|\*\*([^*\n]{1,400})\*\*/g)) {
    if (match.index > at) found.push({ kind: "text", text: text.slice(at, match.index) });
    found.push(match[1] ? { kind: "code", text: match[1] } : { kind: "strong", text: match[2] });
    at = match.index + match[0].length;
  }
  if (at < text.length) found.push({ kind: "text", text: text.slice(at) });
  return found;
}
