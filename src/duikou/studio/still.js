// Pictures from videos, one after another: a browser keeps few connections to one server, and playing needs some.

import { h } from "./dom.js";

const NEAR = "400px"; // how far from the window pictures are made
const AT_S = 0.5; // the first frame may be black
const PATIENCE_MS = 8000;
const WIDTH = 192;
const HEIGHT = 128;
const HIGH = 0.25; // where a tall picture is cut: faces are above its middle

let queue = Promise.resolve();

/** A picture that `set(id, url)` fills from a video once it comes near the window: {element, set}. */
export function still() {
  const canvas = h("canvas", { width: WIDTH, height: HEIGHT });
  const element = h("div", { class: "still", "aria-hidden": "true" }, canvas);
  let wanted = null;
  let near = false;
  const load = () => {
    const mine = wanted;
    if (near && mine) queue = queue.then(() => mine === wanted && draw(canvas, mine.url)).catch(() => {});
  };
  const seen = (entries, observer) => {
    near = entries.some((entry) => entry.isIntersecting);
    if (!near) return;
    observer.disconnect();
    load();
  };
  new IntersectionObserver(seen, { rootMargin: NEAR }).observe(element);
  return {
    element,
    set(id, url) {
      if (id === wanted?.id) return; // every answer signs its addresses anew
      wanted = { id, url };
      load();
    },
  };
}

async function draw(canvas, url) {
  const video = h("video", { muted: true, playsInline: true, preload: "auto", src: url });
  try {
    await heard(video, "loadedmetadata");
    video.currentTime = Math.min(AT_S, video.duration / 2);
    await heard(video, "seeked");
    const { videoWidth: width, videoHeight: height } = video;
    const scale = Math.max(WIDTH / width, HEIGHT / height);
    const [right, down] = [(WIDTH - width * scale) / 2, (HEIGHT - height * scale) * HIGH];
    canvas.getContext("2d").drawImage(video, right, down, width * scale, height * scale);
    canvas.dataset.drawn = "";
  } finally {
    video.removeAttribute("src"); // lets the connection go
    video.load();
  }
}

function heard(video, name) {
  return new Promise((resolve, reject) => {
    setTimeout(reject, PATIENCE_MS);
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", reject, { once: true });
  });
}
