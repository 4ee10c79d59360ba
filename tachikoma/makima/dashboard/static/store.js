// What these pages know of tasks and daemons: loaded once, then kept true by events.

import { get, session } from "./api.js";
import { eachFrame, settled } from "./dom.js";
import { Live } from "./live.js";
import { ended } from "./order.js";

const PAGE = 500;
const MOST = 2000;

export class Store {
  constructor() {
    this.tasks = new Map();
    this.daemons = new Map();
    this.total = 0;
    this.archived = null; // the archived ones, once somebody wants to see them
    this.loaded = false;
    this.error = null;
    this.state = "connecting";
    this.skew = 0;
    this.live = null;
  }

  #watchers = new Set();
  #hearers = new Set();
  #tell = eachFrame(() => { for (const each of [...this.#watchers]) each(); });
  #freshen = settled(() => this.#freshenNow(), 400);
  #retry = 0;

  /** What time it is on the server. */
  now() {
    return Date.now() + this.skew;
  }

  /** Have `seen` called, once a frame at most, after anything changed; returns how to stop. */
  watch(seen) {
    this.#watchers.add(seen);
    return () => this.#watchers.delete(seen);
  }

  /** Have `heard` called with each event {what, text, at, task, daemon, id}. */
  hear(heard) {
    this.#hearers.add(heard);
    return () => this.#hearers.delete(heard);
  }

  start() {
    if (this.live) return;
    this.live = new Live("/api/v1/events", {
      kinds: {
        hello: (data) => this.#hello(data),
        reset: (data) => this.#hello(data),
        task: (data, id) => this.#heard(data, id),
        daemon: (data, id) => this.#heard(data, id),
      },
      onState: (state) => {
        this.state = state;
        this.#tell();
      },
      onRefused: async () => {
        const found = await session().catch(() => undefined);
        if (found === null) location.assign(`/sign-in?to=${encodeURIComponent(location.pathname)}`);
        return found !== null;
      },
    });
  }

  stop() {
    this.live?.close();
    this.live = null;
  }

  /** Take a task as some answer has it, unless a newer one is known. */
  put(task) {
    const known = this.tasks.get(task.id) ?? this.archived?.get(task.id);
    if (known && known.version > task.version) return;
    const [into, from] = task.archived ? [this.archived, this.tasks] : [this.tasks, this.archived];
    from?.delete(task.id);
    into?.set(task.id, task);
    this.#tell();
  }

  async loadArchived() {
    const found = await get(`/tasks?archived=true&limit=${PAGE}`);
    this.archived = new Map(found.items.map((task) => [task.id, task]));
    this.#tell();
  }

  /** Find tasks by text on the server, which knows the plans, too; gives their ids. */
  async find(text, archived) {
    const query = new URLSearchParams({ search: text.slice(0, 200), limit: "200", archived: String(archived) });
    const found = await get(`/tasks?${query}`);
    for (const task of found.items) this.put(task);
    return new Set(found.items.map((task) => task.id));
  }

  async load() {
    try {
      const tasks = new Map();
      let offset = 0;
      for (;;) {
        const page = await get(`/tasks?limit=${PAGE}&offset=${offset}`);
        for (const task of page.items) tasks.set(task.id, task);
        this.total = page.total;
        offset += PAGE;
        if (offset >= page.total || offset >= MOST) break;
      }
      for (const [id, task] of this.tasks) {
        if (tasks.has(id) && task.version > tasks.get(id).version) tasks.set(id, task);
      }
      this.tasks = tasks;
      await this.loadDaemons();
      this.loaded = true;
      this.error = null;
      clearTimeout(this.#retry);
    } catch (error) {
      this.error = error;
      if (error.status !== 401) this.#retry = setTimeout(() => this.load(), 3000);
    }
    this.#tell();
  }

  async loadDaemons() {
    const found = await get("/daemons");
    this.daemons = new Map(found.items.map((daemon) => [daemon.id, daemon]));
    this.#tell();
  }

  #hello(data) {
    this.skew = Date.parse(data.at) - Date.now();
    this.load();
    for (const each of [...this.#hearers]) each({ ...data, id: 0 });
  }

  #heard(data, id) {
    if (data.task) {
      this.put(data.task);
      // Whether others wait for it is not in this event.
      if (ended(data.task)) this.#freshen();
    }
    if (data.daemon) {
      this.daemons.set(data.daemon.id, data.daemon);
      this.#freshen();
    }
    for (const each of [...this.#hearers]) each({ ...data, id });
    this.#tell();
  }

  async #freshenNow() {
    const active = ["pending", "initializing", "running", "paused"].map((each) => `status=${each}`).join("&");
    try {
      const page = await get(`/tasks?${active}&limit=${PAGE}`);
      for (const task of page.items) this.put(task);
      await this.loadDaemons();
    } catch {
      // The stream tells when the server is away, and everything is loaded again after it.
    }
  }
}
