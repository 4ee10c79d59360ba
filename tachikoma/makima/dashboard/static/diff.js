// Diffs: of what a tool was told to change, and of text that is one already (pure).

const MOST_CELLS = 250_000;
const AROUND = 3;

/** Compare two texts by lines: rows of {kind: "same" | "del" | "add" | "gap", text}. */
export function lineDiff(before, after) {
  const a = lines(before);
  const b = lines(after);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const rows = [
    ...a.slice(0, head).map((text) => ({ kind: "same", text })),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...(tail ? a.slice(-tail).map((text) => ({ kind: "same", text })) : []),
  ];
  return folded(rows);
}

function lines(text) {
  if (!text) return [];
  const found = text.split("\n");
  if (found.at(-1) === "") found.pop();
  return found;
}

function middle(a, b) {
  const cost = a.length * b.length;
  if (cost === 0 || cost > MOST_CELLS) {
    return [...a.map((text) => ({ kind: "del", text })), ...b.map((text) => ({ kind: "add", text }))];
  }
  const width = b.length + 1;
  const best = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      best[i * width + j] = a[i] === b[j]
        ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const rows = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      rows.push({ kind: "same", text: a[i] });
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || best[(i + 1) * width + j] >= best[i * width + j + 1])) {
      rows.push({ kind: "del", text: a[i] });
      i += 1;
    } else {
      rows.push({ kind: "add", text: b[j] });
      j += 1;
    }
  }
  return rows;
}

function folded(rows) {
  const near = new Uint8Array(rows.length);
  rows.forEach((row, at) => {
    if (row.kind !== "same") near.fill(1, Math.max(0, at - AROUND), Math.min(rows.length, at + AROUND + 1));
  });
  const found = [];
  rows.forEach((row, at) => {
    if (near[at]) found.push(row);
    else if (found.at(-1)?.kind !== "gap") found.push({ kind: "gap", text: "⋯" });
  });
  return found;
}

/** Give the rows of the hunks that Claude Code tells with the result of an edit; [] if it is none. */
export function patchRows(patch) {
  if (!Array.isArray(patch)) return [];
  const rows = [];
  for (const hunk of patch) {
    if (!Array.isArray(hunk?.lines)) continue;
    rows.push({ kind: "hunk", text: `@@ -${num(hunk.oldStart)},${num(hunk.oldLines)} +${num(hunk.newStart)},${num(hunk.newLines)} @@` });
    for (const line of hunk.lines) {
      if (typeof line !== "string") continue;
      const kind = line[0] === "+" ? "add" : line[0] === "-" ? "del" : "same";
      rows.push({ kind, text: line.slice(1) });
    }
  }
  return rows;
}

const num = (value) => (Number.isSafeInteger(value) ? value : "?");

/** Tell whether a text holds a unified diff. */
export function isDiff(text) {
  return /^(?:diff --git |@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@)/m.test(text);
}

/** Give the rows of a text that holds a unified diff: its lines as they are, each with its kind. */
export function diffRows(text) {
  let inside = false;
  return text.split("\n").map((line) => {
    if (/^(?:diff --git |index [0-9a-f]+\.\.|(?:new|deleted) file mode |similarity |rename )/.test(line)) {
      inside = false;
      return { kind: "meta", text: line };
    }
    if (!inside && /^(?:--- |\+\+\+ )/.test(line)) return { kind: "meta", text: line };
    if (/^@@ -\d/.test(line)) {
      inside = true;
      return { kind: "hunk", text: line };
    }
    if (inside && line[0] === "+") return { kind: "add", text: line };
    if (inside && line[0] === "-") return { kind: "del", text: line };
    if (inside && line[0] !== " " && line[0] !== "\\" && line !== "") inside = false;
    return { kind: "same", text: line };
  });
}

/** Count the lines that come and go. */
export function changed(rows) {
  return {
    added: rows.filter((row) => row.kind === "add").length,
    removed: rows.filter((row) => row.kind === "del").length,
  };
}
