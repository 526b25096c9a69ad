// The pieces of speech in figures: a card for each, with its place, its ends, its face, and why it would be refused.

import { h, put, seconds } from "./dom.js";
import { halves } from "./edit.js";
import { excludeField } from "./excludefield.js";
import { icon, wordButton } from "./icons.js";
import { endMs, faceNumber, lengthens, problems, usedMs } from "./limits.js";
import { colour, ink } from "./palette.js";
import { decode } from "./sound.js";
import { get, subscribe } from "./state.js";
import { timeField } from "./timefield.js";
import { t } from "./words.js";

const LEAD_MS = 500; // before the speech, where listening starts

/** The list of cards. context: {settings, ended, stage, limits, remove(key), split(key), changeSpeech(key, change)}. */
export function cards(context) {
  const made = new Map();
  const list = h("ul", { class: "stack tl-cards", "aria-label": t("speech.list") });

  function render(state) {
    list.hidden = !state.session || !state.speeches.length;
    if (!state.session) return;
    const found = problems(state, context.settings);
    for (const [key, one] of made) {
      if (state.speeches.some((speech) => speech.key === key)) continue;
      one.end();
      one.element.remove();
      made.delete(key);
    }
    for (const speech of state.speeches) {
      if (!made.has(speech.key)) {
        made.set(speech.key, card(speech, context));
        list.append(made.get(speech.key).element);
      }
      const why = found.filter((one) => one.key === speech.key).map((one) => one.sentence);
      made.get(speech.key).draw(state, speech, why);
    }
  }

  context.ended.addEventListener("abort", subscribe(render));
  context.ended.addEventListener("abort", () => made.forEach((one) => one.end()));
  render(get());
  return list;
}

function card(first, { stage, limits, remove, split, changeSpeech }) {
  const { key } = first;
  const chip = h("span", { class: "tl-chip", "aria-hidden": "true" });
  const title = h("h3", { class: "tl-title" });
  const face = h("select", { id: `face-${key}`, onchange: () => changeSpeech(key, { faceId: face.value }) });
  const faceField = h("div", { class: "field" }, h("label", { for: face.id }, t("speech.face")), face);
  const fields = {
    insertMs: timeField(t("speech.place"), `place-${key}`, (ms) => changeSpeech(key, { insertMs: ms })),
    trimStartMs: timeField(t("speech.start"), `start-${key}`, (ms) => changeSpeech(key, { trimStartMs: ms })),
    trimEndMs: timeField(t("speech.end"), `end-${key}`, (ms) => changeSpeech(key, { trimEndMs: ms })),
  };
  const kept = excludeField(`exclude-${key}`, (exclude) => changeSpeech(key, { exclude }));
  const why = h("p", { id: `why-${key}`, class: "tl-reason" });
  const note = h("div", { class: "note warn tl-note", hidden: true });
  const flat = h("p", { class: "quiet small", hidden: true });
  const hear = wordButton("play", t("speech.hear"), listen, "small");
  const cut = wordButton("cut", t("speech.split"), () => split(key), "small");
  cut.title = t("speech.split_why", { least: seconds(limits.minTrimMs) });
  cut.hidden = !limits.severalPieces;
  const drop = wordButton("remove", t("speech.remove"), () => remove(key), "small danger");
  const element = h(
    "li",
    { class: "tl-card stack" },
    h(
      "div",
      { class: "spread" },
      h("div", { class: "row tl-heading" }, chip, title),
      h("div", { class: "row" }, hear, cut, drop),
    ),
    why,
    h("div", { class: "tl-fields" }, faceField, Object.values(fields).map((one) => one.element), kept.element),
    note,
    flat,
  );

  function listen() {
    const speech = get().speeches.find((one) => one.key === key);
    stage.seek(Math.max(speech.insertMs - LEAD_MS, 0));
    stage.play();
  }

  function useAll() {
    const speech = get().speeches.find((one) => one.key === key);
    changeSpeech(key, { trimStartMs: 0, trimEndMs: speech.audio.durationMs });
  }

  function allowCut() {
    const speech = get().speeches.find((one) => one.key === key);
    cut.disabled = !speech || !halves(speech, stage.timeMs(), limits);
  }

  function draw(state, speech, sentences) {
    allowCut();
    const number = faceNumber(state.session, speech.faceId);
    element.style.setProperty("--face", colour(Math.max(number - 1, 0)));
    element.style.setProperty("--ink", ink(Math.max(number - 1, 0)));
    element.classList.toggle("refused", sentences.length > 0);
    put(chip, number ? String(number) : "?");
    const [used, whole] = [seconds(usedMs(speech)), seconds(speech.audio.durationMs)];
    const facts = t(used === whole ? "speech.facts_all" : "speech.facts", { used, whole, to: seconds(endMs(speech)) });
    put(title, speech.audio.name, h("span", { class: "quiet small figure" }, facts));
    hear.setAttribute("aria-label", t("speech.hear_name", { name: speech.audio.name }));
    cut.setAttribute("aria-label", t("speech.split_name", { name: speech.audio.name }));
    drop.setAttribute("aria-label", t("speech.remove_name", { name: speech.audio.name }));
    put(why, sentences.length ? [icon("warn"), h("span", {}, sentences.join(" "))] : null);
    faceField.hidden = state.session.faces.length < 2;
    const ids = state.session.faces.map((one) => one.id);
    if ([...face.options].map((one) => one.value).join() !== ids.join()) {
      put(face, ids.map((id, place) => h("option", { value: id }, t("timeline.face", { number: place + 1 }))));
    }
    face.value = speech.faceId;
    for (const [name, field] of Object.entries(fields)) field.show(speech[name]);
    kept.show(speech.exclude ?? []);
    drawNote(state, speech);
  }

  function drawNote(state, speech) {
    note.hidden = !speech.trimmed || usedMs(speech) >= speech.audio.durationMs;
    if (note.hidden) return;
    const shown = state.session.faces.find((one) => one.id === speech.faceId);
    const values = { used: seconds(usedMs(speech)), whole: seconds(speech.audio.durationMs) };
    const [number, to] = [faceNumber(state.session, speech.faceId), seconds(shown?.endMs ?? 0)];
    const sentence = t(`speech.trimmed_${speech.trimmed}`, { ...values, number, to });
    const longer = lengthens(state.syncMode) || state.syncMode === "cut_off";
    put(
      note,
      h("p", {}, sentence),
      speech.trimmed === "video" && !longer ? h("p", { class: "small" }, t("speech.trimmed_modes")) : null,
      h("div", { class: "row" }, h("button", { type: "button", class: "small", onclick: useAll }, t("speech.whole"))),
    );
  }

  decode(first.audio.url, first.audio.durationMs).then(({ problem }) => {
    flat.hidden = !problem;
    put(flat, problem && t(problem));
  });
  return { element, draw, end: stage.onTime(allowCut) };
}
