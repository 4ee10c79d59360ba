// The virtual machines of the server's own machine.

import { h, reconcile, setAttr, setText } from "./dom.js";
import { ago, bytes, cost, count, many, memory, name } from "./format.js";
import { notHere, polled, table } from "./host.js";

const AGAIN_MS = 5000;
const COLUMNS = [
  { title: "VM", of: (vm) => name(vm.name, 80), head: true }, { title: "Branch", of: (vm) => name(vm.branch, 80) || "–" },
  { title: "State", of: (vm) => vm.state ?? "gone", status: true }, { title: "CPUs", of: (vm) => String(vm.cpus || "–"), right: true },
  { title: "Memory", of: (vm) => memory(vm.memoryMib), right: true }, { title: "Disk", of: (vm) => (vm.diskBytes ? bytes(vm.diskBytes) : "–"), right: true },
  { title: "Model calls", of: (vm) => (vm.usage ? count(vm.usage.calls) : "–"), right: true },
  { title: "Tokens", of: (vm) => (vm.usage ? count(vm.usage.tokens) : "–"), right: true },
  { title: "Cost", of: (vm) => (vm.usage && vm.usage.costUsd !== null ? cost(vm.usage.costUsd) || "$0.00" : "–"), right: true },
  { title: "Last used", of: (vm, now) => ago(vm.lastUsedAt, now) }, { title: "Worktree", of: (vm) => name(vm.worktree) || "–", wide: true },
];

export function showVms(main, app) {
  main.className = "vms-page";
  const told = h("p", { class: "told", role: "status" });
  const trouble = h("div");
  const place = h("div", {}, h("p", { class: "empty" }, "Asking the machine…"));
  main.append(h("div", { class: "bar" }, h("h1", { tabindex: "-1" }, "Virtual machines"), told), trouble, place);
  let shown = null;

  function seen({ here, hostname, items }) {
    const key = !here ? "absent" : items.length === 0 ? "none" : "some";
    const running = items.filter((vm) => vm.state === "running").length;
    setText(told, key === "some" ? `${many(items.length, "VM")} on ${name(hostname, 60)}, ${running} running, ${bytes(items.reduce((sum, vm) => sum + vm.diskBytes, 0))} of disk` : "");
    if (shown?.key !== key) {
      shown = { key, table: key === "some" ? table("Virtual machines", COLUMNS) : null };
      place.replaceChildren(key === "some" ? shown.table.node : key === "absent" ? notHere("virtual machines")
        : h("div", { class: "empty" }, h("h2", {}, "No VMs yet"), h("p", {}, h("code", {}, "tachikoma spawn"), " makes one for a branch; a daemon makes one for each task.")));
    }
    if (key !== "some") return;
    const now = app.store.now();
    reconcile(shown.table.body, items, (vm) => vm.name, () => h("tr", {}, COLUMNS.map((column) => h(column.head ? "th" : "td", { scope: column.head ? "row" : null, class: [column.right && "right", column.wide && "wide"].filter(Boolean).join(" ") || null, "data-title": column.title }, h("span", { class: column.status ? "status" : null })))),
      (row, vm) => COLUMNS.forEach((column, at) => {
        const cell = row.children[at].firstChild;
        setText(cell, column.of(vm, now));
        if (column.status) setAttr(cell, "data-status", vm.state === "running" ? "running" : vm.state ?? "gone");
      }));
  }

  const poll = polled(() => "/dashboard/vms", AGAIN_MS, { seen, trouble });
  return poll.stop;
}
