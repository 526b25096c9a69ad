// A closer look at both videos: around the mouth of a face, or at a place that is dragged into view.

const WIDE = 0.75; // width of what is shown around a mouth, in widths of the face's box
const TALL = 0.5; // its least height, in heights of the box
const MOUTH = 0.72; // height of the mouth in the box, from its top
const MOST = 8;

/** What shows the mouth of a face: {scale, x, y}, the middle as shares of the picture. box, picture: pixels. */
export function aroundMouth(box, picture) {
  const scale = Math.min(picture.width / (box.width * WIDE), picture.height / (box.height * TALL), MOST);
  return {
    scale: Math.max(scale, 1),
    x: (box.x + box.width / 2) / picture.width,
    y: (box.y + box.height * MOUTH) / picture.height,
  };
}

/** The whole picture. */
export const WHOLE = { scale: 1, x: 0.5, y: 0.5 };

/** Show a part of the picture in each element, which has the picture's shape. */
export function apply(elements, { scale, x, y }) {
  const shift = (middle) => Math.min(Math.max(0.5 - scale * middle, 1 - scale), 0) * 100;
  for (const element of elements) {
    element.style.transform = scale === 1 ? "" : `translate(${shift(x)}%, ${shift(y)}%) scale(${scale})`;
  }
}

/** The part that is shown after the picture was dragged by shares of its shown size. */
export function moved({ scale, x, y }, right, down) {
  const inside = (middle) => Math.min(Math.max(middle, 0.5 / scale), 1 - 0.5 / scale);
  return { scale, x: inside(inside(x) - right / scale), y: inside(inside(y) - down / scale) };
}

/** Let a pointer drag the picture. size: of the shown picture in px. look(), change(part): read and set the part. */
export function draggable(element, { size, look, change }) {
  let from = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button || look().scale === 1 || event.target.closest("[role=slider]")) return;
    from = { x: event.clientX, y: event.clientY, part: look() };
    element.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  element.addEventListener("pointermove", (event) => {
    if (!from) return;
    const { width, height } = size();
    change(moved(from.part, (event.clientX - from.x) / width, (event.clientY - from.y) / height));
  });
  for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => (from = null));
}
