// Sounds as they are decoded by the browser, kept by their address.

const RATE = 48_000; // for decoding alone; what plays them adapts
const BIN = 128; // samples of a bin of the overview: fine enough that 60 s on a wide screen need no samples
const BLOCK_S = 0.05; // of sound in which channels may cancel each other
const LOST = 0.126; // power that is left of a channel where they do: -9 dB
const kept = new Map();

let context = null;

/** The page's audio context. Make it only when a user has pressed something: browsers refuse it before. */
export function audioContext() {
  context ??= new AudioContext({ latencyHint: "interactive" });
  return context;
}

/**
 * Decode the sound at an address. Answers {durationMs, peaks(fromMs, toMs, columns) -> [[min, max]...], peak, buffer,
 * problem}; peak is the largest of all. A sound that the browser cannot decode has no buffer, flat peaks, `serverMs` as
 * its length, and the key of a sentence as problem.
 */
export function decode(url, serverMs = 0) {
  if (!kept.has(url)) {
    kept.set(url, fetched(url, serverMs).then((sound) => {
      if (sound.gone) kept.delete(url); // the server may come back
      return sound;
    }));
  }
  return kept.get(url);
}

async function fetched(url, serverMs) {
  let content;
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    content = await response.arrayBuffer();
  } catch {
    return silent(serverMs, "sound.gone", true);
  }
  const buffer = await decoded(content);
  return buffer ? heard(buffer) : silent(serverMs, "sound.undecoded", false);
}

/** An AudioBuffer of a file's content, or null. */
export async function decoded(content) {
  try {
    return await new OfflineAudioContext(1, 1, RATE).decodeAudioData(content);
  } catch {
    return null;
  }
}

function silent(durationMs, problem, gone) {
  const peaks = (from, to, columns) => Array(columns).fill([0, 0]);
  return { durationMs, buffer: null, problem, gone, peak: 0, peaks };
}

function heard(buffer) {
  const samples = mono(buffer);
  const bins = overview(samples);
  const peaks = (fromMs, toMs, columns) => {
    const perColumn = ((toMs - fromMs) * buffer.sampleRate) / 1000 / columns;
    const first = (fromMs * buffer.sampleRate) / 1000;
    return Array.from({ length: columns }, (_, column) => {
      const [from, to] = [first + column * perColumn, first + (column + 1) * perColumn];
      return perColumn >= 2 * BIN ? ofBins(bins, from / BIN, to / BIN) : ofSamples(samples, from, to);
    });
  };
  const peak = bins.max.reduce((most, value, bin) => Math.max(most, value, -bins.min[bin]), 0);
  return { durationMs: Math.round(buffer.duration * 1000), buffer, problem: "", gone: false, peak, peaks };
}

/** The mean of an AudioBuffer's channels; the louder one where they cancel each other, as the server has it. */
export function mono(buffer) {
  const first = buffer.getChannelData(0);
  if (buffer.numberOfChannels === 1) return first;
  const second = buffer.getChannelData(1);
  const samples = first.map((value, place) => (value + second[place]) / 2);
  const block = Math.round(BLOCK_S * buffer.sampleRate);
  for (let start = 0; start < samples.length; start += block) {
    const power = (channel) => channel.subarray(start, start + block).reduce((sum, value) => sum + value * value, 0);
    const [left, right] = [power(first), power(second)];
    if (power(samples) < LOST * Math.max(left, right)) {
      samples.set((left < right ? second : first).subarray(start, start + block), start);
    }
  }
  return samples;
}

function overview(samples) {
  const count = Math.ceil(samples.length / BIN);
  const bins = { min: new Float32Array(count), max: new Float32Array(count) };
  for (let bin = 0; bin < count; bin += 1) {
    [bins.min[bin], bins.max[bin]] = ofSamples(samples, bin * BIN, (bin + 1) * BIN);
  }
  return bins;
}

function ofBins(bins, from, to) {
  let [low, high] = [0, 0];
  for (let bin = Math.max(Math.floor(from), 0); bin < Math.min(Math.ceil(to), bins.min.length); bin += 1) {
    if (bins.min[bin] < low) low = bins.min[bin];
    if (bins.max[bin] > high) high = bins.max[bin];
  }
  return [low, high];
}

function ofSamples(samples, from, to) {
  const first = Math.max(Math.floor(from), 0);
  const last = Math.min(Math.max(Math.ceil(to), first + 1), samples.length);
  let [low, high] = [0, 0];
  for (let place = first; place < last; place += 1) {
    const value = samples[place];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
