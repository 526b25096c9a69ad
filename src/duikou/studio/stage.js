// The stage: the video, a coloured box around each face while it can be synced, and the transport.

import { clock, h, put } from "./dom.js";
import { icon, signButton } from "./icons.js";
import { mix } from "./mix.js";
import { colour, ink } from "./palette.js";
import { player } from "./player.js";
import { get, subscribe } from "./state.js";
import { t } from "./words.js";

const USUAL_RATE = 25; // frames per second, where the server named none
const STEP_MS = 1000; // shift and an arrow

let left = null; // {video, ms}: where the playhead was when the page was built anew

/**
 * The stage. Answers element, timeMs(), seek(ms), play(), pause(), playing, onTime(fn), durationMs(), select(faceId),
 * selected, onSelect(fn), stepMs() (length of a frame), and onChange(fn) (as of a player).
 */
export function stage(context) {
  const video = h("video", { playsInline: true, preload: "auto", tabIndex: -1, "aria-hidden": "true" });
  const shown = player(video, () => get().video?.durationMs ?? 0, context.ended);
  mix(shown, context.ended);
  const onSelects = new Set();
  let selected = null;
  let loaded;
  let at = 0;

  const boxes = h("div", { class: "stage-boxes" });
  const picture = h(
    "div",
    { class: "stage-picture", tabIndex: 0, role: "group", "aria-label": t("stage.picture"), onkeydown: keys },
    video,
    boxes,
  );
  const broken = h("p", { class: "note warn", hidden: true }, t("stage.broken"));
  const bar = transport(shown, step);
  const element = h(
    "section",
    { class: "stage", "aria-labelledby": "stage-title", hidden: true },
    h("h2", { id: "stage-title" }, t("stage.title")),
    broken,
    h("div", { class: "stage-well" }, picture),
    bar,
  );

  function stepMs() {
    return 1000 / (Number(get().video?.frameRate) || USUAL_RATE);
  }

  /** Show the frame that lies `count` frames from this one: its middle, so that rounding cannot miss it. */
  function step(count) {
    shown.pause();
    const at = Math.floor(shown.timeMs() / stepMs() + 1e-3) + count;
    shown.seek(Math.min((at + 0.5) * stepMs(), shown.durationMs() - 1));
  }

  function keys(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const onBox = event.target !== picture;
    const actions = {
      " ": onBox ? null : () => toggle(shown),
      k: () => toggle(shown),
      ArrowLeft: () => (event.shiftKey ? shown.seek(shown.timeMs() - STEP_MS) : step(-1)),
      ArrowRight: () => (event.shiftKey ? shown.seek(shown.timeMs() + STEP_MS) : step(1)),
      Home: () => shown.seek(0),
      End: () => shown.seek(shown.durationMs()),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  function select(faceId) {
    selected = faceId;
    marks();
    for (const listener of [...onSelects]) listener(faceId);
  }

  function drawBoxes() {
    const { video: source, session } = get();
    const made = (session?.faces ?? []).map((face, place) => {
      if (!face.box || !source?.width) return null;
      const box = h(
        "button",
        { class: "stage-box", type: "button", "data-face": face.id, onclick: () => select(face.id) },
        h("span", { class: "stage-number", "aria-hidden": "true" }, String(place + 1)),
      );
      box.setAttribute("aria-label", t("stage.face", { number: place + 1 }));
      box.style.setProperty("--face", colour(place));
      box.style.setProperty("--ink", ink(place));
      for (const [side, part, whole] of [
        ["left", face.box.x, source.width],
        ["top", face.box.y, source.height],
        ["width", face.box.width, source.width],
        ["height", face.box.height, source.height],
      ]) {
        box.style[side] = `${(part / whole) * 100}%`;
      }
      return box;
    });
    put(boxes, made);
    marks();
  }

  function marks() {
    const ms = Math.min(shown.timeMs(), shown.durationMs() - 1); // the last picture stays at the end
    const faces = get().session?.faces ?? [];
    for (const box of boxes.children) {
      const face = faces.find((one) => one.id === box.dataset.face);
      const hide = !face || ms < face.startMs || ms >= face.endMs;
      if (box.hidden !== hide) box.hidden = hide;
      box.setAttribute("aria-pressed", String(selected === box.dataset.face));
    }
  }

  function proportions() {
    const source = get().video;
    const [width, height] = [video.videoWidth || source?.width || 16, video.videoHeight || source?.height || 9];
    picture.style.setProperty("--aspect", String(width / height));
  }

  function render(state, names) {
    element.hidden = !state.video;
    if (names.includes("video") && (state.video?.id !== loaded || shown.broken)) {
      loaded = state.video?.id; // the same video may come with a newer address
      broken.hidden = true;
      picture.classList.remove("broken");
      shown.load(state.video?.url ?? "");
    }
    proportions();
    if (names.includes("session") && !state.session?.faces.some((face) => face.id === selected)) {
      select(state.session?.faces[0]?.id ?? null);
    }
    drawBoxes();
  }

  function cannotShow() {
    broken.hidden = false;
    picture.classList.add("broken");
  }

  shown.onTime((ms) => {
    at = ms;
    marks();
  });
  shown.onChange((what) => what === "broken" && cannotShow());
  video.addEventListener("loadedmetadata", () => {
    if (!video.videoWidth) cannotShow(); // the browser plays the sound only
    proportions();
  });
  context.ended.addEventListener("abort", subscribe((state, names) => render(state, names)));
  render(get(), ["video", "session"]);
  if (left && left.video === loaded) shown.seek(left.ms);
  context.ended.addEventListener("abort", () => (left = { video: loaded, ms: at }));

  return {
    element,
    ...shown,
    get playing() {
      return shown.playing;
    },
    get broken() {
      return shown.broken;
    },
    select,
    get selected() {
      return selected;
    },
    onSelect(listener) {
      onSelects.add(listener);
      return () => onSelects.delete(listener);
    },
    stepMs,
  };
}

/** Play or pause. */
export function toggle(shown) {
  if (shown.playing) shown.pause();
  else shown.play();
}

/** A button that plays and pauses, and says which. */
export function playButton(shown, properties = {}) {
  const button = h("button", { type: "button", onclick: () => toggle(shown), ...properties });
  const name = () => {
    const what = shown.playing ? "pause" : "play";
    put(button, icon(what), t(`stage.${what}`));
  };
  shown.onChange(name);
  name();
  return button;
}

function transport(shown, step) {
  const time = h("time", { class: "stage-time figure" });
  const tell = () => put(time, `${clock(shown.timeMs())} / ${clock(shown.durationMs())}`);
  const button = (name, sign, action) => signButton(sign, t(name), action, "stage-key");
  shown.onTime(tell);
  shown.onChange(tell);
  shown.video.addEventListener("loadedmetadata", tell);
  tell();
  return h(
    "div",
    { class: "row stage-transport", role: "group", "aria-label": t("stage.transport") },
    button("stage.to_start", "start", () => shown.seek(0)),
    button("stage.back", "back", () => step(-1)),
    playButton(shown, { class: "primary stage-play" }),
    button("stage.forth", "forth", () => step(1)),
    time,
  );
}
