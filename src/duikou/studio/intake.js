// What goes on while speech is brought: reading, uploading, fetching. It goes on when the panels are built anew.

import * as api from "./api.js";
import { placed } from "./edit.js";
import { commit } from "./history.js";
import { playing } from "./limits.js";
import { checkSound, lengthFaults } from "./soundchecks.js";
import * as state from "./state.js";

let now = null;
let refused = null;
let controller = null;
const listeners = new Set();

/**
 * now:     null or {step: "checking" | "uploading" | "storing" | "fetching", name, share}
 * refused: null or {name, faults: [{key, values, line}]}, why the page does not use a file
 */
export function intake() {
  return { now, refused };
}

/** Call `listener()` after every change; returns a function that ends it. */
export function onIntake(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function change(what) {
  if ("now" in what) now = what.now;
  if ("refused" in what) refused = what.refused;
  for (const listener of [...listeners]) listener();
}

/** Stop what goes on, and forget what was refused. */
export function stopIntake() {
  controller?.abort();
  controller = null;
  change({ now: null, refused: null });
}

async function doing(what) {
  stopIntake();
  const own = (controller = new AbortController());
  try {
    return await what(own.signal);
  } catch (error) {
    if (own.signal.aborted) return null;
    throw error;
  } finally {
    if (controller === own) {
      controller = null;
      change({ now: null });
    }
  }
}

/**
 * Check a sound file, upload it, and put it on a lane. where: {faceId, playheadMs, wishedMs, limits}. Resolves with
 * {speech, replaced} (replaced: the speech that the face had, where the server takes one piece only, or null), or null
 * if it was stopped or refused.
 */
export function takeSound(file, where) {
  return doing(async (signal) => {
    change({ now: { step: "checking", name: file.name } });
    const { faults } = await checkSound(file, where.limits);
    signal.throwIfAborted();
    if (faults.length) return refuse(file.name, faults);
    const onProgress = (share) => {
      if (!signal.aborted) change({ now: { step: share < 1 ? "uploading" : "storing", name: file.name, share } });
    };
    onProgress(0);
    return put(await api.upload(file, { onProgress, signal }), file.name, where);
  });
}

/** Let the server fetch a sound from an address, and put it on a lane; as `takeSound`. */
export function takeSoundFrom(url, where) {
  const name = decodeURIComponent(new URL(url).pathname.split("/").pop()) || new URL(url).hostname;
  return doing(async (signal) => {
    change({ now: { step: "fetching", name } });
    return put(await api.fetchFrom(url, { signal }), name, where);
  });
}

function refuse(name, faults) {
  change({ refused: { name, faults } });
  return null;
}

function put(stored, name, { faceId, playheadMs, wishedMs, limits }) {
  if (stored.type === "video") return refuse(name, [{ key: "add.video", values: {} }]);
  if (stored.type === "image") return refuse(name, [{ key: "add.picture", values: {} }]);
  const faults = lengthFaults(name, stored.durationMs, limits);
  if (faults.length) return refuse(name, faults);
  const { session, video, speeches, syncMode } = state.get();
  const face = session?.faces.find((one) => one.id === faceId) ?? session?.faces[0];
  if (!face) return null; // another video was brought meanwhile
  const own = speeches.filter((one) => one.faceId === face.id);
  const replaced = (!limits.severalPieces && own[0]) || null;
  const place = placed(stored.durationMs, face, {
    videoMs: video.durationMs,
    mode: syncMode,
    minTrimMs: limits.minTrimMs,
    playheadMs,
    wishedMs,
    others: replaced ? [] : own.map((one) => playing(one, face, { video, syncMode })),
  });
  const audio = { id: stored.id, url: stored.url, name, durationMs: stored.durationMs };
  const speech = { key: state.newKey(), faceId: face.id, audio, volume: 1, ...place };
  commit({ speeches: replaced ? speeches.map((one) => (one === replaced ? speech : one)) : [...speeches, speech] });
  return { speech, replaced };
}
