// Draws a sound into a canvas.

const SCALE = 0.86; // of the height for the loudest moment
const QUIETEST = 0.1; // what peaks lower is drawn as if it peaked here: noise should not look like speech
const LEAST_PX = 1; // of a column, so that silence is a line

/**
 * Draw part of a sound. sound: as from decode(). fromMs, toMs: the part. width, height: shown size in pixels.
 */
export function drawWave(canvas, sound, { fromMs, toMs, width, height, colour }) {
  const dense = window.devicePixelRatio || 1;
  const columns = Math.max(Math.round(width * dense), 1);
  const rows = Math.max(Math.round(height * dense), 1);
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, columns, rows);
  pen.fillStyle = colour;
  const middle = rows / 2;
  const most = (middle * SCALE) / Math.max(sound.peak, QUIETEST);
  const least = LEAST_PX * dense;
  for (const [column, [low, high]] of sound.peaks(fromMs, toMs, columns).entries()) {
    const top = middle - high * most;
    const bottom = middle - low * most;
    const tall = Math.max(bottom - top, least);
    pen.fillRect(column, (top + bottom - tall) / 2, 1, tall);
  }
}
