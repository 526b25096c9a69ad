"""The teeth that references lend: pictures of the same person from elsewhere, in which the mouth is open.

Colours of teeth are kept relative to the skin (see `own_teeth`). The same person has the same skin, so this matches the
light: white balance and exposure. Measured on seven people, teeth of the first half of a clip predicted from the second
half, which was given another white balance, exposure, contrast, saturation or side light: mean error of the teeth's
colour 6 % through the skin (4 % without a change), 19 % through the whites of the eyes, 21 % through the mean of the
picture, 13 % without a match. The whites are few pixels in the shade of lids; the mean depends on what else is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from duikou.arrays import Float64Array
from duikou.faces import pose
from duikou.faces.track import FacePicture
from duikou.render import interior, mesh, opening, own_teeth
from duikou.render.interior import Light, OwnTeeth
from duikou.render.mouth import MeasuredMouths, Source
from duikou.render.shape import close_lips

LEAST_BLUR = 0.3
"""Blur in pixels below which a picture counts as being as soft as the clip."""


def teeth(pictures: Sequence[FacePicture], scale: float, blur: float) -> OwnTeeth | None:
    """The rows of teeth that pictures of a face show; `None` if they show none.

    They get no finer and no sharper than the clip. scale: of the clip, in pixels per eye distance. blur: of the clip's
    hardest edges, in eye distances.
    """
    if not pictures:
        return None
    fitted = [_shrunk(picture, scale) for picture in pictures]
    head = pose.fit(np.stack([one.landmarks for one in fitted]))
    shapes = pose.to_canonical(np.stack([one.landmarks for one in fitted]), head).astype(np.float64)
    mouths = MeasuredMouths.of(head, shapes, close_lips(shapes), talks=True)
    sources = [_source(picture, mouths, row, blur) for row, picture in enumerate(fitted)]
    depths = [depth for one in fitted if (depth := interior.shadow_depth(one.image, _points(one))) is not None]
    depth = float(np.median(depths)) if depths else interior.USUAL_DEPTH
    lights = [Light.on(one.image, _points(one), depth) for one in fitted]
    return own_teeth.collect(zip(sources, lights, strict=True), float(np.median(head.scale)))


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
