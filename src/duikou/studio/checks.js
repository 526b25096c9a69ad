// What the server would refuse is found here, before anything is sent, with the figure and a line that mends it.

import { megabytes, seconds } from "./dom.js";

const MIB = 1 << 20;
const NAMES = /\.(mp4|m4v|mov|qt)$/i;
const TYPES = ["video/mp4", "video/quicktime", "video/x-m4v"];
const SOUNDS = /\.(mp3|wav|m4a|aac|ogg|oga|opus|flac|wma|aiff?)$/i;
const PICTURES = /\.(jpe?g|png|gif|webp|heic|avif|bmp|tiff?)$/i;
const OTHERS = /\.(webm|mkv|avi|wmv|flv|mpe?g|m2ts|mts|ts|3gp|ogv|mxf)$/i;
const READING_MS = 8000; // longest wait for a browser that does not say whether it can show a file
const SLACK_MS = 250; // browsers count a sound track that is longer than the picture
const FULL_HD = 1920 * 1080;

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
 * Check a video file against the settings of the server. Resolves with {faults: [{key, values, line}], durationMs,
 * width, height, shown}: the words for each fault and an ffmpeg line that mends it where one can; 0 where the browser
 * cannot tell; shown is false where it cannot show the file, which the server may still read.
 */
export async function check(file, settings) {
  const unread = { durationMs: 0, width: 0, height: 0, shown: false };
  const kind = kindOf(file);
  if (kind === "format") {
    const extension = file.name.includes(".") ? file.name.split(".").pop().toLowerCase() : file.type;
    const line = ffmpeg(file.name, "-c:v libx264 -crf 18 -pix_fmt yuv420p -c:a aac", "mp4");
    return { ...unread, faults: [{ key: "bring.bad.format", values: { kind: extension }, line }] };
  }
  if (kind !== "video") return { ...unread, faults: [{ key: `bring.bad.${kind}`, values: {} }] };
  if (!file.size) return { ...unread, faults: [{ key: "bring.bad.empty", values: {} }] };
  const read = await facts(file);
  return { ...read, faults: [...lengthFaults(file, read, settings), ...sizeFaults(file, read, settings)] };
}

function lengthFaults(file, { durationMs }, settings) {
  const faults = [];
  const [min, max] = [seconds(settings.min_video_ms), seconds(settings.max_video_ms)];
  const length = (durationMs / 1000).toFixed(1);
  if (durationMs && durationMs < settings.min_video_ms) {
    faults.push({ key: "bring.bad.short", values: { length: seconds(durationMs), min } });
  }
  const long = durationMs > settings.max_video_ms + SLACK_MS;
  if (long) faults.push({ key: "bring.bad.long", values: { length, max }, line: ffmpeg(file.name, `-t ${max} -c copy`) });
  if (file.size > settings.max_video_mb * MIB) {
    const lengthS = Math.min(durationMs || settings.max_video_ms, settings.max_video_ms) / 1000;
    const kilobits = Math.floor((settings.max_video_mb * MIB * 8 * 0.85) / lengthS / 1000);
    const how = `${long ? `-t ${max} ` : ""}-c:v libx264 -pix_fmt yuv420p -b:v ${Math.min(kilobits, 12_000)}k -c:a aac`;
    faults.push({
      key: "bring.bad.large",
      values: { mb: megabytes(file.size), max: settings.max_video_mb },
      line: ffmpeg(file.name, how, "mp4"),
    });
    if (long) faults.splice(faults.length - 2, 1, { ...faults.at(-2), line: undefined }); // one line mends both
  }
  return faults;
}

function sizeFaults(file, { width, height }, settings) {
  if (!width || !height) return [];
  const { min_side: least, max_side: most, min_pixels: fewest, max_pixels: many } = settings;
  const [low, high] = [Math.min(width, height), Math.max(width, height)];
  const values = { width, height };
  let fault = null;
  if (low < least) fault = { key: "bring.bad.side.small", values: { ...values, min: least } };
  else if (high > most) fault = { key: "bring.bad.side.large", values: { ...values, max: most } };
  else if (width * height < fewest) fault = { key: "bring.bad.pixels.small", values };
  else if (width * height > many) fault = { key: "bring.bad.pixels.large", values };
  if (!fault) return [];
  const size = resized(width, height, settings);
  if (!size) return [fault, { key: "bring.bad.shape", values: {} }];
  const line = ffmpeg(file.name, `-vf scale=${size[0]}:${size[1]} -c:v libx264 -crf 18 -pix_fmt yuv420p -c:a copy`, "mp4");
  return [{ ...fault, line }];
}

/** The nearest size of the same shape that the server takes, as even numbers; null if there is none. */
function resized(width, height, settings) {
  const { min_side: least, max_side: most, min_pixels: fewest, max_pixels: many } = settings;
  const [low, high] = [Math.min(width, height), Math.max(width, height)];
  const smallest = Math.max(least / low, Math.sqrt(fewest / (width * height)));
  const largest = Math.min(most / high, Math.sqrt(Math.min(many, FULL_HD) / (width * height)));
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
    const end = (shown) => {
      clearTimeout(timer);
      const durationMs = Number.isFinite(video.duration) ? Math.round(video.duration * 1000) : 0;
      resolve({ durationMs, width: video.videoWidth, height: video.videoHeight, shown });
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(url);
    };
    const timer = setTimeout(() => end(false), READING_MS);
    video.preload = "metadata";
    video.muted = true;
    video.onloadedmetadata = () => end(video.videoWidth > 0);
    video.onerror = () => end(false);
    video.src = url;
  });
}

/** An ffmpeg line that makes a changed copy beside a file, with the file's name quoted for a shell. */
export function ffmpeg(name, how, extension) {
  const dot = name.lastIndexOf(".");
  const [stem, own] = dot > 0 ? [name.slice(0, dot), name.slice(dot + 1)] : [name, "mp4"];
  return `ffmpeg -i ${quoted(name)} ${how} ${quoted(`${stem}-mended.${extension ?? own}`)}`;
}

function quoted(name) {
  const safe = name.startsWith("-") ? `./${name}` : name;
  if (/^[\w.\/-]+$/.test(safe)) return safe;
  return /["$`\\!]/.test(safe) ? `'${safe.replaceAll("'", "'\\''")}'` : `"${safe}"`;
}
