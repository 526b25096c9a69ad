// What goes on while a video is brought: reading, uploading, finding faces. It goes on when the panels are built anew.

import * as api from "./api.js";
import { check } from "./checks.js";
import * as state from "./state.js";

const HOUR_MS = 3_600_000;
const SMOOTHING = 0.25; // weight of the newest measurement of the speed

let settings = null;
let now = null;
let refused = null;
let failed = null;
let controller = null;
const listeners = new Set();

/** Tell the limits of the server, before anything else is called. */
export function useSettings(given) {
  settings = given;
}

/**
 * now:     null or {step, name, share, bytesPerS, leftMs}, step one of "checking", "uploading", "storing", "fetching",
 *          "finding"
 * refused: null or {name, faults: [{key, values}], line}, why the page does not send a file, and how to mend it
 * failed:  null or {name, again()}: a file that did not get to the server although it may be good
 */
export function work() {
  return { now, refused, failed };
}

/** Call `listener()` after every change; returns a function that ends it. */
export function onWork(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function change(what) {
  if ("now" in what) now = what.now;
  if ("refused" in what) refused = what.refused;
  if ("failed" in what) failed = what.failed;
  for (const listener of [...listeners]) listener();
}

/** Stop what goes on, and forget what was refused or failed. */
export function stop() {
  controller?.abort();
  controller = null;
  change({ now: null, refused: null, failed: null });
}

/** Do something that `stop` can stop. Resolves with false if it was. again: does it anew after a failure. */
async function doing(what, again) {
  stop();
  const own = (controller = new AbortController());
  try {
    await what(own.signal);
    return true;
  } catch (error) {
    if (own.signal.aborted) return false;
    const mayPass = error.kind === "offline" || error.status > 400; // another key, another time
    if (mayPass && again && now?.step !== "finding") change({ failed: { name: now.name, again } });
    throw error;
  } finally {
    if (controller === own) {
      controller = null;
      change({ now: null });
    }
  }
}

/** Check a video file, upload it and find its faces. What the page refuses is in `work().refused`. */
export function take(file) {
  const bringing = async (signal) => {
    change({ now: { step: "checking", name: file.name } });
    const found = await check(file, settings);
    signal.throwIfAborted();
    if (found.faults.length) return change({ now: null, refused: { name: file.name, ...found } });
    const measure = speed(file.size);
    const onProgress = (share) => {
      if (signal.aborted) return;
      const step = share < 1 ? "uploading" : "storing";
      change({ now: { step, name: file.name, share, ...measure(share * file.size) } });
    };
    onProgress(0);
    const stored = await api.upload(file, { onProgress, signal });
    bringStored(stored, file.name, found);
    await find(signal);
  };
  return doing(bringing, () => take(file));
}

/** Let the server fetch the video at an address, and find its faces. */
export function takeAddress(url) {
  const name = nameOf(url);
  const bringing = async (signal) => {
    change({ now: { step: "fetching", name } });
    const stored = await api.fetchFrom(url, { signal });
    if (stored.type !== "video") {
      const key = stored.type === "audio" ? "bring.bad.sound" : "bring.bad.picture";
      return change({ now: null, refused: { name, faults: [{ key, values: {} }], line: "" } });
    }
    bringStored(stored, name, { width: 0, height: 0 });
    await find(signal);
  };
  return doing(bringing, () => takeAddress(url));
}

/** Find the faces of the video in hand, again where that was done before. Speech of faces found again stays. */
export function findFaces() {
  return doing(find);
}

function bringStored(stored, name, { width, height }) {
  const { id, url, durationMs } = stored;
  const video = { id, url, name, durationMs, width, height, frameRate: 0 };
  state.set({ video, session: null, speeches: [], taskId: null });
}

async function find(signal) {
  const { id, name } = state.get().video;
  change({ now: { step: "finding", name } });
  const asked = Date.now();
  const { video, session } = await api.identify(id, { signal });
  const faces = new Set(session.faces.map((face) => face.id));
  state.set({
    video: { ...video, name },
    session: { ...session, expiresAt: asked + settings.session_hours * HOUR_MS },
    speeches: state.get().speeches.filter((speech) => faces.has(speech.faceId)),
    taskId: null,
  });
}

/** A function that takes the bytes sent so far and tells {bytesPerS, leftMs}, or nothing before it can know. */
function speed(size) {
  let lastMs = performance.now();
  let lastBytes = 0;
  let bytesPerS = 0;
  return (bytes) => {
    const ms = performance.now();
    if (ms - lastMs >= 500) {
      const measured = ((bytes - lastBytes) * 1000) / (ms - lastMs);
      bytesPerS = bytesPerS ? bytesPerS + SMOOTHING * (measured - bytesPerS) : measured;
      [lastMs, lastBytes] = [ms, bytes];
    }
    return bytesPerS ? { bytesPerS, leftMs: ((size - bytes) * 1000) / bytesPerS } : {};
  };
}

/** What the file at an address is called. */
function nameOf(url) {
  const { pathname, hostname } = new URL(url);
  const last = pathname.split("/").pop();
  try {
    return decodeURIComponent(last) || hostname;
  } catch {
    return last;
  }
}
