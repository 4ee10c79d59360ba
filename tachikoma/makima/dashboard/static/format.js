// How numbers, times and names are told (pure).

const UNITS = ["B", "kB", "MB", "GB", "TB"];
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Make one line of a name that somebody else chose: nothing in it moves or turns other text. */
export function name(text, most = 300) {
  const line = String(text ?? "").replace(UNSEEN, " ").replace(/\s+/g, " ").trim();
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}

/** Tell how long: 8s, 3m 04s, 2h 05m, 3d 4h. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "";
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (number) => String(number).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
}

/** Tell how long ago. */
export function ago(at, now) {
  if (!at) return "never";
  const ms = now - Date.parse(at);
  if (ms < 5000) return "just now";
  const s = Math.floor(ms / 1000);
  if (s < 90) return `${s} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  if (s < 129600) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86400)} days ago`;
}

/** Give how long a task takes or took, and null for one that never began. */
export function elapsed(task, now) {
  const begin = Date.parse(task.startedAt ?? (task.endedAt ? NaN : task.createdAt));
  const end = task.endedAt ? Date.parse(task.endedAt) : now;
  return Number.isFinite(begin) ? Math.max(0, end - begin) : null;
}

/** Tell a count: 950, 12.3k, 1.2M. */
export function count(number) {
  const n = Number(number) || 0;
  if (n < 1000) return String(Math.round(n));
  const [value, unit] = n < 999_500 ? [n / 1e3, "k"] : n < 999_500_000 ? [n / 1e6, "M"] : [n / 1e9, "G"];
  return `${value < 99.95 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)}${unit}`;
}

/** Tell what something costs; "" for nothing. */
export function cost(usd) {
  const n = Number(usd) || 0;
  if (n <= 0) return "";
  if (n < 0.01) return "<$0.01";
  return `$${n.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

/** Tell a size. */
export function bytes(number) {
  let value = Number(number) || 0;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Tell MiB as people name memory. */
export function memory(mib) {
  if (!mib) return "–";
  return mib % 1024 === 0 || mib >= 10240 ? `${Math.round(mib / 1024)} GiB` : `${mib} MiB`;
}

/** All tokens of a task's figures. */
export function tokens(figures) {
  return figures.inputTokens + figures.outputTokens + figures.cacheReadTokens + figures.cacheCreationTokens;
}

/** Tell a repository by what people call it: owner/name, or the last part of a path. */
export function repository(place) {
  if (!place) return "";
  const bare = name(place).replace(/[/\s]+$/, "").replace(/\.git$/, "");
  const remote = /^(?:[a-z+]+:\/\/[^/]+\/|[^/@\s]+@[^:/]+:)(.+)$/i.exec(bare);
  const parts = (remote ? remote[1] : bare).split("/").filter(Boolean);
  return parts.slice(remote ? -2 : -1).join("/") || bare;
}

/** Tell the time of day, with the date if it is another day. */
export function clock(at, now, seconds = false) {
  const when = new Date(at);
  if (Number.isNaN(when.getTime())) return "";
  const time = when.toLocaleTimeString("en-GB", {
    hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}),
  });
  const same = when.toDateString() === new Date(now).toDateString();
  return same ? time : `${when.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** "1 task", "2 tasks". */
export function many(number, one, more = `${one}s`) {
  return `${number} ${number === 1 ? one : more}`;
}
