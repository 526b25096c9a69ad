// What the server refuses, in words and before it is asked. The same rules as duikou.pipeline.choice; no elements here.

import { seconds } from "./dom.js";
import { t } from "./words.js";

const LATE_MS = 100; // an end that is late by at most this much is clamped by the server
const LONGEST_RESULT_MS = 60_000; // of a video that a sync mode lengthens
const MAX_VOLUME = 2;

/** What to do with speech that ends after the video: the wire's words, in the order in which they are offered. */
export const SYNC_MODES = ["", "cut_off", "loop", "bounce", "silence"];

/** The limits on speech, in ms and MiB, from the server's settings. */
export function limitsOf(settings) {
  return {
    minTrimMs: settings.min_speech_ms,
    minOverlapMs: settings.min_overlap_ms,
    minAudioMs: settings.min_audio_ms,
    maxAudioMs: settings.max_audio_ms,
    maxAudioMb: settings.max_audio_mb,
  };
}

/** Length in ms of the used part of a piece of speech. */
export function usedMs(speech) {
  return speech.trimEndMs - speech.trimStartMs;
}

/** When a piece of speech ends on the time line, in ms. */
export function endMs(speech) {
  return speech.insertMs + usedMs(speech);
}

/** Whether a sync mode makes the video longer than it is. */
export function lengthens(mode) {
  return mode !== "" && mode !== "cut_off";
}

/** When a piece of speech is heard, {startMs, endMs}: `cut_off` ends it with the face's interval. */
export function heard(speech, face, videoMs, mode) {
  const wanted = endMs(speech);
  const limit = Math.min(face?.endMs ?? videoMs, videoMs);
  const end = mode === "cut_off" && speech.insertMs < limit ? Math.min(wanted, limit) : wanted;
  const longer = lengthens(mode) && end > videoMs + LATE_MS;
  return { startMs: speech.insertMs, endMs: longer ? end : Math.min(end, Math.max(videoMs, speech.insertMs)) };
}

/** How long the face shows during a piece of speech, in ms, also where a sync mode lengthens the video. */
export function overlapMs(speech, face, videoMs, mode) {
  const { startMs, endMs: end } = heard(speech, face, videoMs, mode);
  const shown = [face];
  const length = lengthens(mode) && end > videoMs + LATE_MS ? end : videoMs;
  if (mode === "silence") {
    if (face.endMs >= videoMs) shown.push({ startMs: videoMs, endMs: length });
  } else {
    for (let start = videoMs, turn = 1; start < length && videoMs > 0; start += videoMs, turn += 1) {
      const back = mode === "bounce" && turn % 2;
      const from = back ? videoMs - face.endMs : face.startMs;
      const until = back ? videoMs - face.startMs : face.endMs;
      shown.push({ startMs: start + from, endMs: start + until });
    }
  }
  const shared = shown.map((one) => Math.min(one.endMs, end) - Math.max(one.startMs, startMs));
  return shared.reduce((sum, ms) => sum + Math.max(ms, 0), 0);
}

/**
 * Why the server would refuse what is in hand: [{key, sentence}], empty if it would not. key: of the piece of speech,
 * or "" for the whole. No speech at all is not named: there is nothing to refuse yet.
 */
export function problems(state, settings) {
  const found = [];
  const { session, speeches } = state;
  if (!session) return found;
  const seen = new Set();
  for (const [place, speech] of speeches.entries()) {
    const say = (key, values) => found.push({ key: speech.key, sentence: t(key, values) });
    const face = session.faces.find((one) => one.id === speech.faceId);
    if (!face) say("limits.no_face");
    else if (seen.has(face.id)) say("limits.face_twice", { face: faceNumber(session, face.id) });
    else if (place && !settings.several_faces) say("limits.one_piece");
    else if (place >= settings.max_faces) say("limits.pieces", { most: settings.max_faces });
    seen.add(speech.faceId);
    if (face) for (const [key, values] of refusals(speech, face, state, limitsOf(settings))) say(key, values);
  }
  return found;
}

/** The number by which a face is called. */
export function faceNumber(session, faceId) {
  return session.faces.findIndex((one) => one.id === faceId) + 1;
}

function* refusals(speech, face, state, limits) {
  const { video, session, syncMode: mode } = state;
  const { audio, trimStartMs, trimEndMs, insertMs, volume } = speech;
  const s = seconds;
  const number = faceNumber(session, face.id);
  if (audio.durationMs < limits.minAudioMs) {
    return yield ["limits.audio_short", { has: s(audio.durationMs), least: s(limits.minAudioMs) }];
  }
  if (audio.durationMs > limits.maxAudioMs + LATE_MS) {
    return yield ["limits.audio_long", { has: s(audio.durationMs), most: s(limits.maxAudioMs) }];
  }
  if (trimStartMs < 0) return yield ["limits.trim_before", {}];
  if (trimEndMs > audio.durationMs + LATE_MS) {
    return yield ["limits.trim_after", { end: s(trimEndMs), has: s(audio.durationMs) }];
  }
  const used = Math.min(trimEndMs, audio.durationMs) - trimStartMs;
  if (used < limits.minTrimMs) {
    return yield ["limits.trim_short", { has: s(Math.max(used, 0)), least: s(limits.minTrimMs) }];
  }
  if (insertMs < 0) return yield ["limits.before_video", {}];
  const end = insertMs + used;
  if (!mode && end > video.durationMs + LATE_MS) {
    return yield ["limits.after_video", { late: s(end - video.durationMs), video: s(video.durationMs) }];
  }
  if (lengthens(mode) && end > video.durationMs + LATE_MS && end > LONGEST_RESULT_MS) {
    return yield ["limits.result_long", { has: s(end), most: s(LONGEST_RESULT_MS) }];
  }
  const shared = overlapMs({ ...speech, trimEndMs: trimStartMs + used }, face, video.durationMs, mode);
  if (shared < limits.minOverlapMs) {
    const where = { from: s(face.startMs), to: s(face.endMs) };
    yield ["limits.overlap", { face: number, has: s(shared), least: s(limits.minOverlapMs), ...where }];
  }
  if (!(volume >= 0 && volume <= MAX_VOLUME)) yield ["limits.volume", {}];
}
