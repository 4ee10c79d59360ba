// The server's API. Who is signed in is known by a cookie that these pages cannot read.

export class Refused extends Error {
  constructor(status, code, message, hint = "") {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

let csrf = null;
let onSignedOut = () => {};

/** Have `heard` called when the server does not know us (any more). */
export function whenSignedOut(heard) {
  onSignedOut = heard;
}

/** Ask the server. Throws `Refused`; status 0 means that it was not reached. */
export async function call(method, path, body, { signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  let response;
  try {
    response = await fetch(path.startsWith("/dashboard/") ? path : `/api/v1${path}`, {
      method, headers, signal, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The server cannot be reached.", "It is tried again by itself.");
  }
  const told = await response.json().catch(() => null);
  if (response.ok) return told;
  const { code = "http", message = `The server answers with ${response.status}.`, hint = "" } = told?.error ?? {};
  if (response.status === 401 && path !== "/session") onSignedOut();
  if (code === "csrf" && method !== "GET") await session().catch(() => null);
  throw new Refused(response.status, code, message, hint);
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body) => call("POST", path, body);

/** Give the session, or null if nobody is signed in. */
export async function session() {
  try {
    const found = await call("GET", "/session");
    csrf = found.csrfToken;
    return found;
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

export async function signIn(key) {
  const found = await call("POST", "/session", { key });
  csrf = found.csrfToken;
  return found;
}

export async function signOut() {
  await call("DELETE", "/session");
  csrf = null;
}

/** Give an id for a task, so that asking twice makes one. Works without HTTPS, too. */
export function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
