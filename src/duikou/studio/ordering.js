// Making a task, never twice: the request and its id are kept until the answer has come.

import * as api from "./api.js";
import { tell } from "./notice.js";
import { patience } from "./patience.js";
import { adopt } from "./shown.js";
import * as state from "./state.js";

let sending = null; // the external id that is being sent by this page

/** Make the task of a request. The same request that got no clear answer before goes out under its former id. */
export function order(body) {
  const kept = state.get().ordering;
  const same = kept && JSON.stringify(kept.body) === JSON.stringify(body);
  state.set({ ordering: { body, externalId: same ? kept.externalId : newId(), sending: true, offline: false } });
  return resume({ sent: Boolean(same) });
}

/** Go on with a request whose answer was lost, as by a reload. sent: whether the server may have got it. */
export async function resume({ sent = true } = {}) {
  const kept = state.get().ordering;
  if (!kept?.sending || sending === kept.externalId) return;
  sending = kept.externalId;
  try {
    await send(kept, sent);
  } finally {
    if (sending === kept.externalId) sending = null;
  }
}

/** Give up a request that gets no answer. If the server took it, its task is cancelled. */
export async function drop() {
  const kept = state.get().ordering;
  state.set({ ordering: null });
  sending = null;
  try {
    if (kept) await api.cancel(kept.externalId);
  } catch {
    // there is no such task, or no server
  }
}

async function send({ body, externalId }, sent) {
  const wanted = () => state.get().ordering?.externalId === externalId;
  for (const tries = patience(); wanted(); ) {
    try {
      const made = sent ? await found(externalId) : null;
      sent = true;
      const task = made ?? (await api.create(body, externalId));
      if (!wanted()) return;
      state.set({ ordering: null, made: { taskId: task.task_id, body } });
      return adopt(task);
    } catch (error) {
      if (!wanted()) return;
      if (error.kind !== "offline") {
        const unsure = error.status >= 500; // a proxy may have lost the answer
        state.set({ ordering: unsure ? { body, externalId, sending: false, offline: false } : null });
        return tell(error);
      }
      state.set({ ordering: { body, externalId, sending: true, offline: true } });
    }
    await tries.wait();
  }
}

/** The task of a request that the server may have got, or null. The id of a failed one would make a second task. */
async function found(externalId) {
  try {
    return await api.task(externalId);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

function newId() {
  if (crypto.randomUUID) return crypto.randomUUID(); // only where the page is secure or on this machine
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
