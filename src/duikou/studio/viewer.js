// Before and after, side by side, as a wipe or one at a time: played in step, slowly, frame by frame, and close up.

import { clock, h, labelled, put } from "./dom.js";
import { icon } from "./icons.js";
import { Pair } from "./pair.js";
import { t } from "./words.js";
import { wipe } from "./wipe.js";
import { WHOLE, apply, aroundMouth, draggable, moved } from "./zoom.js";

const VIEWS = ["sides", "wipe", "one"];
const RATES = [1, 0.5, 0.25, 0.125];
const RATE_NAMES = ["1×", "½×", "¼×", "⅛×"];
const SOUNDS = ["after", "before", "none"];
const CLOSER = 2.5; // where no mouth is known
const NUDGE = 0.1; // of the picture, by an arrow key
const JUMP_MS = 1000;

/** How it was looked at last; kept through a change of language. */
const chosen = {
  view: "sides",
  side: "after",
  rate: 1,
  sound: "after",
  zoom: "",
  again: false,
  share: 0.5, // of the wipe
  id: "", // of the task, and the time in ms at which it was left
  at: 0,
};

/**
 * The viewer of a task's videos.
 * given: {id, before, after (addresses), frameMs (0 if unknown), faces: [{number, id, box}]}. ended: an AbortSignal.
 */
export function viewer(given, ended) {
  if (chosen.id !== given.id) Object.assign(chosen, { id: given.id, at: 0, zoom: "" });
  const startMs = chosen.at;
  const before = h("video", { src: given.before, "aria-label": t("compare.before") });
  const after = h("video", { src: given.after, "aria-label": t("compare.after") });
  const pair = new Pair(before, after, { frameMs: given.frameMs, ended });
  const sides = { before: side("before", before), after: side("after", after) };
  const divider = h("div", { class: "over" });
  const field = h(
    "div",
    {
      class: "field-of-view",
      tabIndex: 0,
      role: "group",
      "aria-label": t("compare.field"),
      "aria-describedby": "compare-keys",
    },
    sides.before,
    sides.after,
    divider,
  );
  divider.append(
    wipe(divider, {
      label: t("compare.divider"),
      share: chosen.share,
      valueText: (percent) => t("compare.divider_value", { percent }),
      onMove: (share) => ((chosen.share = share), cut()),
    }),
  );

  let part = WHOLE;
  const controls = makeControls();
  const element = h(
    "div",
    { class: "stack viewer", onkeydown: onKey },
    controls.top,
    field,
    controls.transport,
    h("p", { id: "compare-keys", class: "quiet small keys" }, t("compare.keys")),
  );

  function side(name, video) {
    const label = h("figcaption", { class: "badge" }, t(`compare.${name}`));
    return h("figure", { class: "side", "data-side": name }, h("div", { class: "lens" }, video), label);
  }

  function makeControls() {
    const views = choice("view", VIEWS, (view) => ((chosen.view = view), arrange()));
    const which = h("button", { type: "button", onclick: () => turn() });
    const zoom = h(
      "select",
      { onchange: () => ((chosen.zoom = zoom.value), closer()) },
      h("option", { value: "" }, t("compare.zoom_none")),
      given.faces.map((face) => h("option", { value: face.id }, t("compare.zoom_face", { number: face.number }))),
      given.faces.length ? null : h("option", { value: "closer" }, t("compare.zoom_closer")),
    );
    const rate = h(
      "select",
      { onchange: () => setRate(Number(rate.value)) },
      RATES.map((one, place) => h("option", { value: one }, RATE_NAMES[place])),
    );
    const sound = h(
      "select",
      { onchange: () => ((chosen.sound = sound.value), hear()) },
      SOUNDS.map((one) => h("option", { value: one }, t(`compare.sound_${one}`))),
    );
    const again = h("input", { type: "checkbox", onchange: () => (pair.again = chosen.again = again.checked) });
    const play = h("button", { type: "button", class: "primary play", onclick: () => playOrPause() });
    const step = (key, sign, count) =>
      h("button", { type: "button", "aria-label": t(key), onclick: () => pair.step(count) }, icon(sign));
    const back = step("compare.back", "back", -1);
    const on = step("compare.on", "forth", 1);
    const seek = h("input", { type: "range", min: 0, step: 1, "aria-label": t("compare.time") });
    seek.addEventListener("input", () => pair.seek(Number(seek.value)));
    const time = h("span", { class: "figure time" });
    return {
      which, zoom, rate, sound, again, play, seek, time, views,
      top: h("div", { class: "row end" }, views.element, which, labelled(t("compare.zoom"), zoom)),
      transport: h(
        "div",
        { class: "stack" },
        h("div", { class: "row scrub" }, seek, time),
        h(
          "div",
          { class: "row end" },
          h("div", { class: "row steering" }, play, back, on),
          labelled(t("compare.rate"), rate),
          labelled(t("compare.sound"), sound),
          h("label", { class: "check" }, again, t("compare.again")),
        ),
      ),
    };
  }

  function arrange() {
    element.dataset.view = chosen.view;
    controls.which.hidden = chosen.view !== "one";
    controls.which.textContent = t(chosen.side === "after" ? "compare.show_before" : "compare.show_after");
    for (const [name, figure] of Object.entries(sides)) figure.hidden = chosen.view === "one" && name !== chosen.side;
    divider.hidden = chosen.view !== "wipe";
    cut();
  }

  /** In a wipe the source is to the left of the divider and the result to its right. */
  function cut() {
    const share = chosen.share * 100;
    const wiped = chosen.view === "wipe";
    sides.before.style.clipPath = wiped ? `inset(0 ${100 - share}% 0 0)` : "";
    sides.after.style.clipPath = wiped ? `inset(0 0 0 ${share}%)` : "";
  }

  function closer() {
    const face = given.faces.find((one) => one.id === chosen.zoom);
    const picture = { width: before.videoWidth, height: before.videoHeight };
    if (face && picture.width) part = aroundMouth(face.box, picture);
    else part = chosen.zoom === "closer" ? { ...WHOLE, scale: CLOSER } : WHOLE;
    look(part);
  }

  function look(now) {
    part = now;
    apply([before, after], part);
    field.classList.toggle("close", part.scale > 1);
  }

  function setRate(rate) {
    pair.rate = chosen.rate = rate;
    controls.rate.value = rate;
  }

  function hear() {
    before.muted = chosen.sound !== "before";
    after.muted = chosen.sound !== "after";
  }

  /** One sound at a time: what plays elsewhere on the page stops this, and is stopped by it. */
  function onlyOne(playing) {
    const isOwn = (one) => one === before || one === after;
    if (!isOwn(playing)) return pair.pause();
    for (const one of document.querySelectorAll("video, audio")) if (!isOwn(one)) one.pause();
  }

  function turn() {
    chosen.side = chosen.side === "after" ? "before" : "after";
    arrange();
  }

  function playOrPause() {
    if (pair.playing) pair.pause();
    else pair.play();
  }

  function onKey(event) {
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select")) return;
    const slower = RATES[Math.min(RATES.indexOf(chosen.rate) + 1, RATES.length - 1)];
    const faster = RATES[Math.max(RATES.indexOf(chosen.rate) - 1, 0)];
    const everywhere = {
      ",": () => pair.step(-1),
      ".": () => pair.step(1),
      "，": () => pair.step(-1),
      "。": () => pair.step(1),
      "[": () => setRate(slower),
      "]": () => setRate(faster),
      b: () => chosen.view === "one" && turn(),
    };
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const onField = {
      " ": playOrPause,
      ArrowLeft: () => pair.seek(pair.timeMs - JUMP_MS),
      ArrowRight: () => pair.seek(pair.timeMs + JUMP_MS),
    };
    let act = everywhere[event.key];
    if (!act && target === field && part.scale > 1 && arrows[event.key]) {
      act = () => look(moved(part, ...arrows[event.key].map((one) => one * NUDGE)));
    }
    if (!act && target === field) act = onField[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  function show() {
    const { durationMs, timeMs, playing } = pair;
    chosen.at = timeMs;
    controls.seek.max = Math.max(Math.floor(durationMs), 1);
    controls.seek.value = timeMs;
    controls.seek.setAttribute("aria-valuetext", clock(timeMs));
    controls.time.textContent = `${clock(timeMs)} / ${clock(durationMs)}`;
    if (controls.play.dataset.playing === String(playing)) return;
    controls.play.dataset.playing = playing;
    put(controls.play, icon(playing ? "pause" : "play"), t(playing ? "compare.pause" : "compare.play"));
  }

  const begin = () => {
    const { videoWidth: width, videoHeight: height } = before;
    if (!width) return;
    field.style.setProperty("--shape", `${width} / ${height}`);
    field.style.setProperty("--ratio", width / height);
    field.dataset.shape = width > height ? "wide" : "tall";
    closer();
  };
  before.addEventListener("loadedmetadata", begin, { once: true });
  after.addEventListener("loadedmetadata", () => pair.seek(startMs), { once: true });
  const broken = h("p", { class: "note bad", role: "alert" }, t("compare.broken"));
  for (const video of [before, after]) video.addEventListener("error", () => element.append(broken));
  document.addEventListener("play", ({ target }) => onlyOne(target), { capture: true, signal: ended });
  draggable(field, { size: () => sides[chosen.side].getBoundingClientRect(), look: () => part, change: look });
  for (const name of ["zoom", "sound"]) controls[name].value = chosen[name];
  controls.views.set(chosen.view);
  controls.again.checked = pair.again = chosen.again;
  setRate(chosen.rate);
  pair.onChange(show);
  hear();
  arrange();
  show();
  return element;
}

/** A choice of one, as buttons in a row. */
function choice(name, options, onChoose) {
  const inputs = options.map((value) =>
    h("input", { type: "radio", name: `compare-${name}`, value, onchange: () => onChoose(value) }),
  );
  const labels = inputs.map((input) => h("label", {}, input, h("span", {}, t(`compare.${name}_${input.value}`))));
  return {
    element: h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, t(`compare.${name}`)), labels),
    set: (value) => inputs.forEach((input) => (input.checked = input.value === value)),
  };
}
