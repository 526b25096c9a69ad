"""The sampled frames of a face in little memory."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from known_track import FRAMES, track

from duikou.faces import track as module
from duikou.faces.track import FaceTrack, PackedTrack

PIXELS = 0.5 / 64 + 1e-4  # and what 32 bits do not tell


@pytest.fixture
def moving() -> FaceTrack:
    """A face of 600 pixels that moves far beyond the left side of a picture, and far to the right."""
    rng = np.random.default_rng(3)
    landmarks = rng.uniform(-300, 300, (FRAMES, 478, 3)) + np.linspace(-500, 8_000, FRAMES)[:, None, None]
    return replace(track(), landmarks=landmarks.astype(np.float32))


def test_unpacked_landmarks_are_off_by_less_than_half_a_step(
    moving: FaceTrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PackedTrack.of(moving)
    assert np.abs(whole.landmarks - moving.landmarks).max() <= PIXELS
    monkeypatch.setattr(module, "BLOCK", 7)
    assert np.array_equal(PackedTrack.of(moving).points[:], whole.points[:]), "in blocks the same"


def test_a_kept_track_is_the_same_to_the_bit_and_its_file_that_of_a_former_version(
    moving: FaceTrack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    packed = PackedTrack.of(moving)
    packed.save(tmp_path / "track.npz")
    again = PackedTrack.load(tmp_path / "track.npz")
    assert np.array_equal(again.landmarks, packed.landmarks)
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "track.npz").read_bytes()
    with np.load(tmp_path / "track.npz", allow_pickle=False) as file:
        former = FaceTrack(**{name: file[name] for name in file})
    assert np.array_equal(former.landmarks, packed.landmarks)
    for name in ("frames", "times_ms", "presence", "shots"):
        assert np.array_equal(getattr(former, name), getattr(moving, name))


def test_parts_are_those_of_the_track(moving: FaceTrack) -> None:
    packed = PackedTrack.of(moving)
    flags = np.arange(FRAMES) % 3 == 0
    for rows in (slice(3, 9), np.array([5, 1]), flags, slice(0, 0)):
        part, wanted = packed.part(rows), moving.part(rows)
        for name in ("frames", "times_ms", "presence", "shots"):
            assert np.array_equal(getattr(part, name), getattr(wanted, name))
        assert part.landmarks.dtype == np.float32
        assert np.array_equal(part.landmarks, packed.landmarks[rows])


def test_boxes_hold_the_landmarks(moving: FaceTrack) -> None:
    points = moving.landmarks[..., :2]
    wanted = np.hstack([points.min(1), np.ptp(points, axis=1)])
    assert np.abs(PackedTrack.of(moving).boxes - wanted).max() < 2 * PIXELS


@pytest.mark.parametrize(("first", "stop", "rows"), [(10, 20, (9, 21)), (0, 5, (0, 6)), (140, 150, (139, 150))])
def test_the_rows_around_some_frames(moving: FaceTrack, first: int, stop: int, rows: tuple[int, int]) -> None:
    found = PackedTrack.of(moving).part(PackedTrack.of(moving).around(first, stop))
    assert (found.frames[0], found.frames[-1] + 1) == rows


def test_a_frame_takes_less_than_3_kb(moving: FaceTrack) -> None:
    packed = PackedTrack.of(moving)
    assert sum(getattr(packed, one.name).nbytes for one in fields(packed)) / FRAMES < 3_000


def test_a_face_without_extent_and_a_track_without_rows() -> None:
    still = track()
    assert np.array_equal(PackedTrack.of(still).landmarks, still.landmarks)
    none = PackedTrack.of(still.part(slice(0, 0)))
    assert (len(none), none.landmarks.shape, none.boxes.shape) == (0, (0, 478, 3), (0, 4))
