// What is asked of the server's own machine again and again, while somebody looks.

import { get } from "./api.js";
import { words } from "./dialogs.js";
import { h } from "./dom.js";

/** Ask for `path()` now and every `ms`; gives how to ask at once and how to stop. */
export function polled(path, ms, { seen, trouble }) {
  let stopped = false;
  let round = 0;
  async function ask() {
    const mine = (round += 1);
    try {
      const found = await get(path());
      if (stopped || mine !== round) return;
      trouble.replaceChildren();
      seen(found);
    } catch (error) {
      if (stopped || mine !== round) return;
      trouble.replaceChildren(h("div", { class: "banner bad", role: "alert" }, words(error)));
    }
  }
  const timer = setInterval(() => { if (!document.hidden) ask(); }, ms);
  ask();
  return { ask, stop: () => { stopped = true; clearInterval(timer); } };
}

/** What is shown where the server runs without tachikoma's machine beside it. */
export function notHere(what) {
  return h("div", { class: "empty" }, h("h2", {}, `No ${what} to show`),
    h("p", {}, "This server was started by itself, and sees no machine of its own. On a machine with VMs ", h("code", {}, "tachikoma makima up"), " starts a server that shows them."));
}

/** A table that becomes cards on a narrow screen. */
export function table(caption, columns) {
  const body = h("tbody");
  const node = h("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen-text" }, caption), h("thead", {}, h("tr", {}, columns.map(({ title, right }) => h("th", { scope: "col", class: right ? "right" : null }, title)))), body));
  return { node, body };
}
