// The source's clock: the video element, or a clock of the page's own where the browser cannot decode the video.

const PATIENCE_MS = 600; // for what is needed to play

/**
 * video: the element. lengthMs(): what the server says, for as long as the element does not know.
 * broken: whether the browser cannot play it at all. onChange hears "play", "pause", "seek" and "broken".
 */
export function player(video, lengthMs, ended) {
  const onTimes = new Set();
  const onChanges = new Set();
  const own = { atMs: 0, since: null };
  let broken = false;
  let wanted = null;
  let frame = 0;
  let starts = 0; // so that what was paused while it got ready does not start
  let prepare = () => {};

  const tell = (set, value) => [...set].forEach((listener) => listener(value));
  const durationMs = () => (broken || !video.duration ? lengthMs() : Math.round(video.duration * 1000));
  const playing = () => (broken ? own.since !== null : !video.paused && !video.ended);

  function timeMs() {
    if (broken) return Math.min(own.atMs + (own.since === null ? 0 : performance.now() - own.since), durationMs());
    return wanted ?? video.currentTime * 1000;
  }

  function tick() {
    cancelAnimationFrame(frame);
    tell(onTimes, timeMs());
    if (broken && playing() && timeMs() >= durationMs()) pause();
    else if (playing()) frame = requestAnimationFrame(tick);
  }

  function apply() {
    if (wanted === null || video.seeking || video.readyState < 1) return;
    const to = wanted / 1000;
    wanted = null;
    if (Math.abs(video.currentTime - to) > 1e-4) video.currentTime = to;
  }

  function seek(ms) {
    const to = Math.min(Math.max(ms, 0), durationMs());
    if (broken) Object.assign(own, { atMs: to, since: own.since === null ? null : performance.now() });
    else wanted = to;
    if (!broken) apply();
    tell(onChanges, "seek");
    tell(onTimes, to);
  }

  async function play() {
    const mine = (starts += 1);
    await Promise.race([prepare(), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]).catch(() => {});
    if (mine !== starts) return;
    if (!broken) return video.play().catch(() => {});
    if (timeMs() >= durationMs()) own.atMs = 0;
    own.since = performance.now();
    tell(onChanges, "play");
    tick();
  }

  function pause() {
    starts += 1;
    if (!broken) return video.pause();
    Object.assign(own, { atMs: timeMs(), since: null });
    tell(onChanges, "pause");
    tell(onTimes, timeMs());
  }

  function on(names, listener) {
    for (const name of names) video.addEventListener(name, listener);
  }
  on(["playing"], () => {
    tell(onChanges, "play");
    tick();
  });
  on(["pause", "ended", "waiting"], () => {
    tell(onChanges, "pause");
    tell(onTimes, timeMs());
  });
  on(["seeked", "loadedmetadata"], apply);
  on(["seeked", "timeupdate", "loadeddata"], () => tell(onTimes, timeMs()));
  on(["seeking"], () => tell(onChanges, "seek"));
  on(["error"], () => {
    if (!video.getAttribute("src")) return;
    own.atMs = timeMs();
    broken = true;
    tell(onChanges, "broken");
  });
  ended.addEventListener("abort", () => {
    cancelAnimationFrame(frame);
    starts += 1;
    video.pause();
    video.removeAttribute("src"); // what it holds is freed
    video.load();
  });

  return {
    video,
    timeMs,
    seek,
    play,
    pause,
    durationMs,
    get playing() {
      return playing();
    },
    get broken() {
      return broken;
    },
    /** Show another source, or none (""). */
    load(url) {
      broken = false;
      wanted = null;
      Object.assign(own, { atMs: 0, since: null });
      if (url) video.src = url;
      else video.removeAttribute("src");
      video.load();
      tell(onChanges, "pause");
    },
    /** Wait for a promise of `fn()`, but not long, before it plays. */
    before(fn) {
      prepare = fn;
    },
    onTime: (listener) => added(onTimes, listener),
    onChange: (listener) => added(onChanges, listener),
  };
}

function added(set, listener) {
  set.add(listener);
  return () => set.delete(listener);
}
