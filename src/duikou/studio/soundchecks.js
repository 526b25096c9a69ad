// What the server would refuse of a sound file is found here, before anything is sent, with a line that mends it.

import { kindOf } from "./checks.js";
import { megabytes, seconds } from "./dom.js";
import { ffmpeg } from "./ffmpeg.js";
import { decoded } from "./sound.js";

const MIB = 1 << 20;
const TAKEN = /\.(mp3|wav|m4a|aac)$/i;
const LATE_MS = 100; // the server allows for rounded lengths
const LIGHT = "-c:a aac -b:a 96k"; // 60 s are 0.7 MiB

/**
 * Check a sound file. Resolves with {faults: [{key, values, line}], durationMs}: the words for each fault and an ffmpeg
 * line that mends it where one can; durationMs is 0 where the browser cannot decode the file, which the server may.
 */
export async function checkSound(file, limits) {
  const fault = wrongKind(file);
  if (fault) return { faults: [fault], durationMs: 0 };
  const values = { mb: megabytes(file.size), most: limits.maxAudioMb };
  const large = file.size > limits.maxAudioMb * MIB;
  if (large) return { faults: [{ key: "add.large", values, line: ffmpeg(file.name, LIGHT, "m4a") }], durationMs: 0 };
  const buffer = await decoded(await file.arrayBuffer());
  const durationMs = buffer ? Math.round(buffer.duration * 1000) : 0;
  return { faults: buffer ? lengthFaults(file.name, durationMs, limits) : [], durationMs };
}

/** The faults of a sound's length. */
export function lengthFaults(name, durationMs, limits) {
  if (durationMs < limits.minAudioMs) {
    const least = seconds(limits.minAudioMs);
    const line = ffmpeg(name, `-af apad=whole_dur=${least} ${LIGHT}`, "m4a"); // silence at its end
    return [{ key: "add.short", values: { has: seconds(durationMs), least }, line }];
  }
  if (durationMs <= limits.maxAudioMs + LATE_MS) return [];
  const most = seconds(limits.maxAudioMs);
  const line = ffmpeg(name, `-t ${most} ${LIGHT}`, "m4a");
  return [{ key: "add.long", values: { has: seconds(durationMs), most }, line }];
}

function wrongKind(file) {
  const kind = kindOf(file);
  if (kind === "picture") return { key: "add.picture", values: {} };
  if (kind === "video" || kind === "format") {
    return { key: "add.video", values: {}, line: ffmpeg(file.name, `-vn ${LIGHT}`, "m4a") };
  }
  if (kind === "other") return { key: "add.other", values: {} };
  if (!file.size) return { key: "add.empty", values: {} };
  if (TAKEN.test(file.name) || !/\.\w+$/.test(file.name)) return null;
  const extension = file.name.split(".").pop().toLowerCase();
  return { key: "add.format", values: { kind: extension }, line: ffmpeg(file.name, LIGHT, "m4a") };
}
