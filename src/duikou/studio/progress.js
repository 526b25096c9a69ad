// The progress of the task that is shown: stage, share, place in the queue, time left; how it ended.

import * as api from "./api.js";
import { announce, h, put } from "./dom.js";
import { clearNotice, tell } from "./notice.js";
import { Remaining } from "./remaining.js";
import * as shown from "./shown.js";
import { t } from "./words.js";
import { span, stageName, stateOf, whyFailed } from "./wording.js";

const TICK_MS = 1000;
const STEPS = ["following the face", "choosing mouth shapes", "rendering"];
const BESIDE = {
  "": -1,
  "listening to the speech": 0,
  "reading references": 0,
  signing: STEPS.length,
}; // stages that are no step: the step that is shown as current then

let watched = { id: null, remaining: new Remaining(), state: null }; // outlives a change of language

/** The progress of the shown task, hidden while there is none. */
export function progress(context) {
  const stage = h("strong", { class: "grow" });
  const share = h("span", { class: "figure" });
  const bar = h("progress", { max: 1, "aria-label": t("render.progress") });
  const more = h("p", { class: "quiet small figure" });
  const steps = h("ol", { class: "steps", "aria-label": t("render.steps") });
  const cancel = h("button", { type: "button", class: "small", onclick: stop }, t("render.cancel"));
  const offline = h("div", { role: "status" });
  const running = h("div", { class: "stack" }, h("div", { class: "row" }, stage, share, cancel), bar, steps, more);
  const outcome = h("div", {});
  const element = h("div", { class: "stack progress", hidden: true }, offline, running, outcome);

  async function stop() {
    cancel.disabled = true;
    try {
      await api.cancel(shown.current().id);
    } catch (error) {
      tell(error);
    }
    cancel.disabled = false;
  }

  async function again(id) {
    clearNotice();
    try {
      shown.adopt(await api.retry(id));
    } catch (error) {
      tell(error);
    }
  }

  function show() {
    const { id, task, offline: away } = shown.current();
    element.hidden = !id;
    put(offline, away && h("p", { class: "note warn" }, t("render.offline")));
    nameTab(task);
    if (!id) return;
    hear(id, task);
    const over = shown.finished(task);
    running.hidden = over;
    put(outcome);
    if (over) put(outcome, ended(task));
    else showRunning(task);
  }

  function ended(task) {
    const state = stateOf(task);
    if (state === "succeed") {
      const see = h("button", { type: "button", class: "small" }, t("render.see"));
      see.addEventListener("click", () => goTo("compare-title"));
      return h("div", { class: "note good spread" }, h("p", {}, t("render.done")), see);
    }
    const retry = h("button", { type: "button", class: "small" }, t("render.retry"));
    retry.addEventListener("click", () => again(task.task_id));
    const sentences = state === "cancelled" ? [t("render.cancelled")] : whyFailed(task);
    return h(
      "div",
      { class: state === "failed" ? "note bad" : "note" },
      sentences.map((text) => h("p", {}, text)),
      h("p", { class: "small quiet" }, t("render.task_id", { id: task.task_id })),
      h("div", { class: "row retry" }, retry),
    );
  }

  function showRunning(task) {
    const waiting = task?.task_status === "submitted";
    stage.textContent = !task ? t("render.looking") : waiting ? t("render.waiting") : stageName(task.stage);
    share.textContent = task && !waiting ? percent(task) : "";
    if (task && !waiting) bar.value = task.progress;
    else bar.removeAttribute("value");
    steps.hidden = !task || waiting;
    if (!steps.hidden) showSteps(task.stage);
    cancel.hidden = !task;
    showMore(task);
  }

  function showSteps(now) {
    const place = STEPS.includes(now) ? STEPS.indexOf(now) : BESIDE[now];
    steps.hidden = place === undefined;
    put(
      steps,
      STEPS.map((name, number) =>
        h(
          "li",
          { class: number < place ? "past" : "", "aria-current": number === place ? "step" : undefined },
          t(`stages.short.${number}`),
        ),
      ),
    );
  }

  function showMore(task) {
    const left = watched.remaining.left(Date.now());
    const place = task?.queue_position;
    if (task?.task_status === "submitted" && place) {
      more.textContent = place > 1 ? t("render.before_you", { count: place - 1 }) : t("render.next");
    } else {
      more.textContent = left === null ? t("render.unknown") : t("render.left", { time: span(left) });
    }
  }

  function hear(id, task) {
    const state = task && stateOf(task);
    if (watched.id !== id) watched = { id, remaining: new Remaining(), state: null };
    if (state === "processing") watched.remaining.hear(task.progress, Date.now());
    if (watched.state && state && state !== watched.state && shown.finished(task)) announce(sentence(task, state));
    if (state) watched.state = state;
  }

  shown.subscribe(show, context.ended);
  shown.start();
  show();
  const clock = setInterval(() => running.hidden || showMore(shown.current().task), TICK_MS);
  context.ended.addEventListener("abort", () => clearInterval(clock));
  return element;
}

/** Tell in the name of the tab how far the work is. */
function nameTab(task) {
  const name = document.title.replace(/^\d+ % · /, "");
  document.title = task?.task_status === "processing" ? `${percent(task)} · ${name}` : name;
}

function goTo(id) {
  const target = document.getElementById(id);
  target?.scrollIntoView({ block: "start" });
  target?.focus({ preventScroll: true });
}

function percent(task) {
  return `${Math.floor(task.progress * 100)} %`;
}

function sentence(task, state) {
  if (state === "succeed") return t("render.done");
  return state === "cancelled" ? t("render.cancelled") : whyFailed(task)[0];
}
