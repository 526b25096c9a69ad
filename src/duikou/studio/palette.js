// One colour for each face, the same on its card, its box and its lane. Told apart by the colour-blind (Okabe and Ito).

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"];

/** The colour of the face at a place in the session's list. */
export function colour(place) {
  return COLOURS[place % COLOURS.length];
}

/** Black or white: what can be read on the colour of the face at a place. */
export function ink(place) {
  const [red, green, blue] = colour(place).slice(1).match(/../g).map((part) => (parseInt(part, 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}
