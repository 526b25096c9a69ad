// The server's calls. Everything goes to the server that sent this page.

import { patience } from "./patience.js";

const KEY = "duikou.key";
const TASKS = "v1/videos/advanced-lip-sync";
const SILENCE_MS = 45_000; // a server with nothing to tell says so every 15 s

/** A refusal or a failure. kind: "refused" (the server's answer), "offline" (none came), "aborted". */
export class CallError extends Error {
  constructor(kind, message, { status = 0, code = 0, requestId = "" } = {}) {
    super(message);
    Object.assign(this, { kind, status, code, requestId });
  }

  /** Whether another key would help. */
  get needsKey() {
    return this.status === 401;
  }
}

export function key() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Keep a key in this tab only. */
export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** The address of a call, relative to the page: a proxy may serve it under another path. */
function at(path) {
  return new URL(path, document.baseURI).href;
}

/** A file's address on this page's own origin: the server may know itself by another name. */
export function own(url) {
  const given = new URL(url, document.baseURI);
  const place = given.pathname.indexOf("/files/");
  return place < 0 ? given.href : at(given.pathname.slice(place + 1) + given.search);
}

function headers() {
  return key() ? { Authorization: `Bearer ${key()}` } : {};
}

function refusal(status, text, response) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's page
  }
  const requestId = body?.request_id ?? response?.("X-Request-Id") ?? "";
  return new CallError("refused", body?.message || `HTTP ${status}`, { status, code: body?.code ?? 0, requestId });
}

async function send(path, { method = "GET", body, signal } = {}) {
  let response;
  try {
    response = await fetch(at(path), {
      method,
      signal,
      cache: "no-store",
      headers: body === undefined ? headers() : { ...headers(), "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw new CallError("aborted", "");
    throw new CallError("offline", String(error.message ?? error));
  }
  if (!response.ok) throw refusal(response.status, await response.text(), (name) => response.headers.get(name));
  return response;
}

async function call(path, options) {
  return (await (await send(path, options)).json()).data;
}

export async function settings() {
  return (await send("studio/settings.json")).json();
}

/** Store a file; onProgress hears the share that has been sent. Answers {id, url, type, size, durationMs}. */
export function upload(file, { onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
    request.open("POST", at("v1/files"));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(stored(JSON.parse(request.responseText).data));
      else reject(refusal(request.status, request.responseText, (name) => request.getResponseHeader(name)));
    };
    request.onerror = () => reject(new CallError("offline", ""));
    request.onabort = () => reject(new CallError("aborted", ""));
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

/** Let the server fetch a file. */
export async function fetchFrom(url, { signal } = {}) {
  return stored(await call("v1/files/from-url", { method: "POST", body: { url }, signal }));
}

function stored(data) {
  return { id: data.id, url: own(data.url), type: data.type, size: data.size, durationMs: ms(data.duration) };
}

/** Find the faces of a stored video: {video, session} as in the state. */
export async function identify(videoId, { signal } = {}) {
  const data = await call("v1/videos/identify-face", { method: "POST", body: { video_id: videoId }, signal });
  return {
    video: {
      id: data.video.id,
      url: own(data.video.url),
      durationMs: ms(data.video.duration),
      width: data.video.width,
      height: data.video.height,
      frameRate: data.video.frame_rate,
      warnings: data.video.warnings.map(warning),
    },
    session: {
      id: data.session_id,
      faces: data.face_data.map((face) => ({
        id: face.face_id,
        image: own(face.face_image),
        startMs: face.start_time,
        endMs: face.end_time,
        box: face.bbox,
        speaking: face.speaking.map((one) => ({ startMs: one.start_time, endMs: one.end_time })),
        warnings: face.warnings.map(warning),
      })),
      rejected: data.rejected.map(warning),
    },
  };
}

function warning(data) {
  return { code: data.code, message: data.message, startMs: data.start_time, endMs: data.end_time };
}

/** The body of a lip-sync request for the state. */
export function request(state) {
  const body = {
    session_id: state.session.id,
    face_choose: state.speeches.map((speech) => ({
      ...(speech.exclude?.length ? { exclude: speech.exclude } : {}),
      face_id: speech.faceId,
      audio_id: speech.audio.id,
      sound_start_time: Math.round(speech.trimStartMs),
      sound_end_time: Math.round(speech.trimEndMs),
      sound_insert_time: Math.round(speech.insertMs),
      sound_volume: speech.volume,
      original_audio_volume: state.originalVolume,
      original_audio_scope: state.originalScope,
    })),
  };
  if (state.syncMode) body.sync_mode = state.syncMode;
  if (state.watermark) body.watermark_info = { enabled: true };
  return body;
}

/** Check a request without making a task: {duration, estimated_time, queue_position, warnings}. */
export function dryRun(body, options) {
  return call(TASKS, { ...options, method: "POST", body: { ...body, dry_run: true } });
}

/** Make a task. externalId: the same one makes no second task. */
export function create(body, externalId) {
  return call(TASKS, { method: "POST", body: { ...body, external_task_id: externalId } });
}

/** A task's address. id: the server's, or the external one. */
function taskAt(id) {
  return `${TASKS}/${encodeURIComponent(id)}`;
}

export function task(id, options) {
  return call(taskAt(id), options);
}

export function tasks(page = 1, size = 30, options) {
  return call(`${TASKS}?pageNum=${page}&pageSize=${size}`, options);
}

export function cancel(id) {
  return call(`${taskAt(id)}/cancel`, { method: "POST" });
}

export function retry(id) {
  return call(`${taskAt(id)}/retry`, { method: "POST" });
}

export function remove(id) {
  return call(taskAt(id), { method: "DELETE" });
}

/**
 * Follow a task to its end: onTask hears every change, onOffline(true) when the server cannot be reached and
 * onOffline(false) when it is back. While the server refuses one more stream of events, the task is queried instead.
 * Resolves with the finished task; rejects if the server refuses (a revoked key).
 */
export async function watch(id, { onTask, onOffline = () => {}, signal }) {
  const tries = patience();
  let offline = false;
  for (;;) {
    try {
      // EventSource cannot send a key, so the stream of events is read here.
      const response = await send(`${taskAt(id)}/events`, { signal });
      if (offline) onOffline((offline = false));
      tries.reset();
      for await (const found of events(response.body)) {
        onTask(found);
        if (ended(found)) return found;
      }
    } catch (error) {
      const refused = error instanceof CallError && error.kind === "refused";
      if (signal?.aborted || (refused && error.status < 500 && error.status !== 429)) throw error;
      const found = refused && error.status === 429 ? await task(id, { signal }).catch(() => null) : null;
      if (found) {
        if (offline) onOffline((offline = false));
        onTask(found);
        if (ended(found)) return found;
      } else if (!offline) onOffline((offline = true));
    }
    await tries.wait();
    if (signal?.aborted) throw new CallError("aborted", "");
  }
}

function ended(found) {
  return found.task_status === "succeed" || found.task_status === "failed";
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await heard(reader);
      if (done) return;
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const data = text.slice(0, end).split("\n").filter((line) => line.startsWith("data:"));
        text = text.slice(end + 2);
        if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // lets the connection go
  }
}

/** What a stream brings next. A network that vanished ends no stream, so silence ends it here. */
function heard(reader) {
  let timer = 0;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new CallError("offline", "")), SILENCE_MS);
  });
  return Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer));
}

function ms(text) {
  return Math.round(Number(text) * 1000);
}
