// The request in hand as commands to copy.

import * as api from "./api.js";
import { commandLine, curl, python } from "./commands.js";
import { announce, h, put } from "./dom.js";
import * as state from "./state.js";
import { t } from "./words.js";

const COPIED_MS = 2000;
const FORMS = { sync: commandLine, python, curl };

/** The commands that ask for the same as the page; hidden until there is speech. */
export function snippets(context) {
  const blocks = Object.fromEntries(Object.keys(FORMS).map((name) => [name, block(name)]));
  const key = h("p", { class: "quiet small" }, t("snippets.key"));
  const element = h(
    "details",
    { class: "snippets", hidden: true },
    h("summary", {}, t("snippets.title")),
    h(
      "div",
      { class: "stack" },
      h("p", { class: "quiet small" }, t("snippets.hint")),
      key,
      Object.values(blocks).map((one) => one.element),
    ),
  );

  function show() {
    const now = state.get();
    element.hidden = !now.session || !now.video || !now.speeches.length;
    if (element.hidden) return;
    const server = new URL(".", document.baseURI).href.replace(/\/$/, "");
    const needsKey = Boolean(context.settings.needs_key || api.key());
    key.hidden = !needsKey;
    for (const [name, write] of Object.entries(FORMS)) put(blocks[name].text, write(now, server, needsKey));
  }

  context.ended.addEventListener("abort", state.subscribe(show));
  show();
  return element;
}

function block(name) {
  const title = t(`snippets.${name}`);
  const text = h("code", {});
  const shown = h("pre", { class: "code", tabIndex: 0, role: "region", "aria-label": title }, text);
  const spoken = t("snippets.copy_of", { title });
  const button = h("button", { type: "button", class: "small", "aria-label": spoken }, t("snippets.copy"));
  button.addEventListener("click", take);

  async function take() {
    if (!(await copy(text))) return announce(t("snippets.not_copied"));
    button.textContent = t("snippets.copied");
    announce(t("snippets.copied"));
    setTimeout(() => (button.textContent = t("snippets.copy")), COPIED_MS);
  }

  const element = h("section", { class: "snippet" }, h("div", { class: "spread" }, h("h3", {}, title), button), shown);
  return { element, text };
}

/** Copy the text of an element; also where a page has no clipboard, as on an address that is not secure. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}
