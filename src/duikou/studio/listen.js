// Listen before you render: the volumes of the original sound and of the speech.

import { h, put } from "./dom.js";
import { faceNumber } from "./limits.js";
import { colour } from "./palette.js";
import { playButton } from "./stage.js";
import { get, set, setSpeech, subscribe } from "./state.js";
import { t } from "./words.js";

const STEP = 0.05;

/** The panel with the volumes. */
export function listen({ stage, ended }) {
  const original = slider("mix-original", t("mix.original"), (volume) => set({ originalVolume: volume }));
  const setScope = () => set({ originalScope: throughout.checked ? "video" : "speech" });
  const throughout = h("input", { type: "checkbox", id: "mix-throughout", onchange: setScope });
  const why = h("p", { class: "quiet small" });
  const sliders = new Map();
  const list = h("div", { class: "tl-sliders" }, original.element);
  const element = h(
    "section",
    { class: "tl-listen stack", "aria-labelledby": "mix-title", hidden: true },
    h("div", { class: "spread" }, h("h3", { id: "mix-title" }, t("mix.title")), playButton(stage, { class: "small" })),
    list,
    h("label", { class: "check" }, throughout, h("span", {}, t("mix.throughout"))),
    why,
  );

  function render(state) {
    element.hidden = !state.speeches.length;
    original.show(state.originalVolume);
    throughout.checked = state.originalScope === "video";
    put(why, throughout.checked ? "" : `${t("mix.kept")} `, t("mix.limited"));
    for (const { key } of state.speeches) {
      const made = sliders.get(key) ?? slider(`mix-${key}`, "", (volume) => setSpeech(key, { volume }));
      sliders.set(key, made);
    }
    const shown = state.speeches.map((speech) => {
      const one = sliders.get(speech.key);
      const number = faceNumber(state.session ?? { faces: [] }, speech.faceId);
      const key = state.session?.faces.length > 1 ? "mix.speech_face" : "mix.speech";
      one.name(t(key, { name: speech.audio.name, face: number }), colour(Math.max(number - 1, 0)));
      one.show(speech.volume);
      return one.element;
    });
    const wanted = [original.element, ...shown];
    const same = wanted.length === list.children.length && wanted.every((one, at) => one === list.children[at]);
    if (!same) put(list, wanted); // moving a slider would end its dragging
  }

  ended.addEventListener("abort", subscribe(render));
  render(get());
  return element;
}

function slider(id, label, onVolume) {
  const words = h("span", {});
  const dot = h("span", { class: "dot", "aria-hidden": "true", hidden: true });
  const percent = h("output", { class: "figure quiet", htmlFor: id });
  const oninput = () => onVolume(Number(input.value));
  const input = h("input", { type: "range", id, min: 0, max: 2, step: STEP, oninput });
  put(words, label);
  return {
    element: h("div", { class: "tl-slider" }, h("label", { for: id }, dot, words), input, percent),
    name(text, face) {
      if (words.textContent !== text) put(words, text);
      dot.hidden = false;
      dot.style.background = face;
    },
    show(volume) {
      const text = `${Math.round(volume * 100)} %`;
      if (Number(input.value) !== volume) input.value = String(volume);
      percent.textContent = text;
      input.setAttribute("aria-valuetext", text);
    },
  };
}
