// What a microphone hears: its loudness while it is heard, and its samples as a WAV file.

const QUIETEST_DB = -60;

/** Listen to a stream: level() is its loudness, 0 to 1, at the moment; end() stops listening. */
export function listen(stream) {
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 2048 });
  context.createMediaStreamSource(stream).connect(analyser);
  context.resume();
  const samples = new Float32Array(analyser.fftSize);
  return {
    context,
    level() {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
      return Math.min(1, Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / QUIETEST_DB));
    },
    end: () => context.close(),
  };
}

/**
 * Keep the samples of a stream, as one channel: elapsedMs() so far; stop() resolves with {samples, rate}, at most maxMs
 * of them, however late it is called.
 */
export async function capture(stream, context, maxMs) {
  await context.audioWorklet.addModule("studio/worklet.js");
  const source = context.createMediaStreamSource(stream);
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  const pieces = [];
  let count = 0;
  let ended = null;
  node.port.onmessage = ({ data }) => {
    if (!data) return ended?.();
    pieces.push(data);
    count += data.length;
  };
  source.connect(node);
  return {
    elapsedMs: () => (count * 1000) / context.sampleRate,
    async stop() {
      source.disconnect();
      await new Promise((resolve) => {
        ended = resolve;
        node.port.postMessage("stop");
      });
      const samples = new Float32Array(count);
      let place = 0;
      for (const piece of pieces) {
        samples.set(piece, place);
        place += piece.length;
      }
      const most = Math.floor((maxMs * context.sampleRate) / 1000);
      return { samples: samples.subarray(0, most), rate: context.sampleRate };
    },
  };
}

/** A WAV blob, PCM16, of at most `maxBytes`: at a lower rate where it would be larger. */
export async function wav({ samples, rate }, maxBytes = Infinity) {
  const highest = Math.floor((maxBytes - 44) / 2 / (samples.length / rate));
  if (rate <= highest) return encode(samples, rate);
  const lower = Math.floor(highest / 1000) * 1000;
  const context = new OfflineAudioContext(1, Math.ceil((samples.length * lower) / rate), lower);
  const buffer = new AudioBuffer({ length: samples.length, sampleRate: rate });
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return encode((await context.startRendering()).getChannelData(0), lower);
}

function encode(samples, rate) {
  const data = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, place) => data.setUint8(at + place, letter.charCodeAt(0)));
  text(0, "RIFF");
  data.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true); // PCM
  data.setUint16(22, 1, true); // channels
  data.setUint32(24, rate, true);
  data.setUint32(28, 2 * rate, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  text(36, "data");
  data.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, place) => {
    const held = Math.max(-1, Math.min(1, value));
    data.setInt16(44 + 2 * place, Math.round(held * 32_767), true);
  });
  return new Blob([data.buffer], { type: "audio/wav" });
}
