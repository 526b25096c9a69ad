// The head of the page: its name, the language, the key, and starting over.

import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { keyField } from "./key.js";
import { clearNotice } from "./notice.js";
import * as state from "./state.js";
import { stop } from "./work.js";
import { currentLanguage, languages, setLanguage, t } from "./words.js";

const NAMES = { en: "English", zh: "中文" };
const TAGS = { en: "en", zh: "zh-Hans" };

/** The header of the page. */
export function header(context) {
  return h(
    "header",
    { class: "top" },
    h(
      "div",
      { class: "bar" },
      h("img", { src: "studio/icon.svg", alt: "", width: 28, height: 28 }),
      h("h1", { tabIndex: -1 }, t("header.name")),
      h(
        "nav",
        { class: "row", "aria-label": t("header.tools") },
        languageSwitch(context),
        h("a", { class: "button plain small", href: "docs" }, t("header.docs")),
        h("button", { type: "button", class: "small", onclick: () => startOver(context) }, t("header.over")),
      ),
    ),
    keyField(context),
  );
}

function languageSwitch(context) {
  const choose = (language) => {
    if (language === currentLanguage()) return;
    setLanguage(language);
    context.rebuild();
    document.querySelector(`[data-language="${language}"]`).focus();
  };
  return h(
    "div",
    { class: "languages", role: "group", "aria-label": t("header.language") },
    languages.map((language) =>
      h(
        "button",
        {
          type: "button",
          class: "small",
          lang: TAGS[language],
          "data-language": language,
          "aria-pressed": String(language === currentLanguage()),
          onclick: () => choose(language),
        },
        NAMES[language],
      ),
    ),
  );
}

async function startOver(context) {
  if (state.get().video && !(await ask(t("header.over.sure"), t("header.over.what"), t("header.over")))) return;
  stop();
  state.clear();
  clearNotice();
  context.rebuild();
  document.querySelector("h1").focus();
}
