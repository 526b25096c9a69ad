// One task in the list: its picture, state, length and time, and what can be done with it.

import * as api from "./api.js";
import { h, put, seconds } from "./dom.js";
import * as shown from "./shown.js";
import { still } from "./still.js";
import { currentLanguage, t } from "./words.js";
import { stageName, stateOf, whyFailed } from "./wording.js";

const LOOKS = { submitted: "", processing: "busy", succeed: "good", failed: "bad", cancelled: "warn" };
const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/**
 * The row of a task. actions: {open, retry, cancel, remove}, each called with the task.
 * Returns {element, update(task, isShown), age()}.
 */
export function taskRow(first, actions) {
  let task = first;
  const picture = still();
  const badge = h("span", { class: "badge" });
  const length = h("span", { class: "quiet figure" });
  const when = h("time", { class: "quiet" });
  const id = h("code", { class: "quiet" }, first.task_id);
  const bar = h("progress", { max: 1, "aria-label": t("render.progress") });
  const note = h("p", { class: "small" });
  const button = (name, look = "") =>
    h(
      "button",
      {
        type: "button",
        class: `small ${look}`,
        "aria-label": t("tasks.of", { action: t(`tasks.${name}`), id: first.task_id }),
        onclick: () => actions[name](task),
      },
      t(`tasks.${name}`),
    );
  const buttons = {
    open: button("open"),
    retry: button("retry"),
    cancel: button("cancel"),
    remove: button("remove", "danger"),
  };
  const element = h(
    "li",
    { class: "task" },
    picture.element,
    h("div", { class: "about" }, h("div", { class: "row" }, badge, length, when), id, bar, note),
    h("div", { class: "row actions" }, Object.values(buttons)),
  );

  function update(now, isShown) {
    task = now;
    const state = stateOf(task);
    const over = shown.finished(task);
    const video = task.task_result.videos[0] ?? task.task_info.parent_video;
    picture.set(video.id, api.own(video.url));
    badge.className = `badge ${LOOKS[state]}`;
    badge.textContent = t(`tasks.state.${state}`);
    length.textContent = t("tasks.length", { seconds: seconds(Number(video.duration) * 1000) });
    bar.hidden = over;
    if (state === "processing") bar.value = task.progress;
    else bar.removeAttribute("value");
    put(note, noteOf(state).map((line) => h("span", {}, line)));
    note.hidden = !note.firstChild;
    note.classList.toggle("bad", state === "failed");
    buttons.retry.hidden = !over;
    buttons.cancel.hidden = over;
    buttons.open.setAttribute("aria-current", isShown);
    element.classList.toggle("shown", isShown);
    age();
  }

  function noteOf(state) {
    if (state === "failed") return whyFailed(task);
    if (state === "processing") return [`${stageName(task.stage)} · ${Math.floor(task.progress * 100)} %`];
    const before = (task.queue_position ?? 1) - 1;
    return state === "submitted" ? [before > 0 ? t("render.before_you", { count: before }) : t("render.next")] : [];
  }

  function age() {
    const at = new Date(task.created_at);
    const exact = new Intl.DateTimeFormat(currentLanguage(), { dateStyle: "medium", timeStyle: "short" }).format(at);
    when.dateTime = at.toISOString();
    when.textContent = `${relative(Date.now() - task.created_at)} · ${exact}`;
  }

  return { element, update, age };
}

/** A time in ms that has passed, in words. */
function relative(ms) {
  const passed = Math.max(ms / 1000, 0);
  const words = new Intl.RelativeTimeFormat(currentLanguage(), { numeric: "auto" });
  for (const [unit, length] of UNITS) if (passed >= length) return words.format(-Math.floor(passed / length), unit);
  return t("tasks.now");
}
