// A field for a time: written as people write times, changed by the arrow keys.

import { h } from "./dom.js";
import { readTime, writeTime } from "./times.js";
import { t } from "./words.js";

const FINE_MS = 10;
const COARSE_MS = 100;

/** A labelled field. onTime(ms) hears a time that was entered. Answers {element, show(ms)}. */
export function timeField(label, id, onTime) {
  let value = 0;
  const fault = h("span", { class: "tl-fault", id: `${id}-fault`, role: "alert" });
  const input = h("input", { type: "text", id, autocomplete: "off", onchange: enter, onkeydown: keys });
  input.setAttribute("aria-describedby", fault.id);

  function enter() {
    const ms = readTime(input.value);
    input.setAttribute("aria-invalid", String(ms === null));
    fault.textContent = ms === null ? t("speech.time_unread") : "";
    if (ms === null) return;
    input.value = writeTime(ms);
    if (ms !== value) onTime(ms);
  }

  function keys(event) {
    if (event.key === "Enter") return enter();
    const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    onTime(Math.max(value + way * (event.shiftKey ? COARSE_MS : FINE_MS), 0));
  }

  return {
    element: h("div", { class: "field" }, h("label", { for: id }, label), input, fault),
    show(ms) {
      if (ms === value && input.value) return;
      value = ms;
      input.value = writeTime(ms);
      input.setAttribute("aria-invalid", "false");
      fault.textContent = "";
    },
  };
}
