// Small signs on buttons, drawn in the colour of the text. The words beside them, or the button's name, say the same.

import { h } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";

const PATHS = {
  play: "M5 3v10l8-5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  start: "M3 3h2v10H3zM13 3v10L6 8z",
  back: "M11 3v10L4 8zM12.500 3h1.500v10h-1.500z",
  forth: "M5 3v10l7-5zM2 3h1.500v10H2z",
  plus: "M7 2h2v5h5v2H9v5H7V9H2V7h5z",
  minus: "M2 7h12v2H2z",
  fit: "M2 3h1.500v10H2zM12.500 3H14v10h-1.500zM4.500 8L7 5.500v1.750h2V5.500L11.500 8 9 10.500V8.750H7v1.750z",
  undo: "M7 3v3h3a4 4 0 0 1 0 8H5v-2h5a2 2 0 0 0 0-4H7v3L2 7z",
  redo: "M9 3v3H6a4 4 0 0 0 0 8h5v-2H6a2 2 0 0 1 0-4h3v3l5-4z",
  file: "M3 1h6l4 4v10H3zM9 2.500V5h2.500z",
  record: "M8 3a5 5 0 1 1 0 10A5 5 0 0 1 8 3z",
  cut: "M1 4h6v8H1zM9 4h6v8H9z",
  remove: "M6 1h4v1h4v2H2V2h4zM3 5h10l-1 10H4z",
  warn: "M8 1l7.500 14H.500zM7.250 6v4.500h1.500V6zM7.250 11.750v1.500h1.500v-1.500z",
};

/** An icon that a screen reader does not read. */
export function icon(name) {
  const svg = document.createElementNS(NS, "svg");
  const path = document.createElementNS(NS, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  svg.classList.add("icon");
  path.setAttribute("d", PATHS[name]);
  path.setAttribute("fill", "currentColor");
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

/** A button with a sign and words. */
export function wordButton(sign, words, onclick, style = "") {
  return h("button", { type: "button", class: style, onclick }, icon(sign), words);
}

/** A button with a sign alone; its name is also its tip. */
export function signButton(sign, name, onclick, style = "") {
  return h("button", { type: "button", class: style, "aria-label": name, title: name, onclick }, icon(sign));
}
