// Elements are made here and nowhere else, and text only ever becomes text: there is no way from a
// string to HTML in these pages, and the content-security policy (Trusted Types) holds us to it.

const SVG = "http://www.w3.org/2000/svg";
const kept = new WeakMap();

/** Make an element. `props`: attributes; `class`; `on` for listeners; true and false switch one. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Make an SVG element. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") {
      for (const [event, heard] of Object.entries(value)) node.addEventListener(event, heard);
    } else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(3).filter((each) => each !== null && each !== undefined && each !== false && each !== ""));
  return node;
}

/** Put a text where another one is; does not touch the page if it is the same. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute, or remove it for null; does not touch the page if it is so already. */
export function setAttr(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Make the children of `parent` those of `items`, in order; whoever stays keeps element and focus. */
export function reconcile(parent, items, keyOf, make, update) {
  const had = kept.get(parent) ?? new Map();
  const has = new Map();
  const active = document.activeElement;
  for (const item of items) {
    const key = keyOf(item);
    has.set(key, had.get(key) ?? make(item));
  }
  for (const [key, node] of had) if (!has.has(key)) node.remove();
  let at = parent.firstChild;
  for (const item of items) {
    const node = has.get(keyOf(item));
    update?.(node, item);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  kept.set(parent, has);
  if (active && active !== document.activeElement && parent.contains(active)) {
    active.focus({ preventScroll: true });
  }
}

/** Give a function that calls `work` once a frame at most. */
export function eachFrame(work) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    // A hidden tab draws no frames, and should be right when it is shown again.
    const go = () => { if (waits) { waits = false; work(); } };
    if (document.hidden) setTimeout(go, 250);
    else requestAnimationFrame(go);
  };
}

/** Give a function that calls `work` after there was no call of it for `ms`. */
export function settled(work, ms) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
}
