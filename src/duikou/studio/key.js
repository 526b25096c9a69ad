// The field for a key, where the server wants one. The key is kept in this tab alone.

import * as api from "./api.js";
import { h, put } from "./dom.js";
import { t } from "./words.js";

let refused = false;
const fields = new Set();

/** The server did not accept the key, or missed one: show the field. */
export function askForKey() {
  refused = true;
  for (const show of fields) show(true);
}

/** An element that asks for a key, or says that one is in use. It is empty where none is needed. */
export function keyField(context) {
  const element = h("div", { class: "key" });
  const use = (value) => {
    api.setKey(value);
    refused = false;
    context.rebuild(); // every panel asks the server anew
  };
  const show = (asked = false) => {
    const missing = context.settings.needs_key && !api.key();
    if (asked || refused || missing) put(element, form(use, refused && Boolean(api.key())));
    else if (api.key()) put(element, inUse(use, () => show(true)));
    else put(element);
    element.hidden = !element.firstChild;
    if (asked) element.querySelector("input").focus();
  };
  fields.add(show);
  context.ended.addEventListener("abort", () => fields.delete(show));
  show();
  return element;
}

function inUse(use, change) {
  return [
    h("p", { class: "quiet" }, t("header.key.kept")),
    h("button", { type: "button", class: "small", onclick: change }, t("header.key.change")),
    h("button", { type: "button", class: "small plain", onclick: () => use("") }, t("header.key.forget")),
  ];
}

function form(use, again) {
  const why = h("p", { id: "key-why", class: again ? "bad" : "" }, t(again ? "header.key.again" : "header.key.why"));
  const input = h("input", { type: "password", id: "key", autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-describedby", "key-why");
  const enter = (event) => {
    event.preventDefault();
    if (input.value.trim()) return use(input.value.trim());
    put(why, t("header.key.none"));
    input.focus();
  };
  return h(
    "form",
    { class: "row end", noValidate: true, onsubmit: enter },
    h("div", { class: "field" }, h("label", { for: "key" }, t("header.key")), input),
    h("button", { type: "submit", class: "primary" }, t("header.key.use")),
    why,
  );
}
