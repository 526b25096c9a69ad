// Changes of a piece of speech by hand: where it starts in the video, and both of its ends. No elements here.

import { endMs, usedMs } from "./limits.js";

/** Pixels within which an edge snaps. */
export const REACH_PX = 9;

/**
 * Bring one edge of a piece of speech to `toMs` of the video's time line.
 *
 * what: "place" moves all of it, "start" and "end" trim it; the sound stays where it is while an end is trimmed.
 * Answers {change, stop}: the changed fields, and the key of the words that say what held it back, or "".
 */
export function edited(speech, what, toMs, { minTrimMs }) {
  const to = Math.round(toMs);
  if (what === "place") return { change: { insertMs: Math.max(to, 0) }, stop: to < 0 ? "edit.video_starts" : "" };
  const least = Math.min(minTrimMs, usedMs(speech));
  if (what === "start") {
    const stops = [
      [Math.max(speech.insertMs - speech.trimStartMs, 0), speech.insertMs < speech.trimStartMs ? "video" : "sound"],
      [endMs(speech) - least, "short"],
    ];
    const insertMs = Math.min(Math.max(to, stops[0][0]), stops[1][0]);
    const stop = to < stops[0][0] ? `edit.${stops[0][1]}_starts` : to > stops[1][0] ? "edit.short" : "";
    return { change: { insertMs, trimStartMs: speech.trimStartMs + insertMs - speech.insertMs }, stop };
  }
  const first = speech.insertMs + least;
  const last = speech.insertMs + Math.max(speech.audio.durationMs - speech.trimStartMs, least);
  const end = Math.min(Math.max(to, first), last);
  const stop = to > last ? "edit.sound_ends" : to < first ? "edit.short" : "";
  return { change: { trimEndMs: speech.trimStartMs + end - speech.insertMs }, stop };
}

/**
 * Where new speech goes: at the playhead or at `wishedMs` if the face can be synced there, else where its interval
 * begins; trimmed to what fits. trimmed: "" or why it was trimmed ("face" or "video").
 */
export function placed(audioMs, face, { videoMs, playheadMs, mode, minTrimMs, wishedMs = null }) {
  const last = Math.min(face.endMs, videoMs) - minTrimMs;
  const inside = (ms) => ms !== null && ms >= face.startMs && ms <= last;
  let insertMs = face.startMs;
  const open = mode === "loop" || mode === "bounce" || mode === "silence";
  const until = face.endMs >= videoMs - 100 ? videoMs : face.endMs;
  if (inside(wishedMs)) insertMs = wishedMs;
  else if (inside(playheadMs)) insertMs = Math.max(Math.min(playheadMs, until - audioMs, last), face.startMs);
  insertMs = Math.round(insertMs);
  const room = open && until === videoMs ? Infinity : until - insertMs;
  const trimEndMs = Math.round(Math.min(audioMs, Math.max(room, minTrimMs)));
  const trimmed = trimEndMs < audioMs ? (until === videoMs ? "video" : "face") : "";
  return { insertMs, trimStartMs: 0, trimEndMs, trimmed };
}

/** The nearest of `targets` (ms) within `reachMs` of one of `edges` (ms): how far to shift, and to what; or null. */
export function snapped(edges, targets, reachMs) {
  let best = null;
  for (const edge of edges) {
    for (const target of targets) {
      const shift = target - edge;
      if (Math.abs(shift) <= reachMs && (!best || Math.abs(shift) < Math.abs(best.shift))) best = { shift, target };
    }
  }
  return best;
}

/** The times to which edges snap, in ms: both ends of the video, the playhead, intervals, and other speech. */
export function targets(state, key, playheadMs) {
  const others = state.speeches.filter((one) => one.key !== key).flatMap((one) => [one.insertMs, endMs(one)]);
  const intervals = state.session.faces.flatMap((one) => [one.startMs, one.endMs]);
  return [...new Set([0, state.video.durationMs, Math.round(playheadMs), ...intervals, ...others])];
}
