// Waiting between tries of a server that does not answer.

const FIRST_MS = 500;
const LONGEST_MS = 10_000;

/** Waits, each twice as long as the last up to 10 s. firstMs: the first one. */
export function patience(firstMs = FIRST_MS) {
  let ms = firstMs;
  return {
    /** Wait before the next try. */
    async wait() {
      const now = ms;
      ms = Math.min(ms * 2, LONGEST_MS);
      await new Promise((resolve) => setTimeout(resolve, now));
    },
    /** Begin with the first wait again: the server has answered. */
    reset() {
      ms = firstMs;
    },
  };
}
