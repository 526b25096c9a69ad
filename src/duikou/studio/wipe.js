// A divider between two pictures that lie upon each other.

import { h } from "./dom.js";

/** How far the keys move it, in hundredths, and where to. */
const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 };
const ENDS = { Home: 0, End: 1 };

/**
 * A slider over `field`. share: where it is, 0 to 1 from the left. onMove(share): called when it is moved.
 * Returns its element.
 */
export function wipe(field, { label, share, valueText, onMove }) {
  let held = false;
  const grip = h("span", { class: "grip", "aria-hidden": "true" });
  const divider = h(
    "div",
    {
      class: "divider",
      role: "slider",
      tabIndex: 0,
      "aria-label": label,
      "aria-orientation": "horizontal",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      onkeydown: (event) => {
        if (event.key in STEPS) move(share + STEPS[event.key] / 100);
        else if (event.key in ENDS) move(ENDS[event.key]);
        else return;
        event.preventDefault();
        event.stopPropagation();
      },
      onpointerdown: (event) => {
        if (event.button) return;
        held = true;
        divider.setPointerCapture(event.pointerId);
        event.stopPropagation();
      },
      onpointermove: (event) => {
        if (!held) return;
        const { left, width } = field.getBoundingClientRect();
        move((event.clientX - left) / width);
      },
      onpointerup: () => (held = false),
      onpointercancel: () => (held = false),
    },
    grip,
  );

  function move(to) {
    share = Math.min(Math.max(to, 0), 1);
    show();
    onMove(share);
  }

  function show() {
    divider.style.left = `${share * 100}%`;
    divider.setAttribute("aria-valuenow", Math.round(share * 100));
    divider.setAttribute("aria-valuetext", valueText(Math.round(share * 100)));
  }

  show();
  return divider;
}
