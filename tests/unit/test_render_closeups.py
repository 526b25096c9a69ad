"""What one pass keeps of a face: crops of its lips within a budget, the most different ones."""

from __future__ import annotations

import numpy as np
import pytest

from duikou.arrays import Float32Array, Image
from duikou.faces import pose
from duikou.faces.track import FaceTrack
from duikou.media.decode import Frame
from duikou.render import closeups, mesh, shape
from duikou.render.closeups import STRETCH, Closeups
from duikou.render.overlay import Detector

SIDE, EYES = 320, 100.0


def landmarks(gap: float = 0.0, turn: float = 0.0) -> Float32Array:
    """A face in the middle of the picture, its lips apart by `gap` eye distances, turned by radians."""
    shapes = shape.set_gap(shape.close_lips(pose.canonical()[None].astype(np.float64)), np.array([gap]))[0]
    cos, sin = np.cos(turn), np.sin(turn)
    points = shapes @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T * EYES
    return (points + np.array([SIDE / 2, SIDE / 3, 0])).astype(np.float32)


def noise(number: int, light: int = 120) -> Image:
    """Crops of noise are large and hardly differ in size."""
    return np.random.default_rng(number).integers(light - 20, light + 20, (SIDE, SIDE, 3), np.uint8)


def filmed(looks: list[tuple[Float32Array, int]], budget: int) -> Closeups:
    """Stretches of a face, each with its own landmarks and light."""
    count = len(looks) * STRETCH
    track = FaceTrack(
        frames=np.arange(1),
        times_ms=np.zeros(1, np.int64),
        landmarks=landmarks()[None],
        presence=np.ones(1, np.float32),
        shots=np.zeros(1, np.int64),
    )
    kept = Closeups(Detector(track, (SIDE, SIDE), 40.0), budget)
    for number in range(count):
        points, light = looks[number // STRETCH]
        kept.add(Frame(number, number, 40 * number, noise(number, light)), points, 0)
    return kept


def stretches(kept: Closeups) -> list[int]:
    """The stretches of which crops are kept; all of each."""
    found = sorted({frame // STRETCH for frame in kept.crops})
    assert sorted(kept.crops) == [one * STRETCH + k for one in found for k in range(STRETCH)]
    return found


def held(kept: Closeups) -> int:
    return sum(crop.packed.nbytes for crop in kept.crops.values())


def test_a_crop_holds_the_lips_and_what_is_around_them() -> None:
    image = noise(0)
    kept = filmed([(landmarks(0.1), 120)], 1 << 30)
    crop = kept.crops[0]
    assert np.abs(crop.image.astype(int) - crop.region.cut(image)).mean() < 3
    lips = landmarks(0.1)[list(mesh.LIPS), :2]
    low, high = lips.min(0), lips.max(0)
    assert crop.region.x0 < low[0] - 0.3 * EYES and crop.region.x1 > high[0] + 0.3 * EYES
    assert crop.region.y0 < low[1] - 0.3 * EYES and crop.region.y1 > high[1] + 0.2 * EYES
    assert sorted(kept.textures) == list(range(0, STRETCH, closeups.EACH))


def test_a_face_outside_the_picture_has_no_crop() -> None:
    kept = filmed([(landmarks() + np.array([2 * SIDE, 0, 0], np.float32), 120)], 1 << 30)
    assert not kept.crops


def test_within_the_budget_all_is_kept() -> None:
    all_of = filmed([(landmarks(), 120)] * 3, 1 << 30)
    assert sorted(all_of.crops) == list(range(3 * STRETCH))
    assert sorted(filmed([(landmarks(), 120)] * 3, held(all_of)).crops) == sorted(all_of.crops)


@pytest.mark.parametrize(
    "rare", [(landmarks(0.15), 120), (landmarks(turn=0.5), 120), (landmarks(), 170)], ids=["shape", "pose", "light"]
)
def test_beyond_it_what_no_other_stretch_shows_stays(rare: tuple[Float32Array, int]) -> None:
    plain = landmarks(), 120
    looks = [plain, plain, rare, plain, plain, plain, plain]
    size = held(filmed([plain], 1 << 30))
    kept = filmed(looks, 3 * size + size // 2)
    assert held(kept) <= 3 * size + size // 2
    assert stretches(kept) == [2, 5, 6]
    assert sorted(kept.textures) == [frame for frame in kept.crops if frame % closeups.EACH == 0]


def test_the_same_clip_keeps_the_same_crops() -> None:
    looks = [(landmarks(0.02 * (k % 5), 0.1 * (k % 3)), 100 + 10 * (k % 2)) for k in range(8)]
    size = held(filmed(looks[:1], 1 << 30))
    once, again = (filmed(looks, 4 * size) for _ in range(2))
    assert list(once.crops) == list(again.crops)
    assert 3 <= len(stretches(once)) <= 4


def test_one_stretch_is_kept_whatever_its_size() -> None:
    assert stretches(filmed([(landmarks(), 120)], 1)) == [0]


def test_of_an_earlier_part_some_frames_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [(landmarks(0.02 * (k % 5)), 120) for k in range(8)]
    kept = filmed(looks, 1 << 30)
    kept.forget(0)
    assert len(stretches(kept)) == 8
    monkeypatch.setattr(closeups, "REMEMBERED", 5 * STRETCH)
    kept.forget(0)
    assert len(stretches(kept)) == 5 and {k % 5 for k in stretches(kept)} == set(range(5))  # every gap is still there
    assert sorted(kept.textures) == [frame for frame in kept.crops if frame % closeups.EACH == 0]
