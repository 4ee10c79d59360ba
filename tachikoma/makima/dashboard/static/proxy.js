// What the VMs of the server's own machine asked the credential proxy for, and what it refused.

import { h, reconcile, setAttr, setText, settled } from "./dom.js";
import { ago, bytes, clock, count, duration, many, name } from "./format.js";
import { shortcuts } from "./keys.js";
import { notHere, polled, table } from "./host.js";

const AGAIN_MS = 3000;
const MOST_HOSTS = 12;
const VERDICTS = { forwarded: "done", answered: "done", denied: "failed", failed: "failed", broken: "failed", abandoned: "away" };
const COLUMNS = [
  { title: "When", of: (each, now) => clock(each.at, now, true) },
  { title: "Branch or VM", of: (each) => name(each.branch || each.vm, 60) || "–" },
  { title: "Request", of: (each) => name(`${each.method || "–"} ${each.host && each.method === "CONNECT" ? each.host : (each.host ?? "") + each.path}`, 160), wide: true },
  { title: "Status", of: (each) => String(each.status ?? "–"), right: true },
  { title: "Verdict", of: (each) => each.verdict, status: true },
  { title: "Why", of: (each) => name(each.why, 200) },
  { title: "Tokens", of: (each) => (each.tokens ? count(each.tokens) : ""), right: true },
  { title: "Sent", extra: true, of: (each) => bytes(each.sent), right: true },
  { title: "Took", extra: true, of: (each) => (each.durationS < 60 ? `${each.durationS.toFixed(1)}s` : duration(each.durationS * 1000)), right: true },
];

export function showProxy(main, app) {
  main.className = "proxy-page";
  const denied = h("input", { type: "checkbox", on: { change: () => poll.ask() } });
  const vm = h("input", { type: "search", placeholder: "VM or branch", "aria-label": "Only this VM or branch", on: { input: settled(() => poll.ask(), 250) } });
  const told = h("p", { class: "told", role: "status" });
  const trouble = h("div");
  const hosts = h("section", { class: "panel denied", hidden: true, "aria-labelledby": "denied-title" });
  const place = h("div", {}, h("p", { class: "empty" }, "Asking the machine…"));
  const controls = h("span", { class: "controls" }, vm, h("label", { class: "check" }, denied, "Only denied"));
  main.append(h("div", { class: "bar" }, h("h1", { tabindex: "-1" }, "Proxy"), controls, told), trouble, hosts, place);
  let shown = null;

  function seen({ here, proxy, items, deniedHosts }) {
    const key = !here ? "absent" : items.length === 0 ? "none" : "some";
    controls.hidden = !here;
    setText(told, !here ? "" : proxy.running ? `listens on ${name(proxy.endpoint, 60)}, started ${ago(proxy.since, app.store.now())}` : `not running (${name(proxy.endpoint, 60)})`);
    hosts.hidden = deniedHosts.length === 0;
    if (!hosts.hidden) drawHosts(deniedHosts);
    if (shown?.key !== key || key === "none") {
      if (shown?.key !== key) shown = { key, table: key === "some" ? table("Requests, the latest first", COLUMNS) : null };
      place.replaceChildren(key === "some" ? shown.table.node : key === "absent" ? notHere("proxy")
        : h("div", { class: "empty" }, h("h2", {}, denied.checked ? "Nothing was denied" : "No requests"), h("p", {}, denied.checked || vm.value ? "There is no request that fits." : "What VMs ask for shows up here.")));
    }
    if (key !== "some") return;
    const now = app.store.now();
    reconcile(shown.table.body, items, (each) => each.id, () => h("tr", {}, COLUMNS.map((column) => h("td", { class: [column.right && "right", column.wide && "wide", column.extra && "extra"].filter(Boolean).join(" ") || null, "data-title": column.title }, h("span", { class: column.status ? "status" : null })))),
      (row, each) => {
        setAttr(row, "data-verdict", each.verdict);
        COLUMNS.forEach((column, at) => {
          const cell = row.children[at].firstChild;
          setText(cell, column.of(each, now));
          if (column.status) setAttr(cell, "data-status", VERDICTS[each.verdict] ?? "away");
        });
      });
  }

  function drawHosts(list) {
    const key = JSON.stringify(list);
    if (hosts.dataset.key === key) return;
    hosts.dataset.key = key;
    hosts.replaceChildren(h("h2", { id: "denied-title" }, `Denied: ${many(list.length, "host")}`),
      h("ul", {}, list.slice(0, MOST_HOSTS).map((each) => h("li", {}, h("code", {}, name(each.host, 100)), " ", h("span", { class: "hint" }, `${each.count}×`)))),
      h("p", { class: "hint" }, "To let a VM reach one: ", h("code", {}, "tachikoma egress allow BRANCH HOST")));
  }

  const poll = polled(() => `/dashboard/requests?${new URLSearchParams({ denied: String(denied.checked), limit: "200", ...(vm.value.trim() ? { vm: vm.value.trim() } : {}) })}`, AGAIN_MS, { seen, trouble });
  const off = shortcuts("Proxy", [
    { keys: ["/"], says: "Search a VM or branch", run: () => vm.focus() },
    { keys: ["x"], says: "Only denied requests", run: () => { denied.click(); } },
  ]);
  return () => {
    poll.stop();
    off();
  };
}
