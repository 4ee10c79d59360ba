// Signing in by an API key. It is sent once, and kept nowhere in this page.

import { signIn } from "./api.js";
import { words } from "./dialogs.js";
import { h } from "./dom.js";

export function showSignIn(main, done) {
  main.className = "sign-in";
  const trouble = h("div", { class: "trouble", role: "alert" });
  const key = h("input", { id: "key", name: "key", type: "password", required: true, autocomplete: "current-password", spellcheck: "false", "aria-describedby": "key-hint" });
  const button = h("button", { class: "primary" }, "Sign in");
  main.replaceChildren(h("form", { class: "panel", on: { submit: go } },
    h("img", { src: "/static/icon.svg", alt: "", width: 40, height: 40 }),
    h("h1", { tabindex: "-1" }, "Tachikoma"),
    h("div", { class: "field" }, h("label", { for: "key" }, "API key"), key,
      h("span", { class: "hint", id: "key-hint" }, "On the server’s machine ", h("code", {}, "tachikoma makima keys create NAME"), " makes one.")),
    trouble, button,
  ));
  key.focus();

  async function go(event) {
    event.preventDefault();
    button.disabled = true;
    trouble.replaceChildren();
    try {
      await signIn(key.value.trim());
      key.value = "";
      done();
    } catch (error) {
      trouble.replaceChildren(...words(error.status === 401 ? { status: 401, message: "This key is not good here.", hint: "It may be mistyped, or have been revoked." } : error));
      button.disabled = false;
      key.select();
    }
  }
}
