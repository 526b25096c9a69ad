// The time line: a lane for each face, speech on the lanes, and below them the speech in figures.

import { addSpeech, holdsSound } from "./addspeech.js";
import { block } from "./block.js";
import { announce, clock, h, put, seconds } from "./dom.js";
import { dragger } from "./drag.js";
import { halves } from "./edit.js";
import { canRedo, canUndo, commit, commitSpeech, onHistory, redo, undo } from "./history.js";
import { icon, signButton } from "./icons.js";
import { makeLanes } from "./lanes.js";
import { endMs, faceNumber, limitsOf, problems, usedMs } from "./limits.js";
import { listen } from "./listen.js";
import { colour, ink } from "./palette.js";
import { ruler } from "./ruler.js";
import { decode } from "./sound.js";
import { cards } from "./speech.js";
import { toggle } from "./stage.js";
import { get, newKey, subscribe } from "./state.js";
import { syncChoice } from "./syncmode.js";
import { makeView } from "./view.js";
import { t } from "./words.js";

const WHEEL = 0.0022; // zoom for each unit of a wheel's turn
const TIP_PX = 300; // a tip's greatest width, as in the style sheet

/** The panel of the time line. */
export function timeline(context) {
  const { settings, stage, ended } = context;
  const limits = limitsOf(settings);
  const blocks = new Map(); // speech key -> block
  let draft = null;

  const content = h("div", { class: "tl-content", onclick: pressed });
  const scroller = h("div", { class: "tl-scroller", onscroll: scrolled }, content);
  const view = makeView(scroller, get, render);
  const times = ruler(view, stage);
  const lanes = makeLanes({ view, stage });
  const guide = h("div", { class: "tl-guide", hidden: true });
  const tip = h("div", { class: "tl-tip", hidden: true });
  const after = h("div", { class: "tl-after", "aria-hidden": "true" });
  put(content, after, times.element, lanes.lanes, times.line, guide);

  const tools = toolbar(view, stage);
  const drag = dragger({ state: get, view, limits, stage, scroller, laneAt: lanes.laneAt, show, commit: changeSpeech });
  const adding = addSpeech({ ...context, limits, lanes, view });
  const element = h(
    "section",
    { class: "timeline", "aria-labelledby": "timeline-title", hidden: true, onkeydown: keys },
    h("div", { class: "spread" }, h("h2", { id: "timeline-title" }, t("timeline.title")), tools.element),
    h("div", { class: "tl-frame" }, h("div", { class: "tl" }, lanes.labels, scroller), tip),
    h("p", { class: "quiet small" }, t("timeline.how"), " ", h("span", { class: "tl-keys" }, t("timeline.keys"))),
    adding.element,
    cards({ ...context, limits, remove, split, changeSpeech: (key, change) => changeSpeech(key, change, "card") }),
    syncChoice(context),
    listen(context),
  );

  adding.dropOn(element);
  adding.dropOn(document.body, (event) => Boolean(get().session?.faces.length) && holdsSound(event));

  function changeSpeech(key, change, from = "lane") {
    const before = get().speeches.find((one) => one.key === key);
    const names = Object.keys(change).filter((name) => before[name] !== change[name]);
    if (!names.length) return;
    const moved = names.includes("faceId");
    commitSpeech(key, { ...change, trimmed: names.some((name) => name.startsWith("trim")) ? "" : before.trimmed });
    if (moved) stage.select(change.faceId);
    if (moved && from === "lane") blocks.get(key)?.focus();
    const found = problemOf(key, get());
    if (found) announce(found);
  }

  function remove(key) {
    const { speeches } = get();
    const gone = speeches.find((one) => one.key === key);
    commit({ speeches: speeches.filter((one) => one.key !== key) });
    announce(t("timeline.removed", { name: gone.audio.name }));
    adding.focus();
  }

  /** Make two pieces of one, at the playhead. */
  function split(key) {
    const { speeches } = get();
    const speech = speeches.find((one) => one.key === key);
    const parts = halves(speech, stage.timeMs(), limits);
    if (!parts) return;
    const [first, second] = [{ ...speech, ...parts[0] }, { ...speech, ...parts[1], key: newKey() }];
    commit({ speeches: speeches.flatMap((one) => (one === speech ? [first, second] : [one])) });
    announce(t("timeline.split", { name: speech.audio.name }));
  }

  function keys(event) {
    if (event.key === " " && event.target.matches("[role=slider]")) {
      event.preventDefault();
      return toggle(stage);
    }
    const writing = event.target.matches("input[type=text], input[type=url]");
    if (!(event.ctrlKey || event.metaKey) || event.altKey || writing) return;
    const name = event.key.toLowerCase();
    if (name !== "z" && name !== "y") return;
    event.preventDefault();
    if (name === "y" || event.shiftKey) redo();
    else undo();
  }

  function problemOf(key, state) {
    return problems(state, settings).find((one) => one.key === key)?.sentence ?? "";
  }

  /** The state as it would be if what is dragged were let go. */
  function drafted() {
    const state = get();
    if (!draft) return state;
    const { key, change, faceId } = draft;
    return { ...state, speeches: state.speeches.map((one) => (one.key === key ? { ...one, ...change, faceId } : one)) };
  }

  function show(next) {
    draft = next;
    render();
  }

  function render() {
    const state = drafted();
    element.hidden = !state.session?.faces.length;
    if (element.hidden) return;
    content.style.width = `${Math.floor(view.toPx(view.totalMs()))}px`;
    after.style.left = `${view.toPx(view.videoMs())}px`;
    lanes.draw(get());
    times.draw();
    drawBlocks(state);
    drawDraft(state);
    tools.draw();
  }

  function drawBlocks(state) {
    const found = problems(state, settings);
    for (const [key, one] of blocks) {
      if (state.speeches.some((speech) => speech.key === key)) continue;
      one.element.remove();
      blocks.delete(key);
    }
    for (const speech of state.speeches) {
      if (!blocks.has(speech.key)) blocks.set(speech.key, newBlock(speech));
      const one = blocks.get(speech.key);
      const home = get().speeches.find((each) => each.key === speech.key).faceId;
      const lane = lanes.laneOf(home) ?? lanes.lanes.firstElementChild; // a face of another session
      if (one.element.parentElement !== lane) lane.append(one.element);
      const target = lanes.laneOf(speech.faceId) ?? lane;
      const number = faceNumber(state.session, speech.faceId);
      one.draw(speech, {
        colour: colour(Math.max(number - 1, 0)),
        ink: ink(Math.max(number - 1, 0)),
        number,
        refused: found.some((problem) => problem.key === speech.key),
        lift: target.offsetTop - lane.offsetTop,
      });
      one.element.classList.toggle("dragged", draft?.key === speech.key);
    }
  }

  function newBlock(speech) {
    const made = block(speech.key, { view, limits, drag, change: changeSpeech, remove });
    decode(speech.audio.url, speech.audio.durationMs).then((sound) => made.setSound(sound));
    return made;
  }

  function drawDraft(state) {
    tip.hidden = !draft;
    guide.hidden = draft?.snap === null || !draft;
    if (!draft) return;
    guide.style.left = `${view.toPx(draft.snap ?? 0)}px`;
    const speech = state.speeches.find((one) => one.key === draft.key);
    const why = problemOf(draft.key, state);
    const said = why || (draft.stop ? t(draft.stop, { least: seconds(limits.minTrimMs) }) : "");
    const range = `${clock(speech.insertMs)} – ${clock(endMs(speech))}`;
    put(
      tip,
      h("span", { class: "figure" }, `${range} · ${seconds(usedMs(speech))} s`),
      said ? h("span", { class: why ? "tl-why" : "" }, why ? icon("warn") : null, said) : null,
    );
    tip.classList.toggle("refused", Boolean(why));
    const lane = lanes.laneOf(speech.faceId);
    const frame = tip.parentElement.getBoundingClientRect();
    const x = view.clientX(draft.what === "end" ? endMs(speech) : speech.insertMs) - frame.left;
    tip.style.left = `${Math.max(Math.min(x, frame.width - Math.min(TIP_PX, frame.width)), 0)}px`;
    tip.style.top = `${lane.getBoundingClientRect().bottom - frame.top + 2}px`;
  }

  function scrolled() {
    times.draw();
    for (const one of blocks.values()) one.paint();
  }

  /** A press on an empty place of a lane brings the playhead there. */
  function pressed(event) {
    if (!event.target.closest(".tl-lane") || event.target.closest(".tl-block")) return;
    stage.select(event.target.closest(".tl-lane").dataset.face);
    stage.seek(view.timeAt(event.clientX));
  }

  function wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    view.zoomBy(Math.exp(-event.deltaY * WHEEL), event.clientX);
  }

  scroller.addEventListener("wheel", wheel, { passive: false });
  const resized = new ResizeObserver(() => render());
  resized.observe(scroller);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", render, { signal: ended });
  const ends = [
    subscribe(render),
    onHistory(tools.draw),
    stage.onSelect((faceId) => lanes.mark(faceId)),
    stage.onTime((ms) => {
      times.move();
      if (stage.playing && view.zoomed) view.reveal(ms);
    }),
    () => resized.disconnect(),
  ];
  ended.addEventListener("abort", () => ends.forEach((end) => end()));
  render();
  return element;
}

function toolbar(view, stage) {
  const button = (key, sign, action) => signButton(sign, t(key), action, "small tl-tool");
  const buttons = {
    undo: button("timeline.undo", "undo", undo),
    redo: button("timeline.redo", "redo", redo),
    out: button("timeline.zoom_out", "minus", () => view.zoomOut(stage.timeMs())),
    into: button("timeline.zoom_in", "plus", () => view.zoomIn(stage.timeMs())),
    fit: button("timeline.fit", "fit", () => view.fit()),
  };
  const group = { class: "row tl-tools", role: "group", "aria-label": t("timeline.tools") };
  const element = h("div", group, Object.values(buttons));
  return {
    element,
    draw() {
      buttons.undo.disabled = !canUndo();
      buttons.redo.disabled = !canRedo();
      buttons.out.disabled = buttons.fit.disabled = !view.zoomed;
      buttons.into.disabled = view.closest;
    },
  };
}
