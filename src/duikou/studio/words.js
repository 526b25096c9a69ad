// The page's words in the user's language. Each language has the same keys (words/en.js, words/zh.js).

import { en } from "./words/en.js";
import { zh } from "./words/zh.js";

const LANGUAGES = { en, zh };
const KEPT = "duikou.language";

let language = localStorage.getItem(KEPT) ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
if (!(language in LANGUAGES)) language = "en";
document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";

export const languages = Object.keys(LANGUAGES);

export function currentLanguage() {
  return language;
}

/** Choose the language; the page is built anew from its state. */
export function setLanguage(chosen) {
  language = chosen;
  localStorage.setItem(KEPT, chosen);
  document.documentElement.lang = chosen === "zh" ? "zh-Hans" : "en";
}

/** The words for a key; `{name}` in them becomes values.name. */
export function t(key, values = {}) {
  const words = LANGUAGES[language][key] ?? en[key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Whether there are words for a key: codes of a newer server may have none. */
export function has(key) {
  return key in en;
}
