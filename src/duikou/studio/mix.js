// What is heard before it is rendered: the original sound and the speech, mixed as duikou.media.mix.mix does.

import { heard } from "./limits.js";
import { audioContext, decode } from "./sound.js";
import { get, subscribe } from "./state.js";

const LEAD_S = 0.03; // between the decision to play and the first sample, so that nothing is late
const RAMP_S = 0.01; // of the original's gain, inside the speech
const FADE_S = 0.005; // of speech that is stopped, so that it does not click
const MOST_DRIFT_MS = 25; // between speech and picture before it is started anew; below 40 with what smoothing hides
const LOOK_MS = 100; // between looks at the drift
// What changes the mix.
const HEARD = ["speeches", "originalVolume", "originalScope", "syncMode", "session"];
const SMOOTHING = 0.3; // clocks of video elements move in steps

/**
 * Mix for a player, as long as it plays: original x originalVolume + speech x volume, kept below full scale by the same
 * limiter. Outside the speech the original is unchanged, unless originalVolume applies throughout.
 */
export function mix(shown, ended) {
  let graph = null; // made at the first play
  let playing = new Map(); // speech key -> {source, gain}
  let anchor = null; // {atS, ms}: a moment of the context's clock and of the video's
  let timer = 0;
  let drift = null;
  let run = 0;
  let before = get();

  async function start() {
    const mine = (run += 1);
    graph ??= makeGraph(shown.video);
    const { context, ready } = graph;
    const [sounds] = await Promise.all([pieces(), ready, context.resume()]);
    if (mine !== run || !shown.playing || ended.aborted) return;
    silence();
    const atS = context.currentTime + LEAD_S;
    anchor = { atS, ms: shown.timeMs() + LEAD_S * 1000 };
    drift = null;
    for (const { speech, buffer, part } of sounds) if (buffer) play(speech, buffer, part);
    duck(sounds);
    clearInterval(timer);
    timer = setInterval(look, LOOK_MS);
  }

  /** A moment of the video's time line on the context's clock. */
  function toS(ms) {
    return anchor.atS + (ms - anchor.ms) / 1000;
  }

  function play(speech, buffer, part) {
    const fromMs = Math.max(part.startMs, anchor.ms);
    if (fromMs >= part.endMs) return;
    const { context, limiter } = graph;
    const source = new AudioBufferSourceNode(context, { buffer });
    const gain = new GainNode(context, { gain: speech.volume });
    source.connect(gain).connect(limiter);
    const offsetMs = speech.trimStartMs + fromMs - part.startMs;
    source.start(toS(fromMs), offsetMs / 1000, (part.endMs - fromMs) / 1000);
    playing.set(speech.key, { source, gain });
  }

  /** The original's gain, and where the limiter works. */
  function duck(sounds) {
    if (!anchor) return;
    const { context, original, limiter } = graph;
    const { originalVolume: volume, originalScope } = get();
    const covered = unions(sounds.map((one) => one.part)).map((one) => one.map(toS));
    const now = context.currentTime;
    const settled = now + RAMP_S;
    const { usual, levelAt, inside } = originalLevel(covered, volume, originalScope);
    const always = usual !== 1;
    const gain = original.gain;
    gain.cancelScheduledValues(0);
    gain.setValueAtTime(graph.levelAt(now), now); // not gain.value, which does not follow the plan in every browser
    graph.levelAt = levelAt;
    gain.linearRampToValueAtTime(graph.levelAt(now), settled);
    const limiting = limiter.parameters?.get("limiting");
    limiting?.cancelScheduledValues(0);
    limiting?.setValueAtTime(always || inside(now) ? 1 : 0, now);
    for (const [from, to] of covered) {
      if (to <= settled) continue;
      const first = Math.max(from, settled);
      if (from > now) gain.setValueAtTime(usual, first).linearRampToValueAtTime(volume, first + RAMP_S);
      const last = Math.max(to - RAMP_S, first + RAMP_S);
      gain.setValueAtTime(volume, last).linearRampToValueAtTime(usual, last + RAMP_S);
      if (always) continue;
      limiting?.setValueAtTime(1, Math.max(from, now));
      limiting?.setValueAtTime(0, to);
    }
  }

  function silence() {
    for (const { source, gain } of playing.values()) {
      const now = graph.context.currentTime;
      gain.gain.setTargetAtTime(0, now, FADE_S / 3);
      source.stop(now + FADE_S);
    }
    playing = new Map();
  }

  function stop() {
    run += 1;
    clearInterval(timer);
    if (graph) silence();
    anchor = null;
  }

  function look() {
    if (!anchor || !shown.playing) return;
    if (!graph.own) shown.video.volume = Math.min(graph.levelAt(graph.context.currentTime), 1);
    const now = shown.timeMs() - anchor.ms - (graph.context.currentTime - anchor.atS) * 1000;
    drift = drift === null ? now : drift + SMOOTHING * (now - drift);
    if (Math.abs(drift) > MOST_DRIFT_MS) start();
  }

  function changed(state, names) {
    if (!shown.playing || !names.some((name) => HEARD.includes(name))) return;
    if (!anchor || !onlyVolumes(state, names)) return start();
    for (const { key, volume } of state.speeches) {
      playing.get(key)?.gain.gain.setTargetAtTime(volume, graph.context.currentTime, RAMP_S);
    }
    pieces().then((sounds) => anchor && duck(sounds));
  }

  function onlyVolumes(state, names) {
    if (names.some((name) => !["speeches", "originalVolume", "originalScope"].includes(name))) return false;
    const bare = (one) => JSON.stringify(one.speeches.map((speech) => ({ ...speech, volume: 0 })));
    return bare(before) === bare(state);
  }

  /** All that is needed to hear the first moment, too. */
  async function ready() {
    graph ??= makeGraph(shown.video);
    await Promise.all([pieces(), graph.ready, graph.context.resume()]);
  }

  shown.before(ready);
  shown.onChange((what) => {
    if (what === "play") start();
    else if (what === "pause") stop();
    else if (what === "seek" && shown.broken && shown.playing) start();
    else if (what === "seek") stop();
  });
  shown.video.addEventListener("seeked", () => shown.playing && start());
  const unsubscribe = subscribe((state, names) => {
    changed(state, names);
    before = state;
  });
  ended.addEventListener("abort", () => {
    unsubscribe();
    stop();
    graph?.original.disconnect();
    graph?.limiter?.disconnect();
  });
}

/**
 * The original's gain away from the ramps. covered: stretches of speech, [from, to] each. Answers {usual,
 * levelAt(time), inside(time)}: the gain without speech, the gain at a time, and whether there is speech.
 */
export function originalLevel(covered, volume, scope) {
  const usual = scope === "video" ? volume : 1;
  const inside = (time) => covered.some(([from, to]) => from <= time && time < to);
  return { usual, levelAt: (time) => (inside(time) ? volume : usual), inside };
}

/** The pieces of speech with their sound and when they are heard. */
async function pieces() {
  const { speeches, session, video, syncMode } = get();
  return Promise.all(
    speeches.map(async (speech) => {
      const face = session?.faces.find((one) => one.id === speech.faceId);
      const { buffer } = await decode(speech.audio.url, speech.audio.durationMs);
      return { speech, buffer, part: heard(speech, face, video?.durationMs ?? 0, syncMode) };
    }),
  );
}

/** Stretches that the parts cover without a gap: [startMs, endMs] in order. */
function unions(parts) {
  const found = [];
  for (const { startMs, endMs } of [...parts].sort((one, two) => one.startMs - two.startMs)) {
    const last = found.at(-1);
    if (last && startMs <= last[1]) last[1] = Math.max(last[1], endMs);
    else if (endMs > startMs) found.push([startMs, endMs]);
  }
  return found;
}

function makeGraph(video) {
  const context = audioContext();
  const original = new GainNode(context);
  // Sound from a storage of another origin is silent in the graph: the element plays it at the gain's volume.
  const own = new URL(video.src, location.href).origin === location.origin;
  if (own) context.createMediaElementSource(video).connect(original);
  const graph = { context, original, own, levelAt: () => 1, limiter: null, ready: null };
  graph.ready = limiterOf(context).then((limiter) => {
    graph.limiter = limiter;
    original.connect(limiter).connect(context.destination);
  });
  return graph;
}

async function limiterOf(context) {
  try {
    await context.audioWorklet.addModule(new URL("./limiter.js", import.meta.url));
    return new AudioWorkletNode(context, "limiter");
  } catch {
    // Pages of plain http that are not on this machine have no worklets.
    return new DynamicsCompressorNode(context, { threshold: -0.1, knee: 0, ratio: 20, attack: 0, release: 0.01 });
  }
}
