"""The classifier that tells mouths apart, on drawn mouths that differ in one known way."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from mouth_maker import Drawn, draw_mouth

from benchmarks.quality import classifier
from benchmarks.quality.mouths import Mouth

SMALLER = Drawn(teeth=0.85)


def drawn(other: Drawn, clips: str = "abcd", each: int = 10) -> list[Mouth]:
    """Real mouths, and as many of ours drawn in another way."""
    return [
        draw_mouth(other if ours else Drawn(), ours=ours, clip=clip, grain=1000 * place + 100 * ours + number)
        for place, clip in enumerate(clips)
        for ours in (False, True)
        for number in range(each)
    ]


def test_what_differs_is_found_on_clips_not_seen(tmp_path: Path) -> None:
    found = classifier.tell("talking", drawn(SMALLER), tmp_path / "map.png")
    assert found is not None
    assert found.area > 0.95
    assert set(found.by_clip) == set("abcd")
    assert (found.real, found.ours) == (40, 40)
    page = np.asarray(cv2.imread(str(tmp_path / "map.png"))).astype(int)
    assert page.shape == (classifier.MAP_SIDE, 2 * classifier.MAP_SIDE, 3)
    usual, marked = page[:, : classifier.MAP_SIDE], page[:, classifier.MAP_SIDE :]
    redder = (marked[..., 2] - usual[..., 2]) - (marked[..., 0] - usual[..., 0])
    y, _ = np.unravel_index(int(cv2.GaussianBlur(redder.astype(np.float32), (0, 0), 5).argmax()), redder.shape)
    assert 0.35 < y / classifier.MAP_SIDE < 0.65
    assert redder[100:200].mean() > 3 * abs(redder[:60].mean())


def test_mouths_that_do_not_differ_are_not_told_apart(tmp_path: Path) -> None:
    found = classifier.tell("talking", drawn(Drawn()), tmp_path / "map.png")
    assert found is not None
    assert 0.3 < found.area < 0.7


def test_a_clip_without_own_real_mouths_is_set_against_all(tmp_path: Path) -> None:
    mouths = [mouth for mouth in drawn(SMALLER) if mouth.ours or mouth.clip != "a"]
    found = classifier.tell("idle", mouths, tmp_path / "map.png")
    assert found is not None
    assert found.by_clip["a"] > 0.9


def test_too_little_is_not_learnt(tmp_path: Path) -> None:
    assert classifier.tell("talking", drawn(Drawn(), "ab"), tmp_path / "map.png") is None
    assert classifier.tell("talking", drawn(Drawn(), each=3), tmp_path / "map.png") is None
    assert classifier.tell("talking", [], tmp_path / "map.png") is None
    assert not (tmp_path / "map.png").exists()


def test_only_open_mouths_are_compared_with_painted_ones() -> None:
    shut = [draw_mouth(Drawn(gap=0.01, teeth=0), ours=ours) for ours in (True, False)]
    wide = [draw_mouth(Drawn(), ours=ours) for ours in (True, False)]
    chosen = classifier.idle([*shut, *wide], wide[:1], [*shut, *wide])
    assert [mouth.ours for mouth in chosen] == [True, True, False, False]
    assert min(mouth.gap for mouth in chosen) > 0.1


def test_a_cell_holds_its_own_terms() -> None:
    picture = classifier.crop(draw_mouth(Drawn()))
    other = picture.copy()
    other[24:28, 20:24] = 255
    change = np.abs(classifier.describe(picture) - classifier.describe(other))
    cells = classifier.by_cell(change)
    assert np.unravel_index(int(cells.argmax()), cells.shape) == (6, 5)
    assert np.isclose(cells.sum(), change.sum())
