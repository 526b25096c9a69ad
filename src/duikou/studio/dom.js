// Elements, and what a screen reader hears.

/**
 * Make an element. Properties that begin with "on" are listeners; `class`, `aria-*`, `data-*` and other names with a
 * hyphen are attributes; everything else is a property. Children are nodes or text; null and false are left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (["class", "for", "role"].includes(name) || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  put(element, ...children);
  return element;
}

/** Replace the children of an element. */
export function put(element, ...children) {
  const none = [null, undefined, false];
  element.replaceChildren(...children.flat(Infinity).filter((child) => !none.includes(child)));
  return element;
}

let labels = 0;

/** A control with its label above it. */
export function labelled(text, control) {
  control.id ||= `control-${(labels += 1)}`;
  return h("div", { class: "field" }, h("label", { for: control.id }, text), control);
}

const SETTLE_MS = 100; // a screen reader must know the place before something appears in it

let live;

/** Tell a screen reader something that appeared. While a dialog is open, it hears only what is in it. */
export function announce(text) {
  live ??= h("div", { class: "unseen", role: "status", "aria-live": "polite" });
  const place = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (live.parentNode === place && live.isConnected) {
    live.textContent = text;
    return;
  }
  live.textContent = "";
  place.append(live);
  setTimeout(() => (live.textContent = text), SETTLE_MS);
}

/** A time in ms as people read it: 0:03.25, 1:02.00. */
export function clock(ms) {
  const hundredths = Math.round(Math.max(ms, 0) / 10);
  const seconds = String(Math.floor(hundredths / 100) % 60).padStart(2, "0");
  return `${Math.floor(hundredths / 6000)}:${seconds}.${String(hundredths % 100).padStart(2, "0")}`;
}

/** A length in ms in seconds, without trailing zeros: 5.1. */
export function seconds(ms) {
  return String(Math.round(ms) / 1000);
}

/** Bytes as people read them: 12.3 MB (MiB, as the limits are). */
export function megabytes(bytes) {
  return (bytes / 1048576).toFixed(1);
}
