// Server-sent events that come back by themselves, from where they were.

const FIRST_MS = 500;
const LONGEST_MS = 15_000;
const HIDDEN_MS = 20_000;

/**
 * One stream. `kinds` maps the name of an event to what hears it; `onState` hears "connecting",
 * "live", "away" and "paused". A tab that is hidden lets go of its connection after a while:
 * browsers have few for one server, and the others may be looked at.
 */
export class Live {
  constructor(path, { kinds, onState = () => {}, onRefused = async () => true, after = null }) {
    Object.assign(this, { path, kinds, onState, onRefused, after });
    this.wait = FIRST_MS;
    this.closed = false;
    this.visible = () => this.#visible();
    document.addEventListener("visibilitychange", this.visible);
    window.addEventListener("online", this.visible);
    this.#open();
  }

  #source = null;
  #timer = 0;

  /** End it for good. */
  close() {
    this.closed = true;
    clearTimeout(this.#timer);
    this.#drop();
    document.removeEventListener("visibilitychange", this.visible);
    window.removeEventListener("online", this.visible);
  }

  #drop() {
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    if (this.closed) return;
    clearTimeout(this.#timer);
    this.#drop();
    this.onState("connecting");
    const source = new EventSource(this.after === null ? this.path : `${this.path}?after=${this.after}`);
    this.#source = source;
    source.onopen = () => {
      this.wait = FIRST_MS;
      this.onState("live");
    };
    source.onerror = () => this.#lost();
    for (const [kind, heard] of Object.entries(this.kinds)) {
      source.addEventListener(kind, (event) => {
        if (this.#source !== source) return;
        if (event.lastEventId) this.after = Number(event.lastEventId);
        heard(JSON.parse(event.data), this.after);
      });
    }
  }

  async #lost() {
    const refused = this.#source?.readyState === EventSource.CLOSED;
    this.#drop();
    if (this.closed) return;
    this.onState("away");
    const wait = this.wait;
    this.wait = Math.min(LONGEST_MS, this.wait * 2);
    if (refused && !(await this.onRefused())) return;
    if (this.closed) return;
    this.#timer = setTimeout(() => this.#open(), wait * (0.8 + Math.random() * 0.4));
  }

  #visible() {
    clearTimeout(this.#timer);
    if (this.closed) return;
    if (document.hidden) {
      this.#timer = setTimeout(() => {
        this.#drop();
        this.onState("paused");
      }, HIDDEN_MS);
    } else if (!this.#source) {
      this.wait = FIRST_MS;
      this.#open();
    }
  }
}
