// The faces that were found, as cards, and what may spoil the result, in words.

import { clock, h, put, seconds } from "./dom.js";
import { colour, ink } from "./palette.js";
import * as state from "./state.js";
import { has, t } from "./words.js";

/** The panel of the faces. Choosing one selects it on the stage and seeks to its start. */
export function faces(context) {
  const body = h("div", { class: "stack" });
  const element = h(
    "section",
    { class: "faces", "aria-labelledby": "faces-title" },
    h("h2", { id: "faces-title" }, t("faces.title")),
    body,
  );
  const mark = (id) => {
    for (const one of body.querySelectorAll(".face")) one.setAttribute("aria-pressed", String(one.dataset.face === id));
  };
  const show = () => {
    const { session, video } = state.get();
    element.hidden = !session;
    if (!session) return put(body);
    const { faces: found, rejected } = session;
    put(
      body,
      found.length ? h("p", { class: "quiet small" }, t("faces.hint")) : none(context.settings),
      found.length > 0 && h("ul", { class: "cards" }, found.map((face, place) => card(face, place, context.stage))),
      video.warnings?.length > 0 && clip(video),
      rejected.length > 0 && people(rejected, video, !found.length),
    );
  };
  const ends = [state.subscribe((_, names) => names.includes("session") && show()), context.stage.onSelect(mark)];
  context.ended.addEventListener("abort", () => ends.forEach((end) => end?.()));
  show();
  return element;
}

function card(face, place, stage) {
  const where = t("faces.where", { from: clock(face.startMs), to: clock(face.endMs) });
  const select = () => {
    stage.select(face.id);
    stage.seek(face.startMs);
  };
  const number = h("span", { class: "number figure", "aria-hidden": "true" }, String(place + 1));
  number.style.background = colour(place);
  number.style.color = ink(place);
  const button = h(
    "button",
    { type: "button", class: "face", "aria-pressed": "false", onclick: select },
    picture(face),
    h(
      "span",
      { class: "about" },
      h("span", { class: "row" }, number, h("strong", {}, t("faces.one", { number: place + 1 }))),
      h("span", { class: "small quiet figure" }, where),
    ),
  );
  button.dataset.face = face.id;
  const times = spoken(face).map(time).join(", ");
  const speaks = times && h("p", { class: "small quiet figure speaks" }, t("faces.speaks", { times }));
  const about = face.warnings.length ? reasons(face.warnings, face) : h("p", { class: "fine" }, t("faces.fine"));
  return h("li", { class: "card" }, button, speaks, about);
}

/** When a face speaks in the video; sessions that were kept by a former version do not know. */
export function spoken(face) {
  return face.speaking ?? [];
}

function picture(face) {
  const image = h("img", { alt: "", width: 64, height: 64 });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "gone small" }, t("faces.gone"))));
  image.src = face.image;
  return image;
}

/** Warnings as sentences; the time where it is not the whole time; the server's figures behind a fold. */
function reasons(warnings, whole, kind = "warning") {
  const told = new Map();
  for (const warning of warnings) {
    const words = sentence(warning, kind);
    told.set(words, [...(told.get(words) ?? []), warning]);
  }
  return h(
    "div",
    { class: "reasons small" },
    h(
      "ul",
      {},
      [...told].map(([words, alike]) => {
        const times = alike.filter((one) => one.startMs > whole.startMs || one.endMs < whole.endMs).map(time);
        const ours = has(`${kind}.${alike[0].code}`) || has(`warning.${alike[0].code}`);
        const lang = ours ? null : "en"; // the server's own words
        const when = times.length > 0 && h("span", { class: "quiet figure" }, ` ${times.join(", ")}`);
        return h("li", {}, h("span", { lang }, words), when);
      }),
    ),
    h(
      "details",
      {},
      h("summary", { class: "quiet" }, t("faces.measured")),
      h("ul", {}, warnings.map((one) => h("li", { lang: "en" }, one.message))),
    ),
  );
}

/** kind: "rejected" where the warning says why someone is no face: some words then differ. */
function sentence({ code, message }, kind) {
  if (has(`${kind}.${code}`)) return t(`${kind}.${code}`);
  return has(`warning.${code}`) ? t(`warning.${code}`) : `${message[0]?.toUpperCase() ?? ""}${message.slice(1)}.`;
}

function time({ startMs, endMs }) {
  return endMs > startMs ? `${clock(startMs)}–${clock(endMs)}` : clock(startMs);
}

function none(settings) {
  return h(
    "div",
    { class: "note warn" },
    h("p", {}, h("strong", {}, t("faces.none"))),
    h("p", {}, t("faces.none.how", { min: seconds(settings.min_overlap_ms) })),
  );
}

function clip(video) {
  const whole = { startMs: 0, endMs: video.durationMs };
  return h("div", { class: "clip" }, h("h3", {}, t("faces.video")), reasons(video.warnings, whole));
}

function people(rejected, video, alone) {
  return h(
    "div",
    { class: "rejected" },
    h("h3", {}, t("faces.rejected")),
    alone && h("p", { class: "small" }, t("faces.rejected.why")),
    reasons(rejected, { startMs: 0, endMs: video.durationMs }, "rejected"),
  );
}
