// The panel that shows the source and the result of a finished task, and gives the result away.

import * as api from "./api.js";
import { h, put } from "./dom.js";
import * as shown from "./shown.js";
import * as state from "./state.js";
import { viewer } from "./viewer.js";
import { t } from "./words.js";

/** The panel that compares before and after; hidden until the shown task has succeeded. */
export function compare(context) {
  const body = h("div", { class: "stack" });
  const heading = h("h2", { id: "compare-title", tabIndex: -1 }, t("compare.title"));
  const element = h("section", { "aria-labelledby": "compare-title", hidden: true }, heading, body);
  let watched = null; // {id, ended} of the task whose videos are there

  function show() {
    const { task } = shown.current();
    const result = task?.task_status === "succeed" ? task.task_result.videos[0] : null;
    if (watched?.id === (result ? task.task_id : undefined)) return;
    watched?.ended.abort();
    watched = null;
    element.hidden = !result;
    put(body);
    if (!result) return;
    watched = { id: task.task_id, ended: new AbortController() };
    put(body, viewer(material(task, result), watched.ended.signal), downloads(task, result));
  }

  shown.subscribe(show, context.ended);
  context.ended.addEventListener("abort", () => watched?.ended.abort());
  shown.start();
  show();
  return element;
}

/** What the viewer needs of a task: addresses, and what is known of the faces if their session is in hand. */
function material(task, result) {
  const source = task.task_info.parent_video;
  const { video, session } = state.get();
  const same = video?.id === source.id && session;
  const chosen = (task.request ?? []).map((one) => one.face_id);
  const faces = (same ? session.faces : []).map((face, place) => ({ number: place + 1, id: face.id, box: face.box }));
  return {
    id: task.task_id,
    before: api.own(source.url),
    after: api.own(result.url),
    frameMs: same && video.frameRate ? 1000 / video.frameRate : 0,
    faces: [...faces.filter((face) => chosen.includes(face.id)), ...faces.filter((face) => !chosen.includes(face.id))],
  };
}

function downloads(task, result) {
  const link = (look, url, key) => h("a", { class: `button ${look}`, href: download(url), download: "" }, t(key));
  return h(
    "div",
    { class: "row" },
    link("primary", result.url, "compare.download"),
    result.watermark_url && link("", result.watermark_url, "compare.download_marked"),
    h("span", { class: "quiet small" }, t("render.task_id", { id: task.task_id })),
  );
}

/** The address at which the browser saves the file. */
function download(url) {
  const own = new URL(api.own(url));
  if (own.origin === location.origin) own.search += own.search ? "&download" : "?download";
  return own.href;
}
