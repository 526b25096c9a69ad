// A field for times in which the mouth stays as it is, written as people write them: 0:01-0:02.5, 3s-4s.

import { h } from "./dom.js";
import { readTime } from "./times.js";
import { t } from "./words.js";

/** A labelled field. onIntervals(pairs) hears intervals that were entered. Answers {element, show(pairs)}. */
export function excludeField(id, onIntervals) {
  let shown = "";
  const fault = h("span", { class: "tl-fault", id: `${id}-fault`, role: "alert" });
  const input = h("input", { type: "text", id, autocomplete: "off", placeholder: "0:01-0:02.5", onchange: enter });
  input.setAttribute("aria-describedby", fault.id);

  function enter() {
    const pairs = readIntervals(input.value);
    input.setAttribute("aria-invalid", String(pairs === null));
    fault.textContent = pairs === null ? t("speech.exclude_unread") : "";
    if (pairs !== null) onIntervals(pairs);
  }

  return {
    element: h("div", { class: "field" }, h("label", { for: id }, t("speech.exclude")), input, fault),
    show(pairs) {
      const text = writeIntervals(pairs);
      if (text === shown && (input.value || !text)) return;
      shown = input.value = text;
      input.setAttribute("aria-invalid", "false");
      fault.textContent = "";
    },
  };
}

/** Read intervals as pairs in ms; null if a part of the text is none. */
export function readIntervals(text) {
  const parts = text.split(/[,;，；、]/).filter((part) => part.trim());
  const pairs = parts.map((part) => part.split(/[-–—~至到]/).map(readTime));
  return pairs.every((pair) => pair.length === 2 && !pair.includes(null)) ? pairs : null;
}

/** Intervals as the field shows them, exact to the millisecond. */
export function writeIntervals(pairs) {
  return pairs.map((pair) => pair.map((ms) => `${Math.round(ms) / 1000}s`).join("-")).join(", ");
}
