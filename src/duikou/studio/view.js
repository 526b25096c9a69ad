// The scale of the time line: how many pixels a millisecond has, and which part is in view.

import { endMs } from "./limits.js";

const CLOSEST = 1; // pixels per ms
const STEP = 1.6; // of a press on a zoom button
const ROOM = 1.04; // beyond the end, so that it can be seen and dragged past
const EMPTY_MS = 10_000;
const MARGIN_PX = 48; // of what is brought into view
const INSET_PX = 10; // before 0, for the playhead's handle; as .tl-scroller's padding

/** A view of a scroller whose content is as wide as the time line. state(): the state. onZoom hears of a new scale. */
export function makeView(scroller, state, onZoom) {
  let zoom = 1; // 1 fits everything
  let frozen = null;

  function needMs() {
    const { video, speeches } = state();
    return Math.max(video?.durationMs || EMPTY_MS, ...speeches.map(endMs)) * ROOM;
  }

  const totalMs = () => frozen ?? needMs();
  const widthPx = () => Math.max(scroller.clientWidth - INSET_PX, 1);
  const fitting = () => widthPx() / totalMs();
  const scale = () => Math.max(Math.min(fitting() * zoom, CLOSEST), fitting());
  const toPx = (ms) => ms * scale();
  const toMs = (px) => px / scale();

  /** The time at a place on the screen, in ms. */
  function timeAt(clientX) {
    return toMs(clientX - scroller.getBoundingClientRect().left - INSET_PX + scroller.scrollLeft);
  }

  /** The place on the screen of a time, in pixels. */
  function clientX(ms) {
    return scroller.getBoundingClientRect().left + INSET_PX + toPx(ms) - scroller.scrollLeft;
  }

  /** Zoom by a factor; the time at the place `fixed` on the screen stays where it is. */
  function zoomBy(factor, fixed) {
    const box = scroller.getBoundingClientRect();
    const x = fixed ?? box.left + box.width / 2;
    const ms = timeAt(x);
    zoom = Math.max(Math.min(zoom * factor, CLOSEST / fitting()), 1);
    onZoom();
    scroller.scrollLeft = toPx(ms) + INSET_PX - (x - box.left);
  }

  return {
    toPx,
    toMs,
    timeAt,
    clientX,
    totalMs,
    videoMs: () => state().video?.durationMs ?? 0,
    zoomBy,
    zoomIn: (aroundMs) => zoomBy(STEP, around(aroundMs)),
    zoomOut: (aroundMs) => zoomBy(1 / STEP, around(aroundMs)),
    fit() {
      zoom = 1;
      onZoom();
    },
    get zoomed() {
      return zoom > 1.001;
    },
    get closest() {
      return scale() >= CLOSEST * 0.999;
    },
    /** [fromMs, toMs] of what is in view. */
    visible,
    /** Scroll so that a time is in view. */
    reveal(ms) {
      const x = toPx(ms) + INSET_PX - scroller.scrollLeft;
      if (x < 0 || x > scroller.clientWidth - 2) scroller.scrollLeft = toPx(ms) - MARGIN_PX;
    },
    /** Keep the length of the time line as it is, while something is dragged. */
    freeze(on) {
      frozen = on ? totalMs() : null;
    },
  };

  function visible() {
    const left = scroller.scrollLeft - INSET_PX;
    return [toMs(left), toMs(left + scroller.clientWidth)];
  }

  function around(ms) {
    const [from, to] = visible();
    return ms >= from && ms <= to ? clientX(ms) : undefined;
  }
}
