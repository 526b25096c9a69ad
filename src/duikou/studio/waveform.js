// Draws a sound into a canvas.

const SCALE = 0.92; // of the height for full scale
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
  const least = LEAST_PX * dense;
  for (const [column, [low, high]] of sound.peaks(fromMs, toMs, columns).entries()) {
    const top = middle - Math.min(high, 1) * middle * SCALE;
    const bottom = middle - Math.max(low, -1) * middle * SCALE;
    const tall = Math.max(bottom - top, least);
    pen.fillRect(column, (top + bottom - tall) / 2, 1, tall);
  }
}
