// How long a task will still take, from its progress so far. Calm: it falls with the clock and rises only when it must.

const FIRST_MS = 3000; // too little has been seen before
const FIRST_SHARE = 0.03;
const MEMORY_MS = 6000; // how long it takes until a report has moved the expected end by most of what it asks for
const RISE = 1.25; // a rise that is smaller is not shown

export class Remaining {
  #first = null;
  #last = 0;
  #lastAt = 0;
  #end = null;
  #shown = Infinity;

  /** Take a report: the share of the work that is done, at a time in ms. */
  hear(share, at) {
    if (!this.#first || share < this.#last) {
      this.#first = { share, at };
      this.#end = null;
      this.#shown = Infinity;
    }
    const weight = 1 - Math.exp((this.#lastAt - at) / MEMORY_MS);
    this.#last = share;
    this.#lastAt = at;
    const done = share - this.#first.share;
    const took = at - this.#first.at;
    if (done < FIRST_SHARE || took < FIRST_MS) return;
    const expected = at + ((1 - share) * took) / done;
    this.#end = this.#end === null ? expected : this.#end + weight * (expected - this.#end);
  }

  /** Seconds that are left at a time in ms, rounded for people; null as long as nobody knows. */
  left(at) {
    if (this.#end === null) return null;
    const rounded = round(Math.max(this.#end - at, 0) / 1000);
    if (rounded < this.#shown || rounded > this.#shown * RISE + 5) this.#shown = rounded;
    return this.#shown;
  }
}

function round(seconds) {
  const step = seconds <= 60 ? 5 : seconds <= 600 ? 10 : 60;
  return Math.max(Math.ceil(seconds / step) * step, 5);
}
