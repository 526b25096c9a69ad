// A task in words: its state, its stage, why it failed.

import { has, t } from "./words.js";

/** The states that the page tells apart: the wire has no word for a cancelled task. */
export const STATES = ["submitted", "processing", "succeed", "failed", "cancelled"];

/** One of `STATES`. */
export function stateOf(task) {
  return task.fault === "cancelled" ? "cancelled" : task.task_status;
}

/** A stage in the user's language; a newer server's as it is. */
export function stageName(stage) {
  if (!stage) return t("stages.starting");
  const key = `stages.${stage}`;
  return has(key) ? t(key) : stage;
}

/** Why a task failed: the page's sentence, then the server's. Empty for any other task. */
export function whyFailed(task) {
  if (task.task_status !== "failed" || task.fault === "cancelled") return [];
  const key = `fault.${task.fault}`;
  const said = task.task_status_msg ? [t("notice.said", { message: task.task_status_msg })] : [];
  return [has(key) ? t(key) : t("fault.other"), ...said];
}

/** A length of time for people, from whole seconds. */
export function span(seconds) {
  const whole = Math.max(Math.round(seconds), 1);
  if (whole < 60) return t("render.seconds", { seconds: whole });
  const minutes = Math.floor(whole / 60);
  return whole % 60 && minutes < 10
    ? t("render.minutes_seconds", { minutes, seconds: whole % 60 })
    : t("render.minutes", { minutes: Math.round(whole / 60) });
}
