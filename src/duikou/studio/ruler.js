// The ruler of the time line with the playhead, and the mapping of times to pixels.

import { clock, h, put, seconds } from "./dom.js";
import { t } from "./words.js";

const STEPS_MS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000];
const LABEL_PX = 64; // between labels, so that they do not touch
const LABEL_ROOM_PX = 28; // that a label needs before the end of the ruler
const JUMP_MS = 1000; // shift and an arrow

/** A ruler and a playhead for a view of the stage's time. Answers {element, line, draw(), move()}. */
export function ruler(view, stage) {
  const ticks = h("div", { class: "tl-ticks", "aria-hidden": "true" });
  const handle = h("div", {
    class: "tl-head",
    role: "slider",
    tabIndex: 0,
    "aria-label": t("timeline.playhead"),
    "aria-valuemin": "0",
    "aria-orientation": "horizontal",
    onkeydown: keys,
  });
  const line = h("div", { class: "tl-line", "aria-hidden": "true" });
  const element = h("div", { class: "tl-ruler", onpointerdown: grab }, ticks, handle);

  function grab(event) {
    if (event.button) return;
    event.preventDefault();
    handle.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const seek = (moved) => stage.seek(view.timeAt(moved.clientX));
    const done = () => {
      element.removeEventListener("pointermove", seek);
      for (const name of ["pointerup", "pointercancel"]) element.removeEventListener(name, done);
    };
    element.addEventListener("pointermove", seek);
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, done);
    seek(event);
  }

  function keys(event) {
    const step = event.shiftKey ? JUMP_MS : stage.stepMs();
    const now = stage.timeMs();
    const to = {
      ArrowLeft: now - step,
      ArrowDown: now - step,
      ArrowRight: now + step,
      ArrowUp: now + step,
      PageDown: now - JUMP_MS,
      PageUp: now + JUMP_MS,
      Home: 0,
      End: stage.durationMs(),
    }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    stage.seek(to);
    view.reveal(stage.timeMs());
  }

  function draw() {
    const step = STEPS_MS.find((ms) => view.toPx(ms) >= LABEL_PX) ?? STEPS_MS.at(-1);
    const [from, to] = view.visible();
    const made = [];
    for (let ms = Math.max(Math.floor(from / step) * step, 0); ms <= Math.min(to, view.totalMs()); ms += step) {
      const fits = view.toPx(view.totalMs() - ms) >= LABEL_ROOM_PX;
      const label = step < 1000 ? seconds(ms) : clock(ms).replace(/\.00$/, "");
      const tick = h("span", { class: "tl-tick" }, fits && label);
      tick.style.left = `${view.toPx(ms)}px`;
      made.push(tick);
    }
    put(ticks, made);
    move();
  }

  function move() {
    const ms = Math.round(stage.timeMs());
    handle.style.left = line.style.left = `${view.toPx(ms)}px`;
    handle.setAttribute("aria-valuemax", String(Math.round(stage.durationMs())));
    handle.setAttribute("aria-valuenow", String(ms));
    handle.setAttribute("aria-valuetext", clock(ms));
  }

  return { element, line, draw, move };
}
