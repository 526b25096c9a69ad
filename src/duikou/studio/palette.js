// One colour for each face, the same on its card, its box and its lane. Told apart by the colour-blind (Okabe and Ito).

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"];

/** The colour of the face at a place in the session's list. */
export function colour(place) {
  return COLOURS[place % COLOURS.length];
}
