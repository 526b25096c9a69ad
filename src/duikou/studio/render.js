// The panel that renders: what will be made, for whom to wait, and the button.

import * as api from "./api.js";
import { clock, h, put, seconds } from "./dom.js";
import { faceNumber, heard, problems } from "./limits.js";
import { clearNotice } from "./notice.js";
import { drop, order, resume } from "./ordering.js";
import { progress } from "./progress.js";
import * as shown from "./shown.js";
import { snippets } from "./snippets.js";
import * as state from "./state.js";
import { currentLanguage, t } from "./words.js";
import { span } from "./wording.js";

const PAUSE_MS = 700; // without a change, before the server is asked for an estimate

/** The panel that renders. */
export function render(context) {
  const summary = h("p", { class: "summary" });
  const watermark = h("input", {
    type: "checkbox",
    onchange: () => state.set({ watermark: watermark.checked }),
  });
  const reasons = h("ul", { id: "render-reasons", class: "reasons quiet" });
  const estimate = h("p", { class: "quiet figure estimate" });
  const button = h("button", {
    type: "button",
    class: "primary",
    "aria-describedby": "render-reasons",
    onclick: begin,
  });
  const giveUp = h("button", { type: "button", class: "small", onclick: drop }, t("render.give_up"));
  const unsent = h("div", { role: "status" });
  const running = progress(context);
  running.tabIndex = -1;
  const making = h(
    "div",
    { class: "stack" },
    summary,
    h("label", { class: "check" }, watermark, t("render.watermark")),
    h("div", { class: "row" }, button, estimate),
    reasons,
  );
  const element = h(
    "section",
    { "aria-labelledby": "render-title" },
    h("h2", { id: "render-title" }, t("render.title")),
    making,
    unsent,
    running,
    snippets(context),
  );

  function begin() {
    clearNotice();
    order(api.request(state.get()));
    running.focus({ preventScroll: true });
  }

  function show() {
    const now = state.get();
    making.hidden = !now.session;
    element.hidden = !now.session && !now.taskId && !now.ordering;
    const lost = h("div", { class: "note warn spread" }, h("p", {}, t("render.offline")), giveUp);
    put(unsent, now.ordering?.offline && lost);
    if (!now.session) return;
    put(summary, summaryOf(now));
    watermark.checked = now.watermark;
    const found = reasonsNot(now);
    button.disabled = found.length > 0 || Boolean(now.ordering?.sending);
    button.textContent = t(now.ordering?.sending ? "render.sending" : "render.render");
    put(reasons, found.map((text) => h("li", {}, text)));
    reasons.hidden = !found.length;
    estimate.hidden = found.length > 0;
  }

  function reasonsNot(now) {
    if (!now.speeches.length) return [t("render.no_speech")];
    const found = problems(now, context.settings);
    if (found.length) return found.map((problem) => problem.sentence);
    const { id, task } = shown.current();
    const same = now.made && now.made.taskId === id && id && !shown.finished(task);
    return same && JSON.stringify(now.made.body) === JSON.stringify(api.request(now)) ? [t("render.already")] : [];
  }

  const ask = estimator(context, (text) => (estimate.textContent = text));
  const end = state.subscribe((now, names) => {
    show();
    if (names.some((name) => !["taskId", "ordering", "made"].includes(name))) ask();
  });
  context.ended.addEventListener("abort", end);
  shown.subscribe(show, context.ended);
  show();
  ask();
  resume();
  return element;
}

/** A function that asks the server how long the work would take, once the state has been still for a moment. */
function estimator(context, tell) {
  let timer = 0;
  let asked = null;
  context.ended.addEventListener("abort", () => (clearTimeout(timer), asked?.abort()));
  return () => {
    clearTimeout(timer);
    asked?.abort();
    tell("");
    if (context.ended.aborted) return;
    timer = setTimeout(async () => {
      const now = state.get();
      if (!now.session || !now.speeches.length || problems(now, context.settings).length) return;
      const mine = (asked = new AbortController());
      try {
        const answer = await api.dryRun(api.request(now), { signal: mine.signal });
        if (!mine.signal.aborted) tell(estimateOf(answer));
      } catch {
        // an estimate is worth no words of its own: the button tells what is wrong
      }
    }, PAUSE_MS);
  };
}

function estimateOf(answer) {
  const before = Math.max(answer.queue_position - 1, 0);
  const about = t("render.about", { time: span(Number(answer.estimated_time)) });
  const queue = before ? t("render.before_you", { count: before }) : "";
  const length = t("render.length", { seconds: seconds(Number(answer.duration) * 1000) });
  return [about, queue, length].filter(Boolean).join(currentLanguage() === "zh" ? "" : " ");
}

/** Who speaks what, from when to when, in one sentence. */
function summaryOf(now) {
  const faceOf = (speech) => now.session.faces.find((face) => face.id === speech.faceId);
  const said = now.speeches.map((speech) =>
    t("render.says", {
      face: t("faces.one", { number: faceNumber(now.session, speech.faceId) }),
      name: speech.audio.name,
      from: clock(speech.insertMs),
      to: clock(heard(speech, faceOf(speech), now.video.durationMs, now.syncMode).endMs),
    }),
  );
  if (!said.length) return t("render.nobody");
  return t("render.summary", { list: new Intl.ListFormat(currentLanguage(), { type: "conjunction" }).format(said) });
}
