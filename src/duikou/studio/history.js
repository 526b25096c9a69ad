// Steps back: what the pieces of speech were before each change by hand.

import { get, set } from "./state.js";

const MOST = 100;
let session = null;
let done = [];
let undone = [];
const listeners = new Set();

function current() {
  const id = get().session?.id ?? null;
  if (id !== session) [session, done, undone] = [id, [], []];
}

/** Change fields of the state so that the change can be taken back. */
export function commit(change) {
  current();
  const { speeches, syncMode } = get();
  done = [...done.slice(1 - MOST), { speeches, syncMode }];
  undone = [];
  set(change);
  tell();
}

/** Commit a change of one piece of speech. */
export function commitSpeech(key, change) {
  commit({ speeches: get().speeches.map((one) => (one.key === key ? { ...one, ...change } : one)) });
}

export function canUndo() {
  current();
  return done.length > 0;
}

export function canRedo() {
  current();
  return undone.length > 0;
}

export function undo() {
  if (canUndo()) step(done, undone);
}

export function redo() {
  if (canRedo()) step(undone, done);
}

/** Go back to the last of `from`. Volumes stay: sliders show where they were. */
function step(from, to) {
  const { speeches, syncMode } = get();
  const { speeches: before, syncMode: modeBefore } = from.pop();
  to.push({ speeches, syncMode });
  const volumes = new Map(speeches.map((one) => [one.key, one.volume]));
  const kept = before.map((one) => ({ ...one, volume: volumes.get(one.key) ?? one.volume }));
  set({ speeches: kept, syncMode: modeBefore });
  tell();
}

/** Hear when steps come or go; returns a function that ends it. */
export function onHistory(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell() {
  for (const listener of [...listeners]) listener();
}
