// Steps back: what the pieces of speech were before each change by hand.

import { get, set } from "./state.js";

const MOST = 100;
const RUN_MS = 800; // between changes of one kind, such as by a held key, that are one step
let session = null;
let last = { kind: "", at: 0 };
let done = [];
let undone = [];
const listeners = new Set();

function current() {
  const id = get().session?.id ?? null;
  if (id !== session) [session, done, undone] = [id, [], []];
}

/** Change fields of the state so that the change can be taken back. Quick changes of one kind are taken back as one. */
export function commit(change, kind = "") {
  current();
  const { speeches, syncMode } = get();
  const now = performance.now();
  const one = kind && kind === last.kind && now - last.at < RUN_MS && done.length;
  if (!one) done = [...done.slice(1 - MOST), { speeches, syncMode }];
  last = { kind, at: now };
  undone = [];
  set(change);
  tell();
}

/** Commit a change of one piece of speech. */
export function commitSpeech(key, change) {
  const speeches = get().speeches.map((one) => (one.key === key ? { ...one, ...change } : one));
  commit({ speeches }, `${key} ${Object.keys(change)}`);
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
  last = { kind: "", at: 0 };
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
