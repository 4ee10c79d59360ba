// Which piece of an output is in the page: 64 MB are on the server, and some of it is here.
//
// The piece has whole lines. `load` gives a page {items, next, more, droppedBytes} of what comes
// after a number; numbers of chunks have no gap but at the beginning.

import { Transcript } from "./stream.js";

export const AT_ONCE = 300;
const MOST_ENTRIES = 1500;
const MOST_SIZE = 8_000_000;
const LONGEST_LINE_CHUNKS = 4000;

export class Window {
  constructor(load) {
    this.load = load;
    this.reset();
  }

  reset() {
    this.transcript = new Transcript();
    this.start = 1; // the number of the first chunk that is here
    this.next = 0; // that of the last one: what `after` is to be for more
    this.atEnd = true; // whether what comes next belongs here
    this.dropped = 0;
    this.ended = false;
    this.oldest = 1;
  }

  get entries() {
    return this.transcript.entries;
  }

  /** Whether there is something before what is here. */
  get hasEarlier() {
    return this.start > 1 && this.start > this.oldest;
  }

  /** Load the latest piece. */
  async loadLast() {
    this.reset();
    let page = await this.load({ last: AT_ONCE });
    // Long lines: a page is full before its end. As many fit in a page of the latest ones.
    for (let count = page.items.length; page.more && count > 1; count = Math.ceil(Math.min(count, page.items.length) / 2)) {
      page = await this.load({ last: count });
    }
    let chunks = page.more ? await this.#through(page.items, Infinity) : page.items;
    chunks = await this.#wholeHead(chunks);
    this.dropped = page.droppedBytes;
    this.ended = page.ended;
    if (chunks.length > 0) {
      this.start = chunks[0].number;
      this.next = chunks.at(-1).number;
    } else this.next = page.next;
    return this.transcript.push(chunks);
  }

  /** Load the piece before; gives {added, joined}: results that have found their calls. */
  async loadEarlier() {
    const end = this.start - 1;
    let count = Math.min(AT_ONCE, end);
    let first = await this.load({ after: end - count, limit: count });
    while (count > 1 && first.items.length > 0 && first.items.length < count && first.items.at(-1).number < end) {
      count = Math.ceil(Math.min(count, first.items.length) / 2);
      first = await this.load({ after: end - count, limit: count });
    }
    let chunks = await this.#through(first.items, end);
    chunks = await this.#wholeHead(chunks.filter((each) => each.number <= end));
    if (chunks.length === 0) {
      this.oldest = this.start;
      this.dropped = first.droppedBytes;
      return { added: [], joined: [] };
    }
    this.start = chunks[0].number;
    const earlier = new Transcript();
    earlier.push(chunks);
    const joined = this.transcript.prepend(earlier);
    return { added: earlier.entries, joined };
  }

  /** Load the piece behind, where the end is not here. */
  async loadLater() {
    const page = await this.load({ after: this.next, limit: AT_ONCE });
    const changes = this.push(page.items);
    if (!page.more) this.atEnd = true;
    return changes;
  }

  /** Take what came next. */
  push(chunks) {
    const fresh = chunks.filter((each) => each.number > this.next);
    if (fresh.length > 0) this.next = fresh.at(-1).number;
    return this.transcript.push(fresh);
  }

  /** Say that some of the output before what comes next is gone. */
  gap(dropped) {
    this.dropped = dropped;
    this.transcript.cut();
  }

  get #over() {
    let size = 0;
    for (const entry of this.entries) size += entry.size;
    return this.entries.length > MOST_ENTRIES || size > MOST_SIZE;
  }

  /** Let go of the beginning until the rest fits; gives the entries that went. */
  trimHead() {
    if (!this.#over) return [];
    let gone = this.#surplus(this.entries);
    // A line that has several entries stays or goes whole.
    while (gone < this.entries.length - 1 && this.entries[gone].first <= this.entries[gone - 1]?.last) gone += 1;
    const went = this.entries.slice(0, gone);
    this.transcript.dropFirst(gone);
    if (this.entries.length > 0) this.start = this.entries[0].first;
    return went;
  }

  /** Let go of the end until the rest fits. What comes next does not belong here then. */
  trimTail() {
    if (!this.#over) return [];
    let gone = this.#surplus(this.entries.toReversed());
    // A line that has several entries stays or goes whole.
    while (gone < this.entries.length - 1 && this.entries.at(-1 - gone).last >= this.entries.at(-gone).first) gone += 1;
    const went = this.entries.slice(this.entries.length - gone);
    this.next = went[0].first - 1;
    this.transcript = rebuilt(this.entries.slice(0, -gone));
    this.atEnd = false;
    return went;
  }

  #surplus(entries) {
    let count = 0;
    let size = 0;
    for (const entry of entries) size += entry.size;
    while (entries.length - count > 1 && (entries.length - count > MOST_ENTRIES * 0.8 || size > MOST_SIZE * 0.8)) {
      size -= entries[count].size;
      count += 1;
    }
    return count;
  }

  /** Read on until the chunk `end`: a page may have less than was asked for. */
  async #through(chunks, end) {
    const all = [...chunks];
    while (all.length > 0 && all.at(-1).number < end) {
      const page = await this.load({ after: all.at(-1).number, limit: AT_ONCE });
      if (page.items.length === 0) break;
      all.push(...page.items);
      if (!page.more) break;
    }
    return all;
  }

  /** Begin with a whole line: drop a line's rest, or fetch its beginning where that is all there is. */
  async #wholeHead(chunks) {
    let all = chunks;
    let reach = 1;
    while (all.length > 0 && all[0].number > 1 && all.length < LONGEST_LINE_CHUNKS) {
      const before = await this.load({ after: Math.max(0, all[0].number - 1 - reach), limit: reach });
      const items = before.items.filter((each) => each.number < all[0].number);
      const previous = items.at(-1);
      if (!previous || !previous.partial || previous.attempt !== all[0].attempt) return all;
      const whole = all.findIndex((each) => !each.partial) + 1;
      if (whole > 0 && whole < all.length) return all.slice(whole);
      if (items[0].number < all[0].number && items.at(-1).number === all[0].number - 1) all = [...items, ...all];
      reach = Math.min(AT_ONCE, reach * 8);
    }
    return all;
  }
}

function rebuilt(entries) {
  const made = new Transcript();
  made.entries = entries;
  for (const entry of entries) {
    if (entry.kind === "tool" && entry.call) made.tools.set(entry.call, entry);
    if (entry.kind === "result" && entry.call) made.orphans.set(entry.call, entry);
  }
  made.goOn(entries.at(-1));
  return made;
}
