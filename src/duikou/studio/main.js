// Builds the page: a header, the panels in the order of the work, and the list of tasks.

import * as api from "./api.js";
import { bring } from "./bring.js";
import { compare } from "./compare.js";
import { h, put } from "./dom.js";
import { faces } from "./faces.js";
import { header } from "./header.js";
import { notice } from "./notice.js";
import { render } from "./render.js";
import { stage } from "./stage.js";
import { tasks } from "./tasks.js";
import { timeline } from "./timeline.js";
import { t } from "./words.js";

const AGAIN_MS = 2000;

let page = null;

/** Build everything anew, as after a change of language. What is in hand is in the state. */
function build(settings) {
  page?.abort();
  page = new AbortController();
  const context = { settings, ended: page.signal, rebuild: () => build(settings) };
  const shown = stage(context);
  put(
    document.body,
    h("a", { class: "skip", href: "#work" }, t("page.skip")),
    header(context),
    notice(context),
    h(
      "main",
      { id: "work" },
      panel("bring", bring(context)),
      panel("stage", shown.element),
      panel("faces", faces({ ...context, stage: shown })),
      panel("timeline", timeline({ ...context, stage: shown })),
      panel("render", render({ ...context, stage: shown })),
      panel("compare", compare(context)),
      panel("tasks", tasks(context)),
    ),
  );
}

/** Name a panel for the style sheet, which gives it its look and its place. */
function panel(name, element) {
  element.classList.add("panel");
  element.dataset.panel = name;
  return element;
}

async function settings() {
  for (;;) {
    try {
      return await api.settings();
    } catch {
      const told = h("p", { role: "alert" }, t("page.offline"));
      put(document.body, h("main", { class: "alone" }, h("h1", {}, "duikou"), told));
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

build(await settings());
