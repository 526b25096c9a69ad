"""The sheet for the eye."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from lips_maker import make_lips

from benchmarks.quality import sheet
from duikou.render import mesh


def test_the_most_different_mouths_are_chosen_in_time_order() -> None:
    gap, width = np.full(50, 0.1), np.full(50, 0.5)
    gap[7], gap[31], width[20] = 0.0, 0.3, 0.8
    chosen = sheet.different(gap, width, 4)
    assert chosen.tolist() == sorted(chosen.tolist())
    assert {7, 20, 31} <= set(chosen.tolist())
    assert sheet.different(gap[:3], width[:3]).max() <= 2


def test_a_cell_shows_the_mouth_upright() -> None:
    points = make_lips([0.1]).track.landmarks[0, :, :2].astype(np.float64)
    image = np.zeros((400, 400, 3), np.uint8)
    cv2.fillPoly(image, [np.round(points[list(mesh.OUTER_RING)]).astype(np.int32)], (255, 255, 255))
    turn = cv2.getRotationMatrix2D((200, 200), 30, 1.0)
    turned = cv2.warpAffine(image, turn, (400, 400)).astype(np.uint8)
    upright, again = sheet.mouth(image, points), sheet.mouth(turned, points @ turn[:, :2].T + turn[:, 2])
    assert upright.mean() > 20
    assert np.abs(upright.astype(int) - again).mean() < 6


def test_the_page_holds_every_strip_and_the_curves(tmp_path: Path) -> None:
    cell = np.full((sheet.CELL, sheet.CELL, 3), (0, 200, 0), np.uint8)
    times = np.arange(30) / 25
    curves = {"real": np.sin(times), "ours": np.cos(times)}
    plot = sheet.Plot(times, curves, [(0.2, 0.4)])
    strips = [sheet.Strip("few", [cell] * 3), sheet.Strip("many", [cell] * 20)]
    page = np.asarray(cv2.imread(str(sheet.write(tmp_path / "a" / "b.png", "b", strips, plot))))
    green = np.equal(page, (0, 200, 0)).all(2).sum() / sheet.CELL**2
    assert green == 3 + sheet.COLUMNS
    assert np.equal(page, sheet.CLOSING).all(2).any()


def test_large_mouths_are_numbered_in_rows(tmp_path: Path) -> None:
    cells = [np.full((sheet.CONTACT_CELL, sheet.CONTACT_CELL, 3), (0, 200, 0), np.uint8)] * 5
    page = np.asarray(cv2.imread(str(sheet.contact(tmp_path / "a" / "b.png", cells, 2))))
    assert np.equal(page, (0, 200, 0)).all(2).sum() == 5 * sheet.CONTACT_CELL**2
    assert page.shape[1] == 2 * (sheet.CONTACT_CELL + sheet.GAP) + sheet.GAP
    assert (page[-sheet.CONTACT_CELL :, -sheet.CONTACT_CELL :] == sheet.PAPER).all()
