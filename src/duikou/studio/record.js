// Records speech from the microphone and video from the camera, each in a dialog of its own.

import { capture, listen, wav } from "./capture.js";
import { open } from "./dialog.js";
import { announce, clock, h, put, seconds } from "./dom.js";
import { t } from "./words.js";

const MIB = 1 << 20;
const SHOWN_EVERY_MS = 100;
const LATEST_MS = 1000; // the clock of a page in the background ticks once a second
const QUIET_AFTER_MS = 2000;
const QUIET_LEVEL = 0.2; // about -48 dB
const VIDEO_BITS_PER_S = 8_000_000;
const SOUND_BITS_PER_S = 128_000;
const LIMITS = {
  min_audio_ms: 2000,
  max_audio_ms: 60_000,
  max_audio_mb: 5,
  min_video_ms: 2000,
  max_video_ms: 60_000,
  max_video_mb: 100,
  min_side: 512,
  any_size: false,
};
const MP4 = [
  "video/mp4;codecs=avc1.640028,mp4a.40.2",
  "video/mp4;codecs=avc1.640028,opus",
  "video/mp4;codecs=avc1.42E01E,opus",
  "video/mp4;codecs=vp9,opus",
  "video/mp4",
];

/**
 * Record what the microphone hears. Resolves with a WAV file, or null if it is discarded.
 * signal: closes the dialog. settings: the limits of the server.
 */
export function recordSound({ signal, settings = LIMITS } = {}) {
  return record({
    kind: "sound",
    signal,
    minMs: settings.min_audio_ms,
    maxMs: settings.max_audio_ms,
    constraints: [{ audio: { noiseSuppression: true, echoCancellation: false, autoGainControl: true } }],
    async begin(stream, heard) {
      const captured = await capture(stream, heard.context, settings.max_audio_ms);
      return {
        elapsedMs: captured.elapsedMs,
        async stop() {
          const sound = await captured.stop();
          const file = named(await wav(sound, settings.max_audio_mb * MIB), "speech", "wav");
          return { file, lengthMs: (sound.samples.length * 1000) / sound.rate };
        },
      };
    },
  });
}

/** Record from the camera. Resolves with an mp4 file, or null if it is discarded. signal, settings: as above. */
export function recordCamera({ signal, settings = LIMITS } = {}) {
  const type = globalThis.MediaRecorder && MP4.find((one) => MediaRecorder.isTypeSupported(one));
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
  return record({
    kind: "camera",
    signal,
    minMs: settings.min_video_ms,
    maxMs: settings.max_video_ms,
    spareMs: LATEST_MS, // a video that became too long cannot be cut here
    unable: !type && t("record.unable"),
    smallest: settings.any_size ? 0 : settings.min_side,
    constraints: [{ video, audio: true }, { video }], // a camera without a microphone will do
    async begin(stream) {
      const most = (settings.max_video_mb * MIB * 8 * 0.85) / (settings.max_video_ms / 1000);
      const recorder = new MediaRecorder(stream, {
        mimeType: type,
        videoBitsPerSecond: Math.min(VIDEO_BITS_PER_S, most),
        audioBitsPerSecond: SOUND_BITS_PER_S,
      });
      const pieces = [];
      recorder.ondataavailable = ({ data }) => pieces.push(data);
      const stopped = new Promise((resolve) => (recorder.onstop = resolve));
      recorder.start();
      const began = performance.now();
      return {
        elapsedMs: () => performance.now() - began,
        async stop() {
          const lengthMs = performance.now() - began;
          if (recorder.state !== "inactive") recorder.stop();
          await stopped;
          return { file: named(new Blob(pieces, { type: "video/mp4" }), "camera", "mp4"), lengthMs };
        },
      };
    },
  });
}

function named(blob, name, extension) {
  const localMs = Date.now() - new Date().getTimezoneOffset() * 60_000;
  const at = new Date(localMs).toISOString().slice(0, 19).replace(/\D/g, "-");
  return new File([blob], `${name}-${at}.${extension}`, { type: blob.type });
}

/** The dialog from asking for the device to using what was recorded; see its callers. */
function record(how) {
  const { kind, signal } = how;
  return new Promise((resolve) => {
    const ended = new AbortController();
    const body = h("div", { class: "record stack" });
    const dialog = open(t(`record.${kind}`), body);
    let result = null;
    dialog.addEventListener("close", () => {
      ended.abort();
      resolve(result);
    });
    signal?.addEventListener("abort", () => dialog.close(), { signal: ended.signal });
    const panel = {
      ended: ended.signal,
      show(...children) {
        put(body, ...children);
        body.querySelector("button")?.focus();
      },
      close: (file = null) => {
        result = file;
        dialog.close();
      },
    };
    steps(how, panel).catch((error) => !ended.signal.aborted && fail(panel, error, kind));
  });
}

async function steps(how, panel) {
  const { kind, minMs, maxMs } = how;
  if (!navigator.mediaDevices) return sentence(panel, t("record.insecure"));
  if (how.unable) return sentence(panel, how.unable);
  panel.show(h("p", { role: "status" }, t(`record.asking.${kind}`)), discard(panel));
  const stream = await device(how.constraints);
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  if (panel.ended.aborted) return stop();
  panel.ended.addEventListener("abort", stop);
  const heard = stream.getAudioTracks().length ? listen(stream) : null;
  panel.ended.addEventListener("abort", () => heard?.end());
  for (let first = true; ; first = false) {
    if (kind === "camera") await ready(how, panel, stream, first);
    const recorded = await going(how, panel, stream, heard);
    if (panel.ended.aborted) return;
    if (await review(panel, recorded, { kind, minMs, maxMs })) return panel.close(recorded.file);
  }
}

async function device(constraints) {
  for (const [place, one] of constraints.entries()) {
    try {
      return await navigator.mediaDevices.getUserMedia(one);
    } catch (error) {
      if (error.name !== "NotFoundError" || place === constraints.length - 1) throw error;
    }
  }
}

/** Show the picture until the recording is started. */
function ready({ minMs, maxMs, smallest }, panel, stream) {
  const { width, height } = stream.getVideoTracks()[0].getSettings();
  const small = Math.min(width, height) < smallest;
  return new Promise((resolve) => {
    panel.show(
      live(stream),
      h("p", {}, t("record.ready.camera", { min: seconds(minMs), max: seconds(maxMs) })),
      small && h("p", { class: "note warn" }, t("record.small", { width, height })),
      h("div", { class: "row" }, button("record.start", resolve, "primary"), discard(panel)),
    );
  });
}

function live(stream) {
  const picture = h("video", { class: "live", muted: true, autoplay: true, playsInline: true, srcObject: stream });
  picture.setAttribute("aria-label", t("record.picture"));
  return picture;
}

/** Record until it is stopped or as long as may be. Resolves with {file, lengthMs}. */
async function going({ kind, begin, maxMs, spareMs = 0 }, panel, stream, heard) {
  const time = h("p", { class: "elapsed figure", role: "timer" });
  const level = heard && h("meter", { min: 0, max: 1, "aria-label": t("record.level") });
  const quiet = h("p", { class: "note warn", hidden: true }, t("record.quiet"));
  const recorder = await begin(stream, heard);
  let loudest = 0;
  let timer = 0;
  await new Promise((resolve) => {
    panel.show(
      kind === "camera" && live(stream),
      h("div", { class: "row" }, h("span", { class: "dot red" }), time),
      level,
      quiet,
      h("div", { class: "row" }, button("record.stop", resolve, "primary"), discard(panel)),
    );
    const show = () => {
      const elapsed = recorder.elapsedMs();
      time.textContent = t("record.time", { time: whole(elapsed), max: whole(maxMs) });
      if (level) {
        level.value = heard.level();
        loudest = Math.max(loudest, level.value);
        quiet.hidden = elapsed < QUIET_AFTER_MS || loudest > QUIET_LEVEL;
      }
      if (elapsed >= maxMs - spareMs) resolve();
    };
    show();
    timer = setInterval(show, SHOWN_EVERY_MS);
    panel.ended.addEventListener("abort", resolve);
    stream.getTracks()[0].addEventListener("ended", resolve); // the device was taken away
  });
  clearInterval(timer);
  return panel.ended.aborted ? null : recorder.stop();
}

function whole(ms) {
  return clock(Math.floor(ms / 1000) * 1000).slice(0, -3);
}

/** Play what was recorded. Resolves with true to use it, false to record again. */
function review(panel, { file, lengthMs }, { kind, minMs }) {
  const short = lengthMs < minMs;
  const length = (lengthMs / 1000).toFixed(1);
  const done = t(kind === "camera" ? "record.done.camera" : "record.done", { length });
  const told = short ? t("record.short", { length, min: seconds(minMs) }) : done;
  const url = URL.createObjectURL(file);
  const player = h(kind === "camera" ? "video" : "audio", { controls: true, src: url, playsInline: true });
  player.setAttribute("aria-label", t("record.played"));
  panel.ended.addEventListener("abort", () => URL.revokeObjectURL(url));
  announce(told);
  return new Promise((resolve) => {
    panel.show(
      h("p", { class: short ? "note warn" : "" }, told),
      player,
      h(
        "div",
        { class: "row" },
        !short && button("record.use", () => resolve(true), "primary"),
        button("record.again", () => resolve(false)),
        discard(panel),
      ),
    );
  });
}

function fail(panel, error, kind) {
  const denied = ["NotAllowedError", "SecurityError"].includes(error.name);
  if (denied) return sentence(panel, t(`record.denied.${kind}`));
  if (error.name === "NotFoundError") return sentence(panel, t(`record.missing.${kind}`));
  if (error.name === "NotReadableError") return sentence(panel, t("record.busy"));
  sentence(panel, t("record.failed", { message: error.message }));
}

function sentence(panel, text) {
  panel.show(
    h("p", { class: "note bad", role: "alert" }, text),
    h("div", { class: "row" }, button("record.close", () => panel.close())),
  );
}

function discard(panel) {
  return button("record.discard", () => panel.close(), "danger");
}

function button(key, run, look = "") {
  return h("button", { type: "button", class: look, onclick: () => run() }, t(key));
}
