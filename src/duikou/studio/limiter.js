// An audio worklet: the look-ahead limiter of duikou.media.mix, sample by sample. It delays what passes by 10 ms.

const CEILING = 10 ** (-0.1 / 20); // -0.1 dBFS
const LOOK_AHEAD_S = 0.005;

class Limiter extends AudioWorkletProcessor {
  static get parameterDescriptors() {
    return [{ name: "limiting", defaultValue: 0, minValue: 0, maxValue: 1, automationRate: "a-rate" }];
  }

  constructor() {
    super();
    const reach = Math.round(LOOK_AHEAD_S * sampleRate);
    this.reach = reach;
    this.size = 4 * reach + 2;
    this.needed = new Float64Array(this.size).fill(1); // the gain that each sample needs
    this.held = new Float64Array(this.size).fill(1); // the smallest of these within reach
    this.delayed = [new Float32Array(this.size), new Float32Array(this.size)];
    const hann = (_, k) => 1 - Math.cos((2 * Math.PI * (k + 1)) / (2 * reach + 2));
    this.window = Float64Array.from({ length: 2 * reach + 1 }, hann);
    const sum = this.window.reduce((total, weight) => total + weight, 0);
    this.window = this.window.map((weight) => weight / sum);
    this.now = 0; // counts samples
    this.loud = -Infinity; // the last sample that needs less than 1
  }

  process([input], [output], { limiting }) {
    const { reach, size, needed, held, delayed, window } = this;
    for (let place = 0; place < output[0].length; place += 1, this.now += 1) {
      const n = this.now;
      let peak = 0;
      for (let channel = 0; channel < delayed.length; channel += 1) {
        const value = input.length ? input[Math.min(channel, input.length - 1)][place] : 0;
        delayed[channel][n % size] = value;
        peak = Math.max(peak, Math.abs(value));
      }
      const on = (limiting.length > 1 ? limiting[place] : limiting[0]) > 0.5;
      needed[n % size] = on && peak > CEILING ? CEILING / peak : 1;
      if (needed[n % size] < 1) this.loud = n;
      const quiet = n - this.loud > 4 * reach;
      held[(n - reach + size) % size] = quiet ? 1 : this.smallest(n);
      const out = (n - 2 * reach + size) % size;
      let gain = 1;
      if (!quiet) {
        gain = 0;
        for (let k = 0; k <= 2 * reach; k += 1) gain += window[k] * held[(n - 3 * reach + k + 2 * size) % size];
        gain = Math.min(gain, needed[out]);
      }
      for (let channel = 0; channel < output.length; channel += 1) {
        output[channel][place] = delayed[Math.min(channel, 1)][out] * gain;
      }
    }
    return true;
  }

  /** The smallest gain that a sample within reach of n - reach needs. */
  smallest(n) {
    let least = 1;
    for (let k = 0; k <= 2 * this.reach; k += 1) least = Math.min(least, this.needed[(n - k + this.size) % this.size]);
    return least;
  }
}

registerProcessor("limiter", Limiter);
