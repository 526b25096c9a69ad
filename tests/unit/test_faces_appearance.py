"""Colours at the landmarks of a face, beside OpenCV's own conversion."""

import cv2
import numpy as np

from duikou.faces.appearance import BLUR_PX, colours
from duikou.faces.lab import lab


def test_lab_is_that_of_opencv() -> None:
    red, green, blue = np.meshgrid(*[np.arange(0, 256, 5)] * 3, indexing="ij")
    rgb = np.stack([red, green, blue], -1).astype(np.uint8).reshape(-1, 52, 3)
    found, wanted = lab(rgb).astype(int), cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(int)
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).any(-1).mean() < 0.001


def test_colours_are_those_of_the_blurred_picture_between_its_pixels() -> None:
    rng = np.random.default_rng(1)
    crop = np.asarray(cv2.resize(rng.integers(0, 256, (40, 40, 3), np.uint8), (256, 256)), np.uint8)
    points = rng.uniform(-6, 262, (478, 2))  # some lie outside, where the rim goes on
    soft = cv2.cvtColor(cv2.blur(crop, (BLUR_PX, BLUR_PX)), cv2.COLOR_RGB2LAB)
    columns, rows = points.T.astype(np.float32)[:, None]
    wanted = cv2.remap(soft, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(478, 3)
    away = np.abs(colours(crop, points).astype(int) - wanted)
    assert away.max() <= 1
    assert (away > 0).mean() < 0.01
