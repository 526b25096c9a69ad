// Brings speech onto a lane: dropped, chosen, fetched from an address, or recorded.

import { copyButton } from "./dialog.js";
import { announce, h, put, seconds } from "./dom.js";
import { REACH_PX, snapped, targets } from "./edit.js";
import { wordButton } from "./icons.js";
import { intake, onIntake, stopIntake, takeSound, takeSoundFrom } from "./intake.js";
import { faceNumber } from "./limits.js";
import { clearNotice, tell } from "./notice.js";
import { recordSound } from "./record.js";
import { get, subscribe } from "./state.js";
import { t } from "./words.js";

const EXAMPLE = "https://example.com/speech.mp3";

/**
 * What adds speech. context: {settings, ended, stage, limits, lanes, view}. Answers {element, focus(), dropOn(element,
 * takes)}: what is dropped on an element and `takes` goes to the lane under it, or else to the chosen face.
 */
export function addSpeech({ settings, ended, stage, limits, lanes, view }) {
  const chooser = h("input", { type: "file", hidden: true, accept: "audio/*,.mp3,.wav,.m4a,.aac" });
  chooser.addEventListener("change", () => {
    const [file] = chooser.files;
    chooser.value = ""; // the same file may be chosen again once it is mended
    if (file) add((where) => takeSound(file, where));
  });
  const choose = wordButton("file", t("add.choose"), () => chooser.click(), "primary");
  const record = wordButton("record", t("add.record"), fromMicrophone);
  const pasted = address((url) => add((where) => takeSoundFrom(url, where)));
  const taken = { least: seconds(limits.minAudioMs), most: seconds(limits.maxAudioMs), mb: limits.maxAudioMb };
  const face = h("select", { id: "add-face", onchange: () => stage.select(face.value) });
  const faceField = h("label", { class: "field tl-add-face", for: "add-face" }, t("add.face"), face);
  const status = h("div", { class: "stack" });
  const element = h(
    "section",
    { class: "tl-add stack", "aria-labelledby": "add-title" },
    h("h3", { id: "add-title" }, t("add.title")),
    h("div", { class: "row end tl-ways" }, faceField, choose, chooser, record, pasted),
    h("p", { class: "quiet small" }, t("add.limits", taken)),
    status,
  );

  async function add(taking, faceId = stage.selected, wishedMs = null) {
    clearNotice();
    try {
      const done = await taking({ faceId, playheadMs: stage.timeMs(), wishedMs, limits });
      if (!done) return;
      stage.select(done.speech.faceId);
      const number = faceNumber(get().session, done.speech.faceId);
      announce(t(done.replaced ? "add.replaced" : "add.added", { name: done.speech.audio.name, face: number }));
    } catch (error) {
      tell(error);
    }
  }

  async function fromMicrophone() {
    try {
      const file = await recordSound({ settings, signal: ended });
      if (file) add((where) => takeSound(file, where));
    } catch (error) {
      tell(error);
    }
  }

  function show() {
    const { now, refused } = intake();
    put(status, now && going(now), refused && refusal(refused));
    if (refused) status.querySelector(".refusal").focus();
  }

  function faces() {
    const { session } = get();
    const ids = (session?.faces ?? []).map((one) => one.id);
    faceField.hidden = ids.length < 2;
    put(face, ids.map((id, place) => h("option", { value: id }, t("timeline.face", { number: place + 1 }))));
    face.value = stage.selected ?? ids[0] ?? "";
  }

  function dropOn(target, takes = holds) {
    const options = { signal: ended };
    const over = (faceId) => {
      for (const lane of lanes.lanes.children) lane.classList.toggle("over", lane.dataset.face === faceId);
    };
    target.addEventListener("dragover", (event) => {
      if (event.defaultPrevented || !takes(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      over(lanes.laneAt(event.clientY) ?? stage.selected);
    }, options);
    target.addEventListener("dragleave", () => over(null), options);
    target.addEventListener("drop", (event) => {
      over(null);
      if (event.defaultPrevented || !takes(event)) return;
      event.preventDefault();
      const faceId = lanes.laneAt(event.clientY);
      const at = view.timeAt(event.clientX);
      const near = snapped([at], targets(get(), "", stage.timeMs()), view.toMs(REACH_PX));
      const wishedMs = faceId === null ? null : at + (near?.shift ?? 0);
      const [file] = event.dataTransfer.files;
      const url = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
      if (file) add((where) => takeSound(file, where), faceId ?? stage.selected, wishedMs);
      else if (isAddress(url)) add((where) => takeSoundFrom(url, where), faceId ?? stage.selected, wishedMs);
    }, options);
  }

  const ends = [
    onIntake(show),
    subscribe((_, names) => names.includes("session") && faces()),
    stage.onSelect((id) => (face.value = id ?? "")),
  ];
  ended.addEventListener("abort", () => ends.forEach((end) => end()));
  faces();
  show();
  return { element, focus: () => choose.focus(), dropOn };
}

/** Whether a sound is dragged: browsers tell the type of a file before it is dropped, not its name. */
export function holdsSound(event) {
  const files = [...(event.dataTransfer?.items ?? [])].filter((item) => item.kind === "file");
  return files.length > 0 && files.every((item) => item.type.startsWith("audio/"));
}

function holds(event) {
  return [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "text/uri-list");
}

function isAddress(text) {
  return URL.canParse(text) && ["http:", "https:"].includes(new URL(text).protocol);
}

function address(enter) {
  const fault = h("p", { id: "add-address-fault", class: "fault", role: "alert" });
  const input = h("input", { type: "url", id: "add-address", autocomplete: "off", placeholder: EXAMPLE });
  input.setAttribute("aria-describedby", fault.id);
  const submit = (event) => {
    event.preventDefault();
    const url = input.value.trim();
    const wrong = isAddress(url) ? "" : t(url ? "add.address_bad" : "add.address_none");
    put(fault, wrong);
    input.setAttribute("aria-invalid", String(Boolean(wrong)));
    if (wrong) return input.focus();
    input.value = "";
    enter(url);
  };
  return h(
    "form",
    { class: "tl-address", noValidate: true, onsubmit: submit },
    h("label", { class: "field grow", for: input.id }, t("add.address"), input),
    h("button", { type: "submit" }, t("add.fetch")),
    fault,
  );
}

function smallButton(words) {
  return h("button", { type: "button", class: "small", onclick: stopIntake }, words);
}

function going(now) {
  const title = t(`add.${now.step}`, { name: now.name });
  const bar = h("progress", { max: 1, "aria-label": title });
  if (now.step === "uploading") bar.value = now.share;
  return h(
    "div",
    { class: "stack" },
    h("div", { class: "spread" }, h("span", {}, title), smallButton(t("page.cancel"))),
    bar,
  );
}

function refusal({ name, faults }) {
  return h(
    "div",
    { class: "note bad refusal stack", role: "alert", tabIndex: -1 },
    h("p", {}, h("strong", {}, t("add.refused", { name }))),
    faults.map(({ key, values, line }) => [
      h("p", {}, t(key, values)),
      line && h("p", { class: "small" }, t("add.mend")),
      line && h("div", { class: "line" }, h("pre", { class: "code", tabIndex: 0 }, line), copyButton(line)),
    ]),
    h("div", { class: "row" }, smallButton(t("add.dismiss"))),
  );
}
