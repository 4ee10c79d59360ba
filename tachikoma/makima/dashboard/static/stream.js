// What the chunks of a task's output mean: lines of Claude Code's stream-json become entries (pure).
//
// Nothing that an agent prints makes this fail: what is not understood is shown as it is.

import { changed, diffRows, isDiff, lineDiff, patchRows } from "./diff.js";
import { plain } from "./text.js";

const LONGEST_LINE = 4_000_000;
const LONGEST_TEXT = 1_000_000;
const LONGEST_SUMMARY = 160;
const MOST_PLAIN = 100; // lines of plain text in one entry
const TELLING = ["command", "file_path", "notebook_path", "path", "pattern", "url", "query",
  "description", "skill", "subject", "prompt"];
const COMMIT = /^\[([^\s\]]{1,200})(?: \(root-commit\))? ([0-9a-f]{7,40})\] (.{1,300})$/gm;

let ids = 0;

const str = (value) => (typeof value === "string" ? value : "");
const obj = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});
const list = (value) => (Array.isArray(value) ? value : []);
const num = (value) => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : 0);

/** The entries of a piece of output. `push` takes chunks in order, and says what came of it. */
export class Transcript {
  constructor() {
    this.entries = [];
    this.tools = new Map(); // of calls, by the id of the call
    this.orphans = new Map(); // results whose call was in an earlier piece
    this.#begin();
  }

  #line = null;
  #draft = null;
  #partial = null;
  #session = "";
  #attempt = 0;
  #cwd = "";
  #changes = null;
  #chunk = null;

  #begin() {
    this.#changes = { added: [], changed: new Set(), removed: new Set() };
  }

  /** Take chunks {number, at, attempt, text, partial}. */
  push(chunks) {
    this.#begin();
    for (const chunk of chunks) this.#take(chunk);
    const { added, changed: touched, removed } = this.#changes;
    return {
      added: added.filter((each) => !removed.has(each)),
      changed: [...touched].filter((each) => !removed.has(each) && !added.includes(each)),
      removed: [...removed].filter((each) => !added.includes(each)),
    };
  }

  /** Say that output before what comes next is not there. */
  cut() {
    this.#line = null;
  }

  /** Go on behind `entry`, in the same attempt. */
  goOn(entry) {
    this.#attempt = entry?.attempt ?? 0;
  }

  /** Let the first `count` entries go. */
  dropFirst(count) {
    this.#forget(this.entries.splice(0, count));
  }

  #forget(entries) {
    for (const entry of entries) {
      if (entry.kind === "tool") this.tools.delete(entry.call);
      if (entry.kind === "result") this.orphans.delete(entry.call);
    }
  }

  /** Take the entries of an earlier piece in front; returns the results here that belong to them. */
  prepend(earlier) {
    const joined = [];
    for (const [call, entry] of this.orphans) {
      const tool = earlier.tools.get(call);
      if (!tool || tool.result !== null) continue;
      finish(tool, entry.result, entry.isError, entry.patch);
      this.orphans.delete(call);
      this.entries.splice(this.entries.indexOf(entry), 1);
      joined.push(entry);
    }
    for (const [call, tool] of earlier.tools) if (!this.tools.has(call)) this.tools.set(call, tool);
    for (const [call, entry] of earlier.orphans) this.orphans.set(call, entry);
    this.entries.unshift(...earlier.entries);
    return joined;
  }

  #take(chunk) {
    const text = str(chunk.text);
    const line = this.#line;
    if (line && line.attempt !== chunk.attempt) this.#endLine();
    this.#chunk = chunk;
    if (chunk.attempt !== this.#attempt) {
      if (this.#attempt !== 0 || chunk.attempt > 1) this.#add("attempt", { attempt: chunk.attempt });
      this.#attempt = chunk.attempt;
    }
    this.#line ??= { attempt: chunk.attempt, first: chunk.number, at: chunk.at, parts: [], size: 0, lost: 0 };
    const now = this.#line;
    if (now.size < LONGEST_LINE) now.parts.push(text);
    else now.lost += text.length;
    now.size += text.length;
    if (chunk.partial) this.#showPartial();
    else this.#endLine();
  }

  #showPartial() {
    const { size, parts } = this.#line;
    const head = parts[0].trimStart();
    const text = head.startsWith("{") ? "" : plain(parts.join("").slice(0, 4000));
    if (this.#partial) this.#change(this.#partial, { size, text });
    else this.#partial = this.#add("partial", { size, text });
  }

  #endLine() {
    const line = this.#line;
    this.#line = null;
    if (this.#partial) this.#remove(this.#partial);
    this.#partial = null;
    const text = line.parts.join("").replace(/\n$/, "");
    const event = line.lost ? null : read(text);
    this.#chunk = { ...this.#chunk, at: line.at, first: line.first };
    if (event) this.#event(event);
    else this.#plain(text, line.lost);
  }

  #plain(text, lost) {
    if (!text.trim()) return;
    const shown = plain(text);
    const last = this.entries.at(-1);
    if (!lost && last?.kind === "plain" && last.lines < MOST_PLAIN && shown.length < 4000) {
      this.#change(last, { text: `${last.text}\n${shown}`, lines: last.lines + 1, last: this.#chunk.number });
      last.size += shown.length;
    } else this.#add("plain", { text: shown.slice(0, LONGEST_TEXT), lost: lost + Math.max(0, shown.length - LONGEST_TEXT), lines: 1 });
  }

  #event(event) {
    const inside = str(event.parent_tool_use_id);
    switch (event.type) {
      case "system": return this.#system(event);
      case "assistant": return this.#assistant(event, inside);
      case "user": return this.#user(event, inside);
      case "result": return this.#result(event);
      case "stream_event": return this.#delta(obj(event.event), inside);
      case "rate_limit_event": {
        const status = str(obj(event.rate_limit_info).status);
        if (status && status !== "allowed") this.#add("notice", { text: `The account's limit: ${status.replaceAll("_", " ")}` });
        return undefined;
      }
      case "control_request": {
        const request = obj(event.request);
        if (request.subtype === "can_use_tool") this.#add("notice", { text: `It asks whether it may use ${str(request.tool_name)}` });
        return undefined;
      }
      case "control_response": case "control_cancel_request": return undefined;
      default:
        if (str(event.session_id)) return undefined; // Claude Code's own, and not for people
        return this.#add("plain", { text: plain(JSON.stringify(event)).slice(0, LONGEST_TEXT), lost: 0, lines: 1 });
    }
  }

  #system(event) {
    if (event.subtype === "init") {
      this.#cwd = str(event.cwd) || this.#cwd;
      const key = `${str(event.session_id)} ${str(event.model)}`;
      if (key !== this.#session) {
        this.#add("session", { model: str(event.model), cwd: str(event.cwd), version: str(event.claude_code_version) });
      }
      this.#session = key;
    } else if (event.subtype === "api_retry") {
      const why = str(event.error).replaceAll("_", " ") || "no answer";
      const status = num(event.error_status) ? ` (${event.error_status})` : "";
      this.#add("retry", { text: `Trying the model again, ${num(event.attempt)} of ${num(event.max_retries)}: ${why}${status}` });
    } else if (event.subtype === "compact_boundary") {
      this.#add("notice", { text: "The conversation was made shorter" });
    }
  }

  #assistant(event, inside) {
    if (this.#draft && !inside) {
      this.#remove(this.#draft);
      this.#draft = null;
    }
    const message = obj(event.message);
    const failed = Boolean(event.error) || message.model === "<synthetic>";
    for (const block of list(message.content).map(obj)) {
      if (block.type === "text" && str(block.text).trim()) {
        this.#add(failed ? "error" : "text", { text: clipped(plain(block.text)), inside });
      } else if (block.type === "thinking" && str(block.thinking).trim()) {
        this.#add("thinking", { text: clipped(plain(block.thinking)), inside });
      } else if (block.type === "tool_use" || block.type === "server_tool_use" || block.type === "mcp_tool_use") {
        this.#tool(block, inside);
      }
    }
  }

  #tool(block, inside) {
    const name = str(block.name) || "a tool";
    const input = obj(block.input);
    const entry = this.#add("tool", {
      call: str(block.id), name, input, inside, result: null, isError: false,
      summary: summaryOf(input, this.#cwd), ...bodyOf(name, input), patch: null, commits: [],
    });
    if (entry.call) this.tools.set(entry.call, entry);
  }

  #user(event, inside) {
    const content = obj(event.message).content;
    if (typeof content === "string") return void this.#said(content, inside);
    for (const block of list(content).map(obj)) {
      if (block.type === "text") this.#said(str(block.text), inside);
      else if (block.type === "image") this.#add("notice", { text: "A picture was sent", inside });
      else if (block.type === "tool_result") this.#answered(block, event, inside);
    }
    return undefined;
  }

  #said(text, inside) {
    if (!text.trim()) return;
    const aborted = text.startsWith("[Request interrupted");
    this.#add(aborted ? "notice" : "message", { text: clipped(plain(aborted ? text.replace(/^\[|\]$/g, "") : text)), inside });
  }

  #answered(block, event, inside) {
    const call = str(block.tool_use_id);
    const result = clipped(plain(resultText(block.content)));
    const isError = block.is_error === true;
    const patch = patchRows(obj(event.tool_use_result).structuredPatch);
    const tool = this.tools.get(call);
    if (tool) {
      finish(tool, result, isError, patch);
      tool.size += result.length;
      this.#changes.changed.add(tool);
    } else {
      const entry = this.#add("result", { call, result, isError, patch, inside, commits: commitsIn(result) });
      if (call) this.orphans.set(call, entry);
    }
  }

  #result(event) {
    const isError = event.is_error === true || str(event.subtype).startsWith("error");
    const errors = list(event.errors).map((each) => str(each) || JSON.stringify(each));
    const text = str(event.result);
    const last = this.entries.findLast((each) => each.kind === "text" || each.kind === "error");
    const known = last && plain(text).trim() === last.text.trim();
    this.#add("turn", {
      isError,
      why: isError ? clipped(plain(text || errors.join("; ") || str(event.subtype) || "the turn failed")) : "",
      text: isError || known ? "" : clipped(plain(text)),
      turns: num(event.num_turns), ms: num(event.duration_ms), usd: num(event.total_cost_usd),
    });
  }

  #delta(event, inside) {
    const delta = obj(event.delta);
    if (inside || event.type !== "content_block_delta" || !str(delta.text)) return;
    if (this.#draft) this.#change(this.#draft, { text: clipped(this.#draft.text + plain(delta.text)) });
    else this.#draft = this.#add("draft", { text: plain(delta.text) });
  }

  #add(kind, more) {
    const { number, at } = this.#chunk;
    const entry = {
      id: (ids += 1), kind, first: this.#chunk.first ?? number, last: number, at,
      attempt: this.#attempt, inside: "", size: 200 + sizeOf(more), version: 0, ...more,
    };
    this.entries.push(entry);
    this.#changes.added.push(entry);
    return entry;
  }

  #change(entry, more) {
    Object.assign(entry, more);
    entry.version += 1;
    this.#changes.changed.add(entry);
  }

  #remove(entry) {
    const at = this.entries.lastIndexOf(entry);
    if (at >= 0) this.entries.splice(at, 1);
    this.#changes.removed.add(entry);
  }
}

function read(line) {
  if (!line.trimStart().startsWith("{")) return null;
  try {
    const event = JSON.parse(line);
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}

function finish(tool, result, isError, patch) {
  tool.result = result;
  tool.isError = isError;
  tool.version += 1;
  if (patch.length > 0) tool.patch = patch;
  if (!isError) tool.commits = commitsIn(result);
}

function sizeOf(more) {
  return [more.text, more.result, more.why].reduce((sum, each) => sum + (each?.length ?? 0), 0)
    + (more.input ? JSON.stringify(more.input).length : 0);
}

function clipped(text) {
  if (text.length <= LONGEST_TEXT) return text;
  return `${text.slice(0, LONGEST_TEXT)}\n… ${text.length - LONGEST_TEXT} more characters`;
}

function resultText(content) {
  if (typeof content === "string") return content;
  return list(content)
    .map(obj)
    .map((block) => (block.type === "text" ? str(block.text) : block.type === "image" ? "[a picture]" : JSON.stringify(block)))
    .join("\n");
}

/** Find the commits that git says it made. */
export function commitsIn(text) {
  if (!text.includes("] ")) return [];
  return [...text.matchAll(COMMIT)].slice(0, 50).map(([, branch, sha, message]) => ({ branch, sha, message }));
}

/** Say in a line what a tool is used for. */
export function summaryOf(input, cwd = "") {
  for (const key of TELLING) {
    const value = input[key];
    if (typeof value !== "string" || !value.trim()) continue;
    const line = plain(value).split("\n").find((each) => each.trim()) ?? "";
    const place = cwd && key.endsWith("path") && line.startsWith(`${cwd}/`) ? line.slice(cwd.length + 1) : line;
    return short(place.trim());
  }
  const todos = list(input.todos);
  if (todos.length) return `${todos.filter((each) => obj(each).status === "completed").length} of ${todos.length} done`;
  const first = Object.values(input).find((each) => typeof each === "string" && each.trim());
  return first ? short(plain(first).trim().split("\n")[0]) : "";
}

function short(text) {
  return text.length <= LONGEST_SUMMARY ? text : `${text.slice(0, LONGEST_SUMMARY - 1)}…`;
}

/** Say how the input of a tool is shown: as a diff, a command, a list of things to do, or as it is. */
export function bodyOf(name, input) {
  const edits = name === "MultiEdit" ? list(input.edits).map(obj) : name === "Edit" ? [input] : [];
  if (edits.length) {
    const rows = edits.flatMap((edit, at) => [
      ...(at ? [{ kind: "gap", text: "⋯" }] : []),
      ...lineDiff(plain(str(edit.old_string)), plain(str(edit.new_string))),
    ]);
    return { body: "diff", rows, ...changed(rows) };
  }
  if (name === "Write" || name === "NotebookEdit") {
    const rows = lineDiff("", plain(str(input.content) || str(input.new_source)));
    return { body: "diff", rows, ...changed(rows) };
  }
  if (typeof input.command === "string") return { body: "command" };
  if (list(input.todos).length) return { body: "todos" };
  return { body: "json" };
}

/** Say how the result of a tool is shown: rows of a diff, or text. */
export function resultRows(text) {
  return text.length < 400_000 && isDiff(text) ? diffRows(text) : null;
}
