// What the server would refuse is found here, before anything is sent, with the figure and a line that mends it.

import { megabytes, seconds } from "./dom.js";
import { ffmpeg } from "./ffmpeg.js";

const MIB = 1 << 20;
const NAMES = /\.(mp4|m4v|mov|qt)$/i;
const TYPES = ["video/mp4", "video/quicktime", "video/x-m4v"];
const SOUNDS = /\.(mp3|wav|m4a|aac|ogg|oga|opus|flac|wma|aiff?)$/i;
const PICTURES = /\.(jpe?g|png|gif|webp|heic|avif|bmp|tiff?)$/i;
const OTHERS = /\.(webm|mkv|avi|wmv|flv|mpe?g|m2ts|mts|ts|3gp|ogv|mxf)$/i;
const READING_MS = 8000; // longest wait for a browser that does not say whether it can show a file
const SLACK_MS = 250; // browsers count a sound track that is longer than the picture
const HD = 1280 * 720;
const FULL_HD = 1920 * 1080;
const HD_SIDE = 720;
const FULL_HD_SIDE = 1080;
const MOST_KILOBITS = 12_000; // per second
const ENCODED = "-c:v libx264 -crf 18 -pix_fmt yuv420p -c:a aac";

/** What a file is, by its name and type: "video", "sound", "picture", "format" (a video of another kind) or "other". */
export function kindOf(file) {
  if (NAMES.test(file.name)) return "video";
  if (SOUNDS.test(file.name)) return "sound";
  if (PICTURES.test(file.name)) return "picture";
  if (OTHERS.test(file.name)) return "format";
  if (TYPES.includes(file.type)) return "video";
  const [group] = file.type.split("/");
  return { audio: "sound", image: "picture", video: "format" }[group] ?? "other";
}

/**
 * Check a video file against the settings of the server. Resolves with {faults: [{key, values}], line, durationMs,
 * width, height}: the words for each fault; an ffmpeg line that mends them all, empty where none can; 0 where the
 * browser cannot show the file, which the server may still read.
 */
export async function check(file, settings) {
  const kind = kindOf(file);
  if (kind === "format") {
    const extension = file.name.includes(".") ? file.name.split(".").pop().toLowerCase() : file.type;
    const line = ffmpeg(file.name, ENCODED, "mp4");
    return { faults: [{ key: "bring.bad.format", values: { kind: extension } }], line };
  }
  if (kind !== "video") return { faults: [{ key: `bring.bad.${kind}`, values: {} }], line: "" };
  if (!file.size) return { faults: [{ key: "bring.bad.empty", values: {} }], line: "" };
  const read = await facts(file);
  const found = [length(read, settings), bytes(file, read, settings), size(read, settings)].filter(Boolean);
  const faults = found.flatMap((one) => one.faults);
  const mendable = faults.length && found.every((one) => one.mend);
  const cut = found.length === 1 && found[0].mend?.startsWith("-t"); // a cut alone keeps the picture as it is
  const how = [...found.map((one) => one.mend), cut ? "-c copy" : ENCODED].join(" ");
  return { ...read, faults, line: mendable ? ffmpeg(file.name, how, cut ? undefined : "mp4") : "" };
}

function length({ durationMs }, settings) {
  const [min, max] = [seconds(settings.min_video_ms), seconds(settings.max_video_ms)];
  const values = { length: seconds(durationMs), min, max };
  if (durationMs && durationMs < settings.min_video_ms) return { faults: [{ key: "bring.bad.short", values }] };
  if (durationMs <= settings.max_video_ms + SLACK_MS) return null;
  return { faults: [{ key: "bring.bad.long", values }], mend: `-t ${max}` };
}

function bytes(file, { durationMs }, settings) {
  const most = settings.max_video_mb * MIB;
  if (file.size <= most) return null;
  const lengthMs = Math.min(durationMs || settings.max_video_ms, settings.max_video_ms);
  const kilobits = Math.min(MOST_KILOBITS, Math.floor((most * 8 * 0.85) / lengthMs));
  const values = { mb: megabytes(file.size), max: settings.max_video_mb };
  return { faults: [{ key: "bring.bad.large", values }], mend: `-maxrate ${kilobits}k -bufsize ${2 * kilobits}k` };
}

function size({ width, height }, settings) {
  if (!width || !height) return null;
  const { min_side: least, max_side: most, min_pixels: fewest, max_pixels: many } = settings;
  const { min_short_side: low, max_short_side: high } = settings;
  const [has, few, much] = [width * height, fewest, many].map((pixels) => (pixels / 1e6).toFixed(2));
  const values = { width, height, min: least, max: most, low, high, has, few, much };
  const short = Math.min(width, height);
  let key = "";
  if (short < least) key = "bring.bad.side.small";
  else if (Math.max(width, height) > most) key = "bring.bad.side.large";
  else if (short >= low && short <= high) key = "";
  else if (width * height < fewest) key = "bring.bad.pixels.small";
  else if (width * height > many) key = "bring.bad.pixels.large";
  if (!key) return null;
  const fitting = resized(width, height, settings);
  if (!fitting) return { faults: [{ key, values }, { key: "bring.bad.shape", values: {} }] };
  return { faults: [{ key, values }], mend: `-vf scale=${fitting[0]}:${fitting[1]}` };
}

/** The nearest size of the same shape that the server takes, as even numbers; null if there is none. */
function resized(width, height, settings) {
  const { min_side: least, max_side: most, min_pixels: fewest, max_pixels: many } = settings;
  const [low, high] = [Math.min(width, height), Math.max(width, height)];
  const scale = (pixels) => Math.sqrt(pixels / (width * height));
  const [short, long] = [Math.max(settings.min_short_side, HD_SIDE), Math.min(settings.max_short_side, FULL_HD_SIDE)];
  const smallest = Math.max(least / low, Math.min(scale(Math.max(fewest, HD)), short / low));
  const largest = Math.min(most / high, Math.max(scale(Math.min(many, FULL_HD)), long / low));
  if (smallest > largest) return null;
  const up = smallest > 1;
  const even = (side) => 2 * (up ? Math.ceil((side * smallest) / 2) : Math.floor((side * largest) / 2));
  return [even(width), even(height)];
}

/** Read length and size with a video element; what it cannot tell is 0. */
function facts(file) {
  const video = document.createElement("video");
  const url = URL.createObjectURL(file);
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      const durationMs = Number.isFinite(video.duration) ? Math.round(video.duration * 1000) : 0;
      resolve({ durationMs, width: video.videoWidth, height: video.videoHeight });
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(url);
    };
    const timer = setTimeout(end, READING_MS);
    video.preload = "metadata";
    video.muted = true;
    video.onloadedmetadata = end;
    video.onerror = end;
    video.src = url;
  });
}
