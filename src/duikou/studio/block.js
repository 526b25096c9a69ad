// A piece of speech on its lane: a waveform to drag, with a handle at each end.

import { announce, clock, h, put, seconds } from "./dom.js";
import { edited } from "./edit.js";
import { icon } from "./icons.js";
import { endMs, usedMs } from "./limits.js";
import { t } from "./words.js";
import { drawWave } from "./waveform.js";

const FINE_MS = 10; // an arrow
const COARSE_MS = 100; // shift and an arrow
const PAGE_MS = 1000;
const WAVE_PX = 52;

/**
 * A block. tools: {view, limits, drag(key, what, event), change(key, change), remove(key), problemOf(speech)}.
 * Answers {element, draw(speech, look), sound}. draw shows a piece of speech, which may be a draft while it is dragged.
 */
export function block(key, tools) {
  let speech = null;
  let sound = null;
  const wave = h("canvas", { "aria-hidden": "true" });
  const name = h("span", { class: "tl-name", "aria-hidden": "true" });
  const sign = h("span", { class: "tl-sign", "aria-hidden": "true", hidden: true }, icon("warn"));
  const grips = {
    place: slider("place", "tl-body", wave, name, sign),
    start: slider("start", "tl-grip tl-grip-start"),
    end: slider("end", "tl-grip tl-grip-end"),
  };
  const element = h("div", { class: "tl-block", role: "group", "data-key": key }, Object.values(grips));

  function slider(what, style, ...children) {
    const grip = h(
      "div",
      {
        class: style,
        role: "slider",
        tabIndex: 0,
        "aria-orientation": "horizontal",
        "aria-describedby": `why-${key}`,
        onkeydown: (event) => keys(what, event),
        onpointerdown: (event) => tools.drag(key, what, event),
      },
      ...children,
    );
    return grip;
  }

  function at(what) {
    return what === "end" ? endMs(speech) : speech.insertMs;
  }

  function keys(what, event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      return tools.remove(key);
    }
    const step = event.shiftKey ? COARSE_MS : FINE_MS;
    const [first, last] = range(what);
    const to = {
      ArrowLeft: at(what) - step,
      ArrowDown: at(what) - step,
      ArrowRight: at(what) + step,
      ArrowUp: at(what) + step,
      PageDown: at(what) - PAGE_MS,
      PageUp: at(what) + PAGE_MS,
      Home: first,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const { change, stop } = edited(speech, what, to, tools.limits);
    tools.change(key, change);
    if (stop) announce(t(stop, { least: seconds(tools.limits.minTrimMs) }));
  }

  /** The times to which Home and End bring an edge. */
  function range(what) {
    const { view, limits } = tools;
    if (what === "place") return [0, Math.max(view.videoMs() - usedMs(speech), 0)];
    if (what === "start") return [Math.max(speech.insertMs - speech.trimStartMs, 0), endMs(speech) - limits.minTrimMs];
    return [speech.insertMs + limits.minTrimMs, speech.insertMs + speech.audio.durationMs - speech.trimStartMs];
  }

  function draw(shown, { colour, ink, number, refused, lift }) {
    speech = shown;
    const { view } = tools;
    const width = Math.max(view.toPx(usedMs(speech)), 2);
    element.style.left = `${view.toPx(speech.insertMs)}px`;
    element.style.width = `${width}px`;
    element.style.transform = lift ? `translateY(${lift}px)` : "";
    element.style.setProperty("--face", colour);
    element.style.setProperty("--ink", ink);
    element.classList.toggle("refused", Boolean(refused));
    element.classList.toggle("narrow", width < 110);
    sign.hidden = !refused;
    put(name, `${speech.audio.name} · ${seconds(usedMs(speech))} s`);
    element.setAttribute("aria-label", t("timeline.piece", { name: speech.audio.name, face: number }));
    for (const [what, grip] of Object.entries(grips)) {
      const [least, most] = range(what);
      grip.setAttribute("aria-label", t(`timeline.grip_${what}`, { name: speech.audio.name }));
      grip.setAttribute("aria-valuemin", String(Math.min(Math.round(least), at(what))));
      grip.setAttribute("aria-valuemax", String(Math.max(Math.round(most), at(what))));
      grip.setAttribute("aria-valuenow", String(at(what)));
      grip.setAttribute("aria-valuetext", valueText(what));
    }
    paint();
  }

  function valueText(what) {
    const times = { from: clock(speech.insertMs), to: clock(endMs(speech)), used: seconds(usedMs(speech)) };
    return t(`timeline.value_${what}`, times);
  }

  /** Draw the visible part of the waveform: at a high zoom the whole would be too wide for a canvas. */
  function paint() {
    if (!sound || !speech) return;
    const { view } = tools;
    const [from, to] = view.visible();
    const first = Math.max(from, speech.insertMs);
    const last = Math.min(to, endMs(speech));
    wave.hidden = last <= first;
    if (wave.hidden) return;
    const into = speech.trimStartMs - speech.insertMs;
    wave.style.left = `${view.toPx(first - speech.insertMs)}px`;
    const colour = getComputedStyle(element).getPropertyValue("--wave").trim() || "#000";
    const width = view.toPx(last - first);
    drawWave(wave, sound, { fromMs: first + into, toMs: last + into, width, height: WAVE_PX, colour });
  }

  return {
    element,
    draw,
    paint,
    focus: (what = "place") => grips[what].focus({ preventScroll: true }),
    setSound(found) {
      sound = found;
      paint();
    },
  };
}
