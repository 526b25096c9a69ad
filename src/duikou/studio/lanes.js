// The lanes of the time line: one for each face, with where it can be synced.

import { clock, h, put } from "./dom.js";
import { spoken } from "./faces.js";
import { colour, ink } from "./palette.js";
import { t } from "./words.js";

/**
 * Lanes for the faces of a session, with a bar wherever a face speaks in the video. tools: {view, stage}. Answers
 * {labels, lanes, draw(state), laneAt(clientY), laneOf(faceId), mark(faceId)}: two columns of equal rows, of which only
 * the second scrolls.
 */
export function makeLanes({ view, stage }) {
  const labels = h("div", { class: "tl-labels" }, h("div", { class: "tl-corner" }));
  const lanes = h("div", { class: "tl-lanes" });
  let rows = new Map(); // face id -> {face, label, lane, shown, hint}
  let session = null;

  function build(state) {
    session = state.session;
    rows = new Map((session?.faces ?? []).map((face, place) => [face.id, row(face, place)]));
    put(labels, h("div", { class: "tl-corner" }), [...rows.values()].map((one) => one.label));
    put(lanes, [...rows.values()].map((one) => one.lane));
    mark(stage.selected);
  }

  function row(face, place) {
    const number = place + 1;
    const times = { from: clock(face.startMs), to: clock(face.endMs) };
    const name = t("timeline.face", { number });
    const label = h(
      "button",
      { type: "button", class: "tl-label", title: name, onclick: () => stage.select(face.id) },
      h("span", { class: "tl-chip", "aria-hidden": "true" }, String(number)),
      h(
        "span",
        { class: "tl-face" },
        h("span", {}, name),
        h("span", { class: "quiet figure" }, `${times.from}–${times.to}`),
      ),
    );
    label.setAttribute("aria-label", t("timeline.lane", { number, ...times }));
    const shown = h("div", { class: "tl-shown", "aria-hidden": "true" });
    const hint = h("p", { class: "tl-hint" }, t("timeline.drop_here"));
    const speaks = spoken(face).map(({ startMs, endMs }) => {
      const title = t("timeline.speaks", { number, from: clock(startMs), to: clock(endMs) });
      return { startMs, endMs, bar: h("div", { class: "tl-speaks", title }) };
    });
    const bars = speaks.map((one) => one.bar);
    const kept = h("div", { class: "tl-kept-all", "aria-hidden": "true" });
    const lane = h("div", { class: "tl-lane", role: "group", "data-face": face.id }, shown, bars, hint, kept);
    lane.setAttribute("aria-label", t("timeline.lane", { number, ...times }));
    for (const element of [label, lane]) {
      element.style.setProperty("--face", colour(place));
      element.style.setProperty("--ink", ink(place));
    }
    return { face, label, lane, shown, speaks, hint, kept };
  }

  function draw(state) {
    if (state.session !== session) build(state);
    for (const { face, shown, speaks, hint, kept } of rows.values()) {
      shown.style.left = `${view.toPx(face.startMs)}px`;
      shown.style.width = `${view.toPx(face.endMs - face.startMs)}px`;
      for (const { startMs, endMs, bar } of speaks) {
        bar.style.left = `${view.toPx(startMs)}px`;
        bar.style.width = `${view.toPx(endMs - startMs)}px`;
      }
      hint.hidden = state.speeches.some((one) => one.faceId === face.id);
      hint.style.left = `${view.toPx(face.startMs)}px`;
      const pairs = state.speeches.filter((one) => one.faceId === face.id).flatMap((one) => one.exclude ?? []);
      put(kept, pairs.map(stretch));
    }
  }

  /** A mark over a time in which the mouth stays as it is. */
  function stretch([from, to]) {
    const element = h("div", { class: "tl-kept" });
    element.style.left = `${view.toPx(from)}px`;
    element.style.width = `${Math.max(view.toPx(to - from), 2)}px`;
    return element;
  }

  function mark(faceId) {
    for (const [id, { label, lane }] of rows) {
      label.setAttribute("aria-pressed", String(id === faceId));
      lane.classList.toggle("chosen", id === faceId);
    }
  }

  /** The face whose lane is at a height on the screen; null outside all. */
  function laneAt(clientY) {
    for (const [id, { lane }] of rows) {
      const box = lane.getBoundingClientRect();
      if (clientY >= box.top && clientY < box.bottom) return id;
    }
    return null;
  }

  return { labels, lanes, draw, mark, laneAt, laneOf: (faceId) => rows.get(faceId)?.lane ?? null };
}
