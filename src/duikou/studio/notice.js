// The one place where errors appear, in plain words, with the server's own sentence and the id of the request.

import * as api from "./api.js";
import { h, put } from "./dom.js";
import { askForKey } from "./key.js";
import { patience } from "./patience.js";
import { findFaces } from "./work.js";
import { has, t } from "./words.js";

const FIRST_WAIT_MS = 1000;
const BACK_SHOWN_MS = 5000;

let told = null; // an error or a sentence
let line = ""; // "", "offline", "back"
let show = () => {};

/** The element that shows what is told. It is announced as it appears. */
export function notice(context) {
  const element = h("div", { class: "notices", role: "alert" });
  const own = () => put(element, line && connection(), told && message());
  show = own;
  context.ended.addEventListener("abort", () => {
    if (show === own) show = () => {};
  });
  own();
  return element;
}

/**
 * Show an error, or a sentence in the user's language, until it is dismissed or another one comes. What was cancelled
 * is not shown. A server that cannot be reached is asked again and again, and the banner goes when it answers.
 */
export function tell(what) {
  if (what?.kind === "aborted" || what?.name === "AbortError") return;
  if (what?.kind === "offline") return offline();
  if (what?.needsKey) {
    askForKey();
    if (!api.key()) return; // the field says it all
  }
  told = what;
  show();
}

/** Take away what is shown, except that the server cannot be reached. */
export function clearNotice() {
  told = null;
  show();
}

async function offline() {
  if (line === "offline") return;
  line = "offline";
  show();
  for (const tries = patience(FIRST_WAIT_MS); ; ) {
    await tries.wait();
    try {
      await api.settings();
      break;
    } catch (error) {
      if (error.kind !== "offline" && error.status < 500) break;
    }
  }
  line = "back";
  show();
  setTimeout(() => {
    if (line !== "back") return;
    line = "";
    show();
  }, BACK_SHOWN_MS);
}

function connection() {
  return h("div", { class: line === "back" ? "note good" : "note warn" }, h("p", {}, t(`notice.${line}`)));
}

function message() {
  const error = typeof told === "string" ? null : told;
  const refused = error?.kind === "refused";
  const sentence = refused ? refusal(error) : error ? t("error.page", { message: error.message }) : told;
  return h(
    "div",
    { class: "note bad notice" },
    h(
      "div",
      { class: "grow" },
      h("p", { class: "sentence" }, sentence),
      refused && error.code > 0 && h("p", {}, `${t("notice.says")} `, h("span", { lang: "en" }, error.message)),
      error?.requestId &&
        h("p", { class: "small" }, `${t("notice.request")} `, h("code", { class: "request" }, error.requestId)),
    ),
    h(
      "div",
      { class: "row" },
      refused && expired(error) && button("notice.again", findAgain),
      button("notice.dismiss", clearNotice),
    ),
  );
}

function button(key, run) {
  return h("button", { type: "button", class: "small", onclick: run }, t(key));
}

function refusal(error) {
  if (expired(error)) return t("error.session");
  if (error.code === 1201 && error.message.startsWith("video_id: there is no")) return t("error.video");
  for (const key of [`error.${error.code}`, `error.http.${error.status}`]) if (has(key)) return t(key);
  return t("error.other");
}

/** Whether a call failed because the session with the faces has expired. */
function expired(error) {
  return error.code === 1201 && error.message.startsWith("session_id:");
}

function findAgain() {
  clearNotice();
  findFaces().catch(tell);
}

// A fault of the page itself should not pass unseen.
addEventListener("error", (event) => event.error && tell(event.error));
addEventListener("unhandledrejection", (event) => tell(event.reason));
