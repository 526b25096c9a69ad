// Times that people write, and times that they read.

const LONGEST_S = 60; // a whole number above it can only be meant as milliseconds

/** Read a time in ms: `1.5s`, `1.5`, `0:03.2`, `1500 ms`; null if it is none. */
export function readTime(text) {
  const plain = text
    .trim()
    .toLowerCase()
    .replace("：", ":")
    .replace(/毫秒$/, "ms")
    .replace(/秒$/, "s")
    .replace(/,(?=\d+\s*s?$)/, ".");
  const parts = /^(?:(\d+):)?(\d+(?:\.\d*)?|\.\d+)\s*(s|ms)?$/.exec(plain);
  if (!parts) return null;
  const [, minutes, number, unit] = parts;
  const value = Number(number);
  if (minutes !== undefined) {
    return unit === "ms" || value >= 60 ? null : Math.round((Number(minutes) * 60 + value) * 1000);
  }
  if (unit === "ms" || (!unit && !number.includes(".") && value > LONGEST_S)) return Math.round(value);
  return Math.round(value * 1000);
}

/** A time in ms as a field shows it, exact to the millisecond: 1.25 s. */
export function writeTime(ms) {
  return `${(Math.round(ms) / 1000).toFixed(3).replace(/0$/, "")} s`;
}
