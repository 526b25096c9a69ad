// Dragging speech on the time line: snapping, lanes, and what may not be, while it moves.

import { edited, REACH_PX, snapped, targets } from "./edit.js";
import { endMs, usedMs } from "./limits.js";

const STILL_PX = 3; // a press that moves less is no drag
const RIM_PX = 28; // of the scroller, where dragging scrolls it
const RIM_STEP_PX = 14;

/**
 * What to call when a slider of a block is pressed: (key, what, event).
 *
 * tools: {state(), view, limits, stage, scroller, laneAt(clientY) -> faceId or null, show(draft), commit(key, change)}.
 * show hears {key, what, change, faceId, stop, snap} while it moves, and null at the end.
 */
export function dragger({ state, view, limits, stage, scroller, laneAt, show, commit }) {
  return (key, what, event) => {
    if (event.button) return;
    event.preventDefault(); // of text being selected
    const grip = event.currentTarget;
    grip.focus({ preventScroll: true });
    grip.setPointerCapture(event.pointerId);
    const origin = state().speeches.find((one) => one.key === key);
    stage.select(origin.faceId);
    const from = view.timeAt(event.clientX);
    const at = what === "end" ? endMs(origin) : origin.insertMs;
    let draft = null;

    function move(moved) {
      if (!draft && Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY) < STILL_PX) return;
      if (!draft) view.freeze(true);
      scroll(moved.clientX);
      const wanted = at + view.timeAt(moved.clientX) - from;
      const edges = what === "place" ? [wanted, wanted + usedMs(origin)] : [wanted];
      const near = moved.altKey ? null : snapped(edges, targets(state(), key, stage.timeMs()), view.toMs(REACH_PX));
      const { change, stop } = edited(origin, what, wanted + (near?.shift ?? 0), limits);
      const now = { ...origin, ...change };
      const snap = near && [now.insertMs, endMs(now)].includes(near.target) ? near.target : null;
      const faceId = what === "place" ? (laneAt(moved.clientY) ?? origin.faceId) : origin.faceId;
      draft = { key, what, change, faceId, stop, snap };
      show(draft);
    }

    function scroll(x) {
      const box = scroller.getBoundingClientRect();
      if (x < box.left + RIM_PX) scroller.scrollLeft -= RIM_STEP_PX;
      else if (x > box.right - RIM_PX) scroller.scrollLeft += RIM_STEP_PX;
    }

    function end(keep) {
      grip.removeEventListener("pointermove", move);
      grip.removeEventListener("pointerup", up);
      grip.removeEventListener("pointercancel", cancel);
      window.removeEventListener("keydown", escape, true);
      if (!draft) return;
      const { change, faceId } = draft;
      draft = null;
      view.freeze(false);
      show(null);
      if (keep) commit(key, { ...change, faceId });
    }

    const up = () => end(true);
    const cancel = () => end(false);
    function escape(pressed) {
      if (pressed.key !== "Escape") return;
      pressed.preventDefault();
      pressed.stopPropagation();
      cancel();
    }

    grip.addEventListener("pointermove", move);
    grip.addEventListener("pointerup", up);
    grip.addEventListener("pointercancel", cancel);
    window.addEventListener("keydown", escape, true);
  };
}
