"""How a face moves with its mouth: MakeHuman's face units at the landmarks, joined into gestures.

A face unit is the displacement of the whole lower face by one movement, made by MakeHuman's artists. The table holds
them for the 478 landmarks (`training/face_units.py`; CC0, origin in `face_units.json`). A gesture is a mixture of units
that changes one measure of the mouth and leaves the others alone. The mixtures were measured on talking people.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np

from duikou.arrays import Float64Array
from duikou.errors import ModelError
from duikou.faces.track import POINTS

NAME = "face_units.npz"

UNITS = ("jawOpen", "mouthClose", "mouthStretch", "mouthSmile", "mouthUpperUp", "mouthPucker")
"""Units of the table, both sides of the face together, named as in ARKit."""

GESTURES = {
    "gap": (0.00, -2.58, -0.49, 1.37, 2.62, 0.00),
    "width": (0.00, -0.03, 4.11, 3.05, 1.02, 0.00),
    "jaw": (4.16, 3.97, 0.87, -0.81, -1.52, 0.00),
    "rounding": (0.00, -0.01, 0.12, 0.09, 0.04, 0.31),
}
"""Shares of the units in each gesture. The first three change lip gap, width of the mouth and height of the chin: each
of them one, by one eye distance, and the other two not. Rounding changes none of them: it adds to a narrower mouth what
makes it round. Under these conditions the shares fit 11 talking faces best (`training/gestures.py`)."""

DEPTH = 0.25
"""Share of MakeHuman's motion away from the camera that is kept. Faces turned by 13 to 34 degrees agree best with a
quarter: MakeHuman's chin goes back by 1.4 times its way down, a landmark's by hardly anything."""


@cache
def gestures() -> dict[str, Float64Array]:
    """Displacements (478, 3), canonical, by gesture. Read-only. Raises `ModelError` if the table cannot be read."""
    table = units()
    found = {}
    for gesture, shares in GESTURES.items():
        moved = sum((share * table[unit] for unit, share in zip(UNITS, shares, strict=True)), np.zeros((POINTS, 3)))
        moved *= [1, 1, DEPTH]
        moved.flags.writeable = False
        found[gesture] = moved
    return found


def units() -> dict[str, Float64Array]:
    """The table: displacements (478, 3), canonical, of each unit at full strength. Raises `ModelError`."""
    file = resources.files("duikou.render") / NAME
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            found = {unit: arrays[unit].astype(np.float64) for unit in UNITS}
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"the table {NAME} cannot be read ({error}); install duikou again") from error
    for unit, moved in found.items():
        if moved.shape != (POINTS, 3):
            raise ModelError(f"the table {NAME} has {unit} of shape {moved.shape}, not {(POINTS, 3)}")
    return found
