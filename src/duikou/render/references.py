"""The teeth that references lend: pictures of the same person from elsewhere, in which the mouth is open.

Colours of teeth are kept relative to the skin (see `own_teeth`). The same person has the same skin, so this matches the
light: white balance and exposure. Measured on seven people, teeth of the first half of a clip predicted from the second
half, which was given another white balance, exposure, contrast, saturation or side light: mean error of the teeth's
colour 6 % through the skin (4 % without a change), 19 % through the whites of the eyes, 21 % through the mean of the
picture, 13 % without a match. The whites are few pixels in the shade of lids; the mean depends on what else is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float64Array
from duikou.faces import pose
from duikou.faces.track import FacePicture
from duikou.render import interior, mesh, opening, own_teeth
from duikou.render.interior import Light, OwnTeeth, RowPicture
from duikou.render.mouth import MeasuredMouths, Source

LEAST_BLUR = 0.3
"""Blur in pixels below which a picture counts as being as soft as the clip."""

UPPER_ENDS = (0.0, 0.04)
"""Where, in eye distances below the line of the closed lips, upper teeth end: 0 to 4 mm. A smile raises the lip from
which the line is measured: its teeth would seem to end at 0.06 to 0.08."""

LOWER_STARTS = (-0.045, 0.03)
"""Where lower teeth begin when the jaw is closed, in eye distances below the end of the upper teeth: a normal overbite
is 2 to 4 mm. Lips do not tell exactly how far the jaw is down: 0.09 above was measured."""

LEAST_HEIGHT = 0.055
"""Least height of an upper row, in eye distances, with what continues under the lip: above a lower row it would be dark
when the lips part."""


def teeth(pictures: Sequence[FacePicture], scale: float, blur: float) -> OwnTeeth | None:
    """The rows of teeth that pictures of a face show; `None` if they show too little of the upper row.

    They get no finer and no sharper than the clip. scale: of the clip, in pixels per eye distance. blur: of the clip's
    hardest edges, in eye distances.
    """
    if not pictures:
        return None
    fitted = [_shrunk(picture, scale) for picture in pictures]
    head = pose.fit(np.stack([one.landmarks for one in fitted]))
    shapes = pose.to_canonical(np.stack([one.landmarks for one in fitted]), head).astype(np.float64)
    mouths = MeasuredMouths.of(head, shapes, shapes, talks=True)
    sources = [_source(picture, mouths, row, blur) for row, picture in enumerate(fitted)]
    depths = [depth for one in fitted if (depth := interior.shadow_depth(one.image, _points(one))) is not None]
    depth = float(np.median(depths)) if depths else interior.USUAL_DEPTH
    lights = [Light.on(one.image, _points(one), depth) for one in fitted]
    return _placed(own_teeth.collect(zip(sources, lights, strict=True), float(np.median(head.scale))))


def _placed(found: OwnTeeth | None) -> OwnTeeth | None:
    """The rows where a person's teeth can be; `None` if too little shows of the upper row. The lower row is placed by
    the upper one."""
    if found is None or found.upper is None or _height(found.upper) < LEAST_HEIGHT:
        return None
    ends = _edge(found.upper, up=True)
    upper, ends = _moved(found.upper, ends, UPPER_ENDS), float(np.clip(ends, *UPPER_ENDS))
    if found.lower is None:
        return OwnTeeth(upper, None)
    low, high = LOWER_STARTS
    return OwnTeeth(upper, _moved(found.lower, _edge(found.lower, up=False), (ends + low, ends + high)))


def _moved(row: RowPicture, edge: float, bounds: tuple[float, float]) -> RowPicture:
    """The row up or down, so that its biting edge, now at y `edge`, lies within `bounds`."""
    return replace(row, corner=row.corner + np.array([0.0, float(np.clip(edge, *bounds)) - edge]))


def _height(row: RowPicture) -> float:
    """Height of a row in its middle, in eye distances."""
    return float(np.median(_middle(row).sum(0))) / row.scale


def _edge(row: RowPicture, *, up: bool) -> float:
    """Canonical y of the biting edge in the middle of a row. up: the teeth go on upwards."""
    there = _middle(row)
    edge = len(there) - there[::-1].argmax(0) if up else there.argmax(0)
    return float(row.corner[1] + np.median(edge) / row.scale)


def _middle(row: RowPicture) -> BoolArray:
    """Where the teeth of the middle half of a row are: (rows, columns)."""
    there = row.coverage > 0.5
    columns = np.flatnonzero(there.any(0))
    return np.asarray(there[:, columns[len(columns) // 4 : -(len(columns) // 4) or None]], np.bool_)


def _shrunk(picture: FacePicture, scale: float) -> FacePicture:
    """The picture with a face of at most `scale` pixels per eye distance."""
    factor = scale / float(pose.fit(picture.landmarks[None]).scale[0])
    if factor >= 1:
        return picture
    height, width = picture.image.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    moved = picture.landmarks.copy()
    moved[:, :2] = (moved[:, :2] + 0.5) * [size[0] / width, size[1] / height] - 0.5
    moved[:, 2] *= factor
    return FacePicture(np.asarray(cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA), np.uint8), moved)


def _source(picture: FacePicture, mouths: MeasuredMouths, row: int, blur: float) -> Source:
    """A picture as a source, at least as soft as `blur`, in eye distances."""
    image, points = picture.image, _points(picture)
    own, wanted = interior.edge_blur(image, points), blur * float(mesh.eye_distance(points))
    missing = 0.0 if own is None else float(np.sqrt(max(wanted**2 - own**2, 0.0)))
    if missing >= LEAST_BLUR:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), missing), np.uint8)
    return mouths.source(row, image, points, opening.find(image, points))


def _points(picture: FacePicture) -> Float64Array:
    return picture.landmarks[:, :2].astype(np.float64)
