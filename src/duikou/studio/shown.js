// The task that is shown: followed to its end once, for every panel that listens, and through changes of language.

import * as api from "./api.js";
import { tell } from "./notice.js";
import * as state from "./state.js";

const listeners = new Set();
let started = false;
let following = null;
let seen = { id: null, task: null, offline: false };

/** What is known of the shown task: {id, task (as on the wire) or null, offline}. */
export function current() {
  return seen;
}

/** Call `listener(seen)` at every change until `ended` aborts. */
export function subscribe(listener, ended) {
  listeners.add(listener);
  ended.addEventListener("abort", () => listeners.delete(listener));
}

/** Follow the task of the state from now on. Panels call it whenever they are made: a new key may have been given. */
export function start() {
  if (!started) {
    started = true;
    state.subscribe((now, names) => names.includes("taskId") && follow(now.taskId));
  }
  const { taskId } = state.get();
  if (taskId !== seen.id || (taskId && !following && !finished(seen.task))) follow(taskId);
}

/** Follow a task, also one that was finished and has been made to run again. */
export async function follow(id) {
  following?.abort();
  const mine = (following = id ? new AbortController() : null);
  change({ id, task: null, offline: false });
  if (!id) return;
  try {
    await api.watch(id, {
      onTask: (task) => mine.signal.aborted || change({ id, task, offline: false }),
      onOffline: (offline) => mine.signal.aborted || change({ ...seen, offline }),
      signal: mine.signal,
    });
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error.status === 404) state.set({ taskId: null });
    tell(error);
  } finally {
    if (following === mine) following = null;
  }
}

/** Show a task that a call has answered with, and follow it. */
export function adopt(task) {
  if (state.get().taskId === task.task_id) follow(task.task_id);
  else state.set({ taskId: task.task_id });
}

/** Whether a task is over. */
export function finished(task) {
  return task?.task_status === "succeed" || task?.task_status === "failed";
}

function change(now) {
  seen = now;
  for (const listener of [...listeners]) listener(seen);
}
