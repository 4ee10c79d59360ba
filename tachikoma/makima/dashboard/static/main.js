// The frame around the pages, and which page is shown.

import * as api from "./api.js";
import { showBoard } from "./board.js";
import { showDaemons } from "./daemons.js";
import { fail } from "./dialogs.js";
import { h, setAttr, setText } from "./dom.js";
import { columnOf } from "./order.js";
import { help, shortcuts } from "./keys.js";
import { newTask } from "./newtask.js";
import { showProxy } from "./proxy.js";
import { showSignIn } from "./signin.js";
import { Store } from "./store.js";
import { showTask } from "./task.js";
import { showTree } from "./tree.js";
import { showVms } from "./vms.js";

const PAGES = [
  { path: "/", title: "Board", key: "b", show: showBoard },
  { path: "/tree", title: "Tree", key: "t", show: showTree },
  { path: "/daemons", title: "Daemons", key: "d", show: showDaemons },
  { path: "/vms", title: "VMs", key: "v", show: showVms },
  { path: "/proxy", title: "Proxy", key: "p", show: showProxy },
];
const TASK = /^\/tasks\/([0-9a-f-]{36})$/;
const STATES = {
  connecting: ["Connecting", "…"], live: ["Live", ""], away: ["Reconnecting", "The server does not answer; it is tried again by itself."],
  paused: ["Paused", "Goes on when this tab is looked at."],
};

const top = document.getElementById("top");
const main = document.getElementById("main");
const store = new Store();
const app = { store, navigate, session: null };
let leave = () => {};
let nav = [];

function frame() {
  nav = PAGES.map((page) => h("a", { href: page.path }, page.title));
  const state = h("span", { class: "state", role: "status" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "word" }));
  const waiting = h("span", { class: "badge", hidden: true });
  nav[0].append(waiting);
  top.replaceChildren(
    h("a", { class: "brand", href: "/", "aria-label": "Tachikoma, to the board" }, h("img", { src: "/static/icon.svg", alt: "", width: 22, height: 22 }), h("span", {}, "Tachikoma")),
    h("nav", { "aria-label": "Pages" }, nav),
    h("div", { class: "tools" }, state,
      h("button", { class: "primary", type: "button", on: { click: () => newTask(app) } }, h("span", { "aria-hidden": "true" }, "+ "), "New task"),
      h("button", { class: "icon", type: "button", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)", on: { click: help } }, "?"),
      h("button", { class: "quiet", type: "button", title: `Signed in as ${app.session.name}`, on: { click: signOut } }, "Sign out"),
    ),
  );
  top.hidden = false;
  const update = () => {
    const [word, more] = STATES[store.state];
    setAttr(state, "data-state", store.state);
    setAttr(state, "title", more || null);
    setText(state.lastChild, word);
    const count = [...store.tasks.values()].filter((task) => columnOf(task) === "waiting").length;
    setText(waiting, count ? String(count) : "");
    waiting.hidden = count === 0;
    setAttr(waiting, "aria-label", count ? `${count} waiting for you` : null);
  };
  store.watch(update);
  update();
}

async function signOut() {
  try {
    await api.signOut();
    location.assign("/sign-in");
  } catch (error) {
    fail(error);
  }
}

/** Go to another page without loading everything anew. */
function navigate(path) {
  if (path === location.pathname + location.search) return;
  history.pushState(null, "", path);
  show({ focus: true });
}

function show({ focus = false } = {}) {
  leave();
  const path = location.pathname;
  const task = TASK.exec(path);
  const page = task ? { title: "Task", show: showTask } : PAGES.find((each) => each.path === path);
  main.replaceChildren();
  main.className = "";
  for (const [at, link] of nav.entries()) setAttr(link, "aria-current", PAGES[at] === page ? "page" : null);
  if (!page) {
    document.title = "Not found – Tachikoma";
    main.append(h("h1", { tabindex: "-1" }, "There is no such page"), h("p", {}, h("a", { href: "/" }, "To the board")));
    leave = () => {};
  } else {
    document.title = `${page.title} – Tachikoma`;
    leave = page.show(main, app, task?.[1]) ?? (() => {});
  }
  window.scrollTo(0, 0);
  if (focus) main.querySelector("h1")?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.origin !== location.origin || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.defaultPrevented) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
});

async function begin() {
  api.whenSignedOut(() => {
    if (location.pathname !== "/sign-in") location.assign(`/sign-in?to=${encodeURIComponent(location.pathname)}`);
  });
  let session;
  try {
    session = await api.session();
  } catch (error) {
    main.replaceChildren(h("div", { class: "empty" }, h("h1", {}, "The server cannot be reached"), h("p", {}, error.message),
      h("button", { type: "button", class: "primary", on: { click: () => location.reload() } }, "Try again")));
    setTimeout(() => location.reload(), 10_000);
    return;
  }
  const to = new URLSearchParams(location.search).get("to") ?? "/";
  const back = /^\/[a-z]/.test(to) ? to : "/";
  if (location.pathname === "/sign-in") {
    if (session) return void location.replace(back);
    document.title = "Sign in – Tachikoma";
    return void showSignIn(main, () => location.assign(back));
  }
  if (!session) return void location.replace(`/sign-in?to=${encodeURIComponent(location.pathname)}`);
  app.session = session;
  frame();
  shortcuts("Everywhere", [
    ...PAGES.map((page) => ({ keys: [`g ${page.key}`], says: page.title, run: () => navigate(page.path) })),
    { keys: ["n"], says: "New task", run: () => newTask(app) },
    { keys: ["?"], says: "These shortcuts", run: help },
  ]);
  window.addEventListener("popstate", () => show({ focus: true }));
  store.start();
  show();
}

begin();
