// What to do with speech that is longer than the video, in words.

import { h } from "./dom.js";
import { commit } from "./history.js";
import { endMs, lengthens, SYNC_MODES } from "./limits.js";
import { get, subscribe } from "./state.js";
import { t } from "./words.js";

/** The choice of a sync mode; shown when speech could be longer than the video, or when a mode is chosen. */
export function syncChoice({ ended }) {
  const options = SYNC_MODES.map((mode) => {
    const input = h("input", { type: "radio", name: "sync-mode", value: mode, onchange: () => choose(mode) });
    return { mode, input, element: h("label", { class: "check" }, input, h("span", {}, t(`sync.${mode || "none"}`))) };
  });
  const note = h("p", { class: "quiet small", hidden: true }, t("sync.preview"));
  const element = h(
    "fieldset",
    { class: "tl-sync stack", hidden: true },
    h("legend", {}, t("sync.title")),
    options.map((one) => one.element),
    note,
  );

  function choose(mode) {
    const { speeches } = get();
    const grow = (speech) =>
      speech.trimmed === "video" && mode
        ? { ...speech, trimEndMs: speech.audio.durationMs, trimmed: "" } // what was cut to fit needs it no more
        : speech;
    commit({ syncMode: mode, speeches: speeches.map(grow) });
  }

  function render(state) {
    const { video, speeches, syncMode } = state;
    const long = (speech) => Math.max(speech.insertMs + speech.audio.durationMs - speech.trimStartMs, endMs(speech));
    element.hidden = !video || (!syncMode && !speeches.some((speech) => long(speech) > video.durationMs));
    for (const { mode, input } of options) input.checked = mode === syncMode;
    note.hidden = !lengthens(syncMode);
  }

  ended.addEventListener("abort", subscribe(render));
  render(get());
  return element;
}
