// The account's tasks, newest first.

import * as api from "./api.js";
import { ask } from "./dialog.js";
import { announce, h, labelled } from "./dom.js";
import { clearNotice, tell } from "./notice.js";
import * as shown from "./shown.js";
import * as state from "./state.js";
import { taskRow } from "./task_row.js";
import { t } from "./words.js";
import { STATES, stateOf } from "./wording.js";

const PAGE = 12;
const MOST = 500; // tasks of one answer
const POLL_MS = 3000;
const AGE_MS = 30_000; // how often "a minute ago" is written anew

const chosen = { state: "", text: "", count: PAGE }; // kept through a change of language

/** The panel with the list of tasks. */
export function tasks(context) {
  const rows = new Map();
  const list = h("ul", { class: "tasks" });
  const empty = h("p", { class: "empty", role: "status" });
  const more = h("button", { type: "button", onclick: showMore }, t("tasks.more"));
  const states = h(
    "select",
    { onchange: () => ((chosen.state = states.value), show()) },
    h("option", { value: "" }, t("tasks.all")),
    STATES.map((name) => h("option", { value: name }, t(`tasks.state.${name}`))),
  );
  const text = h("input", {
    type: "search",
    autocomplete: "off",
    spellcheck: false,
    value: chosen.text,
    oninput: () => ((chosen.text = text.value.trim()), show()),
  });
  const heading = h("h2", { id: "tasks-title", tabIndex: -1 }, t("tasks.title"));
  const filters = h(
    "form",
    { class: "row end filters", role: "search", onsubmit: find },
    labelled(t("tasks.filter_state"), states),
    labelled(t("tasks.filter_text"), text),
    h("button", { type: "submit" }, t("tasks.find")),
  );
  const element = h(
    "section",
    { "aria-labelledby": "tasks-title" },
    heading,
    filters,
    list,
    empty,
    h("div", { class: "row" }, more),
  );
  let known = null; // the tasks of the last answer, null before it
  let found = []; // tasks that were looked for by their id and are not among them
  let locked = false; // whether the server wants another key
  let timer = 0;
  let loading = null;

  const actions = { open, retry, cancel, remove };

  async function load() {
    clearTimeout(timer);
    loading?.abort();
    locked = context.settings.needs_key && !api.key();
    if (locked) return show();
    const mine = (loading = new AbortController());
    try {
      const answer = await newest(chosen.count, mine.signal);
      if (mine.signal.aborted) return;
      known = answer;
      locked = false;
      found = found.filter((one) => !known.some((task) => task.task_id === one.task_id));
      show();
      again(POLL_MS);
    } catch (error) {
      if (mine.signal.aborted) return;
      locked = Boolean(error.needsKey);
      show();
      tell(error);
      if (error.kind === "offline") again(2 * POLL_MS, true);
    }
  }

  /** Load again after a while, if something may have changed and somebody sees it. */
  function again(wait, failed = false) {
    clearTimeout(timer);
    const busy = failed || known?.some((task) => !shown.finished(task));
    if (busy && !document.hidden && !context.ended.aborted) timer = setTimeout(load, wait);
  }

  function show() {
    states.value = chosen.state;
    const all = [...found, ...(known ?? [])];
    const wanted = all.filter(isWanted);
    for (const id of rows.keys()) if (!all.some((task) => task.task_id === id)) rows.delete(id);
    const shownRows = wanted.map((task) => {
      const row = rows.get(task.task_id) ?? taskRow(task, actions);
      rows.set(task.task_id, row);
      row.update(task, task.task_id === state.get().taskId);
      return row.element;
    });
    arrange(list, shownRows);
    filters.hidden = !all.length;
    list.hidden = !wanted.length;
    more.hidden = !known || known.length < chosen.count;
    empty.hidden = wanted.length > 0;
    empty.textContent = sentence(all.length);
  }

  function sentence(count) {
    if (locked) return t("tasks.key");
    if (!known) return t("tasks.loading");
    return count ? t("tasks.none_such") : t("tasks.none");
  }

  function isWanted(task) {
    if (chosen.state && stateOf(task) !== chosen.state) return false;
    const ids = [task.task_id, task.task_info.external_task_id ?? ""];
    return ids.some((id) => id.toLowerCase().includes(chosen.text.toLowerCase()));
  }

  async function showMore() {
    const last = list.lastElementChild;
    chosen.count += PAGE;
    await load();
    last?.nextElementSibling?.querySelector("button")?.focus();
  }

  /** Look for a task by its id where it is not in the list yet. */
  async function find(event) {
    event.preventDefault();
    if (!chosen.text || !known || [...found, ...known].some(isWanted)) return;
    try {
      found = [...found, await api.task(chosen.text)];
      chosen.state = "";
      show();
    } catch (error) {
      if (error.status !== 404) return tell(error);
      announce(t("tasks.none_such"));
    }
  }

  async function attempt(call) {
    clearNotice();
    try {
      return await call();
    } catch (error) {
      tell(error);
      return null;
    }
  }

  function open(task) {
    shown.adopt(task);
    const panel = task.task_status === "succeed" ? "compare" : "render";
    const target = document.querySelector(`[data-panel="${panel}"]`);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    requestAnimationFrame(() => target?.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" }));
    announce(t("tasks.opened"));
  }

  async function retry(task) {
    const made = await attempt(() => api.retry(task.task_id));
    if (!made) return;
    announce(t("tasks.retried"));
    shown.adopt(made);
    load();
  }

  async function cancel(task) {
    if (await attempt(() => api.cancel(task.task_id))) announce(t("render.cancelled"));
    load();
  }

  async function remove(task) {
    if (!(await ask(t("tasks.remove_sure"), t("tasks.remove_what", { id: task.task_id }), t("tasks.remove")))) return;
    if (!(await attempt(() => api.remove(task.task_id)))) return load();
    if (state.get().taskId === task.task_id) state.set({ taskId: null });
    found = found.filter((one) => one.task_id !== task.task_id);
    known = known.filter((one) => one.task_id !== task.task_id);
    announce(t("tasks.removed"));
    show();
    heading.focus({ preventScroll: true });
    load();
  }

  let before = "";
  shown.subscribe(({ id, task }) => {
    const now = `${id} ${task?.task_status}`;
    if (now !== before) load();
    before = now;
  }, context.ended);
  const ages = setInterval(() => rows.forEach((row) => row.age()), AGE_MS);
  document.addEventListener("visibilitychange", () => document.hidden || load(), { signal: context.ended });
  context.ended.addEventListener("abort", () => {
    clearInterval(ages);
    clearTimeout(timer);
    loading?.abort();
  });
  show();
  load();
  return element;
}

async function newest(count, signal) {
  const all = [];
  for (let page = 1; all.length < count; page += 1) {
    const size = Math.min(count, MOST);
    const answer = await api.tasks(page, size, { signal });
    all.push(...answer);
    if (answer.length < size) break;
  }
  return all.slice(0, count);
}

/** Make `wanted` the children of a list, without touching those that stay: their pictures and the focus remain. */
function arrange(list, wanted) {
  for (const child of [...list.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((child, place) => {
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  });
}
