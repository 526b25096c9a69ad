// What is in hand: one plain object, kept in this tab through reloads. Modules read it, change it and hear of changes.

const KEPT = "duikou.state";

/**
 * video:     null or {id, url, name, durationMs, width, height, frameRate, warnings: [warnings]}
 * session:   null or {id, expiresAt, faces: [{id, image, startMs, endMs, box: {x, y, width, height},
 *            warnings: [{code, message, startMs, endMs}], speaking: [{startMs, endMs}]}], rejected: [warnings]}
 * speeches:  [{key, faceId, audio: {id, url, name, durationMs}, trimStartMs, trimEndMs, insertMs, volume, exclude?:
 *            [[fromMs, toMs]], when the mouth stays as it is}]
 * originalVolume, originalScope ("speech" or "video": where it applies), syncMode ("" or a mode of the wire), watermark
 * taskId:    null or the id of the task that is shown
 * ordering:  null or the request whose task is being made: {body, externalId, sending, offline}
 * made:      null or the request of the task that was made last: {taskId, body}
 */
const EMPTY = {
  video: null,
  session: null,
  speeches: [],
  originalVolume: 0,
  originalScope: "speech",
  syncMode: "",
  watermark: false,
  taskId: null,
  ordering: null,
  made: null,
};

let state = read();
const listeners = new Set();

function read() {
  try {
    return { ...EMPTY, ...JSON.parse(sessionStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return { ...EMPTY };
  }
}

export function get() {
  return state;
}

/** Change some fields. Listeners get the new state and the names of the fields that changed. */
export function set(change) {
  const names = Object.keys(change).filter((name) => state[name] !== change[name]);
  if (!names.length) return;
  state = { ...state, ...change };
  sessionStorage.setItem(KEPT, JSON.stringify(state));
  for (const listener of [...listeners]) listener(state, names);
}

/** Put everything away but nothing on the server. */
export function clear() {
  set(EMPTY);
}

/** Call `listener(state, names)` after every change; returns a function that ends it. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** A key for a new piece of speech. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(2)), (number) => number.toString(36)).join("");
}

/** Change one piece of speech, by its key. */
export function setSpeech(key, change) {
  set({ speeches: state.speeches.map((one) => (one.key === key ? { ...one, ...change } : one)) });
}
