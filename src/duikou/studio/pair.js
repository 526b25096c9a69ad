// Two videos on one clock. The result tells the time; the source keeps within a frame of it.

const USUAL_FRAME_MS = 40;
const FAR_S = 0.25; // further apart, the follower jumps
const PULL = 8; // for each second apart, the follower changes its speed by this share
const MOST_PULL = 0.25;
const MEASURED = 9; // frame lengths whose median is believed

export class Pair {
  #before;
  #after;
  #wanted = false;
  #rate = 1;
  #at = 0; // start of the frame that is shown, ms
  #lengths = [];
  #given;
  #listeners = new Set();

  /** Whether to begin again at the end. */
  again = false;

  /** before, after: video elements. frameMs: length of a frame, if it is known. ended: when to stop. */
  constructor(before, after, { frameMs, ended }) {
    this.#before = before;
    this.#after = after;
    this.#given = frameMs;
    for (const video of [before, after]) {
      video.preload = "auto";
      video.playsInline = true;
      for (const name of ["waiting", "canplay", "seeked", "loadedmetadata", "ended", "error"]) {
        video.addEventListener(name, () => this.#settle(), { signal: ended });
      }
    }
    after.addEventListener("timeupdate", () => this.#tick(), { signal: ended });
    this.#watch(ended);
    ended.addEventListener("abort", () => this.#release());
  }

  /** Whether it plays, or will as soon as both have data. */
  get playing() {
    return this.#wanted;
  }

  /** Length in ms; 0 until it is known. */
  get durationMs() {
    return Number.isFinite(this.#after.duration) ? this.#after.duration * 1000 : 0;
  }

  /** Start in ms of the frame that is shown. */
  get timeMs() {
    return this.#at;
  }

  /** Length of a frame in ms: measured, else as it was given. */
  get frameMs() {
    if (this.#lengths.length < 3) return this.#given || USUAL_FRAME_MS;
    return [...this.#lengths].sort((a, b) => a - b)[Math.floor(this.#lengths.length / 2)];
  }

  get rate() {
    return this.#rate;
  }

  set rate(value) {
    this.#rate = value;
    this.#after.playbackRate = this.#before.playbackRate = value;
  }

  /** Call `listener(pair)` at every frame, and when it starts or stops. */
  onChange(listener) {
    this.#listeners.add(listener);
  }

  play() {
    if (this.#at + 1.5 * this.frameMs >= this.durationMs) this.seek(0);
    this.#wanted = true;
    this.#settle();
    this.#tell();
  }

  /** Stop, with the same frame in both. */
  pause() {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.#after.pause();
    this.#before.pause();
    this.seek(this.#at);
  }

  /** Show the frame at a time in ms: its middle is sought, since its start may round into the frame before. */
  seek(ms) {
    const frame = this.frameMs;
    this.#at = Math.min(Math.max(ms, 0), Math.max(this.durationMs - frame, 0));
    const middle = (this.#at + frame / 2) / 1000;
    for (const video of [this.#after, this.#before]) video.currentTime = within(video, middle);
    this.#tell();
  }

  /** Go some frames on or back. */
  step(count) {
    if (this.#wanted) this.pause();
    this.seek(this.#at + count * this.frameMs);
  }

  #release() {
    this.#wanted = false;
    for (const video of [this.#before, this.#after]) {
      video.pause();
      video.removeAttribute("src"); // lets the connection to the server go
      video.load();
    }
  }

  #watch(ended) {
    if (this.#after.requestVideoFrameCallback) {
      let last = null;
      const shown = (_, frame) => {
        if (ended.aborted) return;
        if (last && frame.presentedFrames === last.presentedFrames + 1) this.#measure(frame.mediaTime - last.mediaTime);
        last = frame;
        if (this.#wanted && !this.#after.seeking) this.#at = frame.mediaTime * 1000; // Firefox tells the sought time
        this.#tick();
        this.#after.requestVideoFrameCallback(shown);
      };
      this.#after.requestVideoFrameCallback(shown);
      return;
    }
    const look = () => {
      if (ended.aborted) return;
      if (this.#wanted) {
        this.#at = Math.floor((this.#after.currentTime * 1000) / this.frameMs) * this.frameMs;
        this.#tick();
      }
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }

  #measure(seconds) {
    if (!this.#wanted || seconds < 0.005 || seconds > 0.2) return;
    this.#lengths.push(seconds * 1000);
    if (this.#lengths.length > MEASURED) this.#lengths.shift();
  }

  #tick() {
    if (this.#wanted) this.#keepUp();
    this.#tell();
  }

  /** Bring the source to the time of the result: by its speed if it is near, else by a jump. */
  #keepUp() {
    const { currentTime } = this.#after;
    const target = within(this.#before, currentTime);
    const apart = this.#before.currentTime - target;
    if (target < currentTime) {
      if (!this.#before.paused) this.#before.pause();
      return;
    }
    if (this.#before.seeking) return;
    if (Math.abs(apart) > FAR_S) this.#before.currentTime = target;
    else {
      const pull = Math.abs(apart) * 1000 < this.frameMs / 8 ? 0 : apart * PULL;
      this.#before.playbackRate = this.#rate * (1 - Math.min(Math.max(pull, -MOST_PULL), MOST_PULL));
    }
  }

  /** Start both as soon as both have data, hold both while one has none, and stop at the end. */
  #settle() {
    if (this.#wanted && this.#after.ended) {
      if (this.again) this.seek(0);
      else {
        this.#wanted = false;
        this.#before.pause();
      }
    }
    if (this.#wanted) this.#run();
    this.#tell();
  }

  #run() {
    const over = this.#before.error || within(this.#before, this.#after.currentTime) < this.#after.currentTime;
    const ready = [this.#after, ...(over ? [] : [this.#before])].every((video) => video.readyState >= 3 || video.ended);
    for (const video of [this.#after, this.#before]) {
      const still = !ready || (video === this.#before && (over || video.ended));
      if (still && !video.paused) video.pause();
      else if (!still && video.paused) video.play().catch((error) => this.#refused(error));
    }
  }

  #refused(error) {
    if (error.name !== "NotAllowedError") return; // held again before it began
    this.#wanted = false;
    this.#tell();
  }

  #tell() {
    for (const listener of this.#listeners) listener(this);
  }
}

/** A time in s inside a video. */
function within(video, seconds) {
  return Number.isFinite(video.duration) ? Math.min(seconds, Math.max(video.duration - 0.001, 0)) : seconds;
}
