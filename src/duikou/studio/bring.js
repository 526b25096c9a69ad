// Brings a video: dropped anywhere, chosen, fetched from an address, or recorded with the camera.

import { kindOf } from "./checks.js";
import { ask, copyButton } from "./dialog.js";
import { announce, h, megabytes, put, seconds } from "./dom.js";
import { clearNotice, tell } from "./notice.js";
import { recordCamera } from "./record.js";
import * as state from "./state.js";
import { findFaces, onWork, stop, take, takeAddress, useSettings, work } from "./work.js";
import { t } from "./words.js";

const ACCEPTED = ".mp4,.mov,.m4v,video/mp4,video/quicktime";
const KINDS = ["Files", "text/uri-list"]; // of what is dropped
const MINUTE_MS = 60_000;
const LONG_MS = 90_000; // from here on the time left is told in minutes

/** The panel that brings a video and says what is in hand. */
export function bring(context) {
  useSettings(context.settings);
  const body = h("div", { class: "stack" });
  const title = h("h2", { id: "bring-title" }, t("bring.title"));
  const element = h("section", { class: "bring", "aria-labelledby": title.id }, title, body);
  const view = { choosing: false, going: null };
  const choose = (choosing) => {
    view.choosing = choosing;
    show();
    (choosing ? body.querySelector(".zone button") : body.querySelector(".hand button"))?.focus();
  };
  const zone = dropZone(context, () => choose(false));
  const show = () => {
    const { now, refused, failed } = work();
    const { video, session } = state.get();
    if (now && view.going?.step === now.step) return view.going.update(now);
    const held = body.contains(document.activeElement);
    view.going = now ? going(now) : null;
    if (now) view.choosing = false;
    const choosing = !now && (!video || view.choosing || refused || failed);
    put(
      body,
      refused && refusal(refused),
      failed && !now && failure(failed),
      now && view.going.element,
      !now && video && inHand(video, session, choosing, () => choose(true)),
      choosing && zone,
    );
    zone.querySelector(".keep").hidden = !video;
    if (refused) body.querySelector(".refusal").focus();
    else if (held) (body.querySelector("button") ?? body).focus();
  };
  const changed = (_, names) => (names.includes("video") || names.includes("session")) && show();
  const ends = [onWork(show), state.subscribe(changed)];
  const expire = () => expired() && !work().now && !body.querySelector(".hand .warn") && show();
  const expiry = setInterval(expire, MINUTE_MS);
  context.ended.addEventListener("abort", () => {
    ends.forEach((end) => end());
    clearInterval(expiry);
  });
  dropAnywhere(element, context);
  show();
  return element;
}

/** Bring something, after asking if speech would be lost. What fails is told. */
async function begin(bringing) {
  const lost = state.get().speeches.length > 0;
  if (lost && !(await ask(t("bring.replace"), t("bring.replace.what"), t("bring.replace.yes")))) return;
  clearNotice();
  await run(bringing);
}

async function run(doing) {
  try {
    const done = await doing();
    if (!done) announce(t("bring.cancelled"));
    else if (state.get().session && !work().refused) {
      announce(`${t("bring.ready")} ${t("bring.found", { count: state.get().session.faces.length })}`);
    }
  } catch (error) {
    tell(error);
  }
}

// Ways to bring a video

function dropZone(context, keep) {
  const { settings } = context;
  const chooser = h("input", { type: "file", hidden: true, accept: ACCEPTED });
  chooser.addEventListener("change", () => {
    const [file] = chooser.files;
    chooser.value = ""; // the same file may be chosen again once it is mended
    if (file) begin(() => take(file));
  });
  const film = async () => {
    const file = await recordCamera({ settings });
    if (file) begin(() => take(file));
  };
  const limits = {
    min: seconds(settings.min_video_ms),
    max: seconds(settings.max_video_ms),
    mb: settings.max_video_mb,
    least: settings.min_side,
    most: settings.max_side,
  };
  return h(
    "div",
    { class: "zone stack" },
    h("p", { class: "drop" }, icon(), h("strong", {}, t("bring.drop"))),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "primary", onclick: () => chooser.click() }, t("bring.choose")),
      chooser,
      h("button", { type: "button", onclick: film }, t("bring.camera")),
      h("button", { type: "button", class: "plain keep", onclick: keep }, t("bring.keep")),
    ),
    address(),
    h(
      "p",
      { class: "quiet small" },
      h("span", {}, t("bring.limits", limits)),
      !settings.any_size && h("span", {}, t("bring.limits.sides", limits)),
    ),
  );
}

function icon() {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", "0 0 48 48");
  picture.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M24 31V9m-9 9 9-9 9 9M8 30v7a3 3 0 0 0 3 3h26a3 3 0 0 0 3-3v-7");
  picture.append(path);
  return picture;
}

function address() {
  const fault = h("p", { id: "bring-address-fault", class: "fault", role: "alert" });
  const input = h("input", { type: "url", id: "bring-address", autocomplete: "off" });
  input.placeholder = t("bring.address.hint");
  input.setAttribute("aria-describedby", fault.id);
  const enter = (event) => {
    event.preventDefault();
    const url = input.value.trim();
    const wrong = !url ? t("bring.address.none") : !isAddress(url) ? t("bring.address.bad") : "";
    put(fault, wrong);
    input.setAttribute("aria-invalid", String(Boolean(wrong)));
    if (wrong) input.focus();
    else begin(() => takeAddress(url));
  };
  return h(
    "form",
    { class: "address", noValidate: true, onsubmit: enter },
    h("label", { for: input.id }, t("bring.address")),
    h("div", { class: "row" }, h("div", { class: "grow" }, input), h("button", { type: "submit" }, t("bring.fetch"))),
    fault,
  );
}

function isAddress(text) {
  return URL.canParse(text) && ["http:", "https:"].includes(new URL(text).protocol);
}

/** What is dropped on the page and not taken by another panel comes here. */
function dropAnywhere(element, { ended }) {
  const options = { signal: ended };
  let inside = false; // a picture or link of the page itself is dragged
  const holds = ({ dataTransfer }) => !inside && KINDS.some((kind) => dataTransfer?.types.includes(kind));
  const mark = (on) => element.classList.toggle("over", on);
  addEventListener("dragstart", () => (inside = true), options);
  addEventListener("dragend", () => (inside = false), options);
  addEventListener("dragover", (event) => {
    if (event.defaultPrevented || !holds(event)) return mark(false);
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    mark(true);
  }, options);
  addEventListener("dragleave", (event) => !event.relatedTarget && mark(false), options);
  addEventListener("drop", (event) => {
    mark(false);
    if (event.defaultPrevented || !holds(event)) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    const url = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
    if (files.length) dropped(files);
    else if (isAddress(url)) begin(() => takeAddress(url));
  }, options);
}

function dropped(files) {
  const file = files.find((one) => kindOf(one) === "video") ?? files[0];
  if (kindOf(file) === "sound" && state.get().session?.faces.length) return tell(t("bring.bad.sound.later"));
  if (files.length > 1) announce(t("bring.bad.several", { name: file.name }));
  begin(() => take(file));
}

// What goes on, what was refused, what is in hand

/** {step, element, update(now)} for what goes on. */
function going(first) {
  const title = t(`bring.${first.step === "storing" ? "uploading" : first.step}`, { name: first.name });
  const bar = h("progress", { max: 1, "aria-label": title });
  const figures = h("p", { class: "quiet small figure" });
  const update = (now) => {
    if (now.step === "uploading") bar.value = now.share;
    else bar.removeAttribute("value");
    put(figures, told(now));
  };
  update(first);
  announce(title);
  const element = h(
    "div",
    { class: "going stack" },
    h(
      "div",
      { class: "spread" },
      h("strong", {}, title),
      h("button", { type: "button", class: "small", onclick: stop }, t("page.cancel")),
    ),
    bar,
    figures,
  );
  return { step: first.step, element, update };
}

function told(now) {
  if (now.step === "finding") return t("bring.finding.why");
  if (now.step === "storing") return t("bring.storing");
  if (now.step !== "uploading") return "";
  const parts = [t("bring.share", { share: Math.floor(now.share * 100) })];
  if (now.bytesPerS) {
    parts.push(t("bring.rate", { rate: megabytes(now.bytesPerS) }));
    const long = now.leftMs >= LONG_MS;
    const count = Math.max(1, Math.round(now.leftMs / (long ? 60_000 : 1000)));
    parts.push(t(long ? "bring.left.minutes" : "bring.left.seconds", { count }));
  }
  return parts.join(" · ");
}

function refusal({ name, faults, line }) {
  return h(
    "div",
    { class: "note bad refusal stack", role: "alert", tabIndex: -1 },
    h("p", {}, h("strong", {}, t("bring.refused", { name }))),
    faults.map(({ key, values }) => h("p", {}, t(key, values))),
    line && h("p", { class: "small" }, t("bring.mend")),
    line && h("div", { class: "line" }, h("pre", { class: "code", tabIndex: 0 }, line), copyButton(line)),
  );
}

function failure({ name, again }) {
  return h(
    "div",
    { class: "note warn spread failure" },
    h("p", {}, t("bring.failed", { name })),
    h("button", { type: "button", class: "primary small", onclick: () => begin(again) }, t("bring.again")),
  );
}

/** Whether the server no longer has the faces that are in hand. */
function expired() {
  return state.get().session?.expiresAt < Date.now();
}

function inHand(video, session, choosing, another) {
  const length = (video.durationMs / 1000).toFixed(1);
  return h(
    "div",
    { class: "hand stack" },
    h(
      "div",
      { class: "spread" },
      h(
        "div",
        { class: "grow" },
        h("p", { class: "name" }, video.name),
        h(
          "p",
          { class: "quiet small figure" },
          video.width
            ? t("bring.facts", { length, width: video.width, height: video.height })
            : t("bring.facts.length", { length }),
        ),
      ),
      !choosing && h("button", { type: "button", class: "small", onclick: another }, t("bring.another")),
    ),
    (expired() || !session) &&
      h(
        "div",
        { class: "note warn spread" },
        h("p", {}, t(expired() ? "bring.expired" : "bring.unfound")),
        h("button", { type: "button", class: "primary small", onclick: () => run(findFaces) }, t("bring.find")),
      ),
  );
}
