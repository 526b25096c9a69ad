// The page's words in the user's language. Each file of words/ has the same keys in every language.

import { words as page } from "./words/page.js";
import { words as render } from "./words/render.js";
import { words as timeline } from "./words/timeline.js";

const KEPT = "duikou.language";
const FILES = [page, timeline, render];

export const languages = ["en", "zh"];
const words = Object.fromEntries(languages.map((one) => [one, Object.assign({}, ...FILES.map((file) => file[one]))]));

let language = localStorage.getItem(KEPT) ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
if (!languages.includes(language)) language = "en";
name();

function name() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
}

export function currentLanguage() {
  return language;
}

/** Choose the language. The page is then built anew from its state. */
export function setLanguage(chosen) {
  language = chosen;
  localStorage.setItem(KEPT, chosen);
  name();
}

/** The words for a key; `{name}` in them becomes values.name. */
export function t(key, values = {}) {
  const found = words[language][key];
  if (found === undefined) throw new Error(`no words for ${key}`);
  return found.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Whether there are words for a key: a newer server may send codes that have none. */
export function has(key) {
  return key in words.en;
}
