"""Captions and logos are found, they stay as they are, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from media_maker import make_video

from duikou.arrays import Float32Array, Image
from duikou.engines.base import FaceClip
from duikou.engines.native import NativeEngine
from duikou.faces.pose import Pose, canonical, from_canonical
from duikou.faces.track import FaceTrack
from duikou.media import decode
from duikou.media.decode import Frame
from duikou.media.video import Video
from duikou.progress import silent
from duikou.render import mesh, overlay
from duikou.render.closeups import Closeups
from duikou.render.warp import Region
from duikou.speech.motion import CURVES

WIDTH, HEIGHT, FRAMES, EYES = 320, 240, 40, 100.0
SWAY = 4.0
SHOWN = range(12, 30)
LETTERS = 200


def offset(number: int) -> int:
    """Where the head is at a frame, in pixels to the right."""
    return round(SWAY * np.sin(number / 3))


def track(*, moves: bool = True) -> FaceTrack:
    place = np.array([[WIDTH / 2 + moves * offset(number), 90.0, 0.0] for number in range(FRAMES)])
    pose = Pose(np.full(FRAMES, EYES), np.repeat(np.eye(3)[None], FRAMES, 0), place)
    return FaceTrack(
        frames=np.arange(FRAMES),
        times_ms=np.arange(FRAMES) * 40,
        landmarks=from_canonical(canonical(), pose),
        presence=np.ones(FRAMES, np.float32),
        shots=np.zeros(FRAMES, np.int64),
    )


def outline(number: int, *, moves: bool = True) -> npt.NDArray[np.int32]:
    """The face's edge at a frame, a little outside its landmarks."""
    hull = cv2.convexHull(np.ascontiguousarray(track(moves=moves).landmarks[number, :, :2]))[:, 0]
    return np.round(hull + 0.06 * (hull - hull.mean(0))).astype(np.int32)


def face(number: int, width: int, height: int, *, moves: bool = True) -> Image:
    """A skin with spots and lips, which sways on its neck before a still, striped wall."""
    image = np.repeat(np.where(np.arange(width) // 16 % 2, 90, 60)[None, :, None], height, 0)
    image = np.ascontiguousarray(image.repeat(3, 2), np.uint8)
    shift = offset(number) if moves else 0
    cv2.rectangle(image, (width // 2 + shift - 70, 150), (width // 2 + shift + 70, height), (100, 130, 170), -1)
    cv2.fillConvexPoly(image, outline(number, moves=moves), (120, 150, 190))
    for spot in np.random.default_rng(2).uniform(-45, 45, (60, 2)):
        cv2.circle(image, (int(width // 2 + shift + spot[0]), int(120 + spot[1])), 2, (90, 110, 150), -1)
    lips = track(moves=moves).landmarks[number, list(mesh.OUTER_RING), :2]
    cv2.fillPoly(image, [np.round(lips).astype(np.int32)], (60, 60, 170))
    return image


def letters() -> Image:
    """Alpha, 0 to 255, of the caption's letters."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(mask, "HELLO", (118, 186), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 3)
    return mask


def captioned(number: int, width: int, height: int) -> Image:
    image = face(number, width, height)
    image[letters() > LETTERS] = 255
    return image if number in SHOWN else face(number, width, height)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Video:
    path = tmp_path_factory.mktemp("overlay") / "captioned.mp4"
    return Video.open(make_video(path, size=(WIDTH, HEIGHT), frames=FRAMES, paint=captioned, options={"crf": "12"}))


@pytest.fixture(scope="module")
def images(video: Video) -> list[Image]:
    return [frame.image for frame in video.frames()]


def detected(video: Video, of: FaceTrack) -> overlay.Overlays:
    """The overlays of all frames."""
    return looked_through(video, of).overlays


def looked_through(video: Video, of: FaceTrack) -> overlay.Detector:
    """A detector that took all frames."""
    detector = overlay.Detector(of, (WIDTH, HEIGHT), 40.0)
    for frame, points in zip(video.frames(), of.landmarks[..., :2].astype(np.float64), strict=True):
        detector.add(frame, points, 0)
    return detector


def alpha(found: overlay.Overlays, number: int, image: Image) -> Float32Array:
    """The overlay mask of one frame, over the whole picture."""
    whole = np.zeros((HEIGHT, WIDTH), np.float32)
    seen = found.mask_at(number, image)
    if seen is not None:
        rows, columns = seen.place.inside(Region(0, 0, WIDTH, HEIGHT))
        whole[rows, columns] = seen.alpha
    return whole


def test_a_caption_is_masked_while_it_is_visible(video: Video, images: list[Image]) -> None:
    found = detected(video, track())
    ink = letters() > LETTERS
    around = cv2.dilate(ink.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    for number, image in enumerate(images):
        mask = alpha(found, number, image)
        assert mask[ink].min() == (1 if number in SHOWN else 0), number
        on_face = cv2.fillConvexPoly(np.zeros((HEIGHT, WIDTH), np.uint8), outline(number), 1) > 0
        assert not mask[~around & on_face].any()


@pytest.mark.parametrize("moves", [True, False])
def test_a_face_is_no_caption_whether_it_moves_or_not(tmp_path: Path, moves: bool) -> None:
    """Before a still wall, too; of a still face every edge is fixed."""

    def paint(number: int, width: int, height: int) -> Image:
        return face(number, width, height, moves=moves)

    clip = make_video(tmp_path / "face.mp4", size=(WIDTH, HEIGHT), frames=FRAMES, paint=paint)
    assert detected(Video.open(clip), track(moves=moves)).items == ()


def test_a_box_is_masked_with_its_letters(tmp_path: Path) -> None:
    def paint(number: int, width: int, height: int) -> Image:
        image = face(number, width, height)
        cv2.rectangle(image, (100, 158), (220, 192), (20, 20, 20), -1)
        image[letters() > LETTERS] = 255
        return image

    clip = make_video(tmp_path / "box.mp4", size=(WIDTH, HEIGHT), frames=FRAMES, paint=paint, options={"crf": "12"})
    found = detected(Video.open(clip), track())
    mask = alpha(found, 20, next(frame.image for frame in decode.frames(clip, start=20)))
    assert mask[160:191, 102:219].min() == 1
    assert not mask[:150].any()


def test_a_caption_is_inpainted_from_its_surroundings(video: Video, images: list[Image]) -> None:
    found = detected(video, track())
    bare = found.inpaint(20, images[20])
    ink = letters() > LETTERS
    assert images[20][ink].mean() > 240
    assert np.abs(bare[ink].astype(int) - face(20, WIDTH, HEIGHT)[ink]).mean() < 25
    assert found.inpaint(2, images[2]) is images[2]


@pytest.mark.parametrize("at", [Region(90, 140, 230, 210), Region(101, 121, 160, 239), Region(170, 130, 320, 190)])
def test_a_part_of_a_frame_has_the_same_part_of_the_mask(video: Video, images: list[Image], at: Region) -> None:
    found = detected(video, track())
    for number in (2, 20):
        whole = alpha(found, number, images[number])[at.y0 : at.y1, at.x0 : at.x1]
        seen = found.mask_at(number, at.cut(images[number]), at)
        part = np.zeros(at.shape, np.float32)
        if seen is not None:
            part[seen.place.inside(at)] = seen.alpha
        assert np.array_equal(part, whole)
        assert part.any() == (number == 20)
    assert (
        np.abs(found.inpaint(20, at.cut(images[20]), at).astype(int) - at.cut(found.inpaint(20, images[20]))).max() < 30
    )
    assert found.mask_at(20, images[20][:100], Region(0, 0, WIDTH, 100)) is None


def test_left_out_frames_begin_a_new_window(video: Video) -> None:
    """The caption shows for 0.7 s; no window fits between frames that are left out every 0.24 s."""
    detector = overlay.Detector(track(), (WIDTH, HEIGHT), 40.0)
    for frame, points in zip(video.frames(), track().landmarks[..., :2].astype(np.float64), strict=True):
        if frame.index % 6:
            detector.add(frame, points, 0)
    assert detector.overlays.items == ()


def test_captions_are_forgotten_that_no_needed_frame_shows(video: Video) -> None:
    detector = looked_through(video, track())
    found = detector.overlays.items
    assert found
    later = FRAMES + round(overlay.MAX_BLOCKS * overlay.BLOCK_MS / 40)
    for start, frames in ((FRAMES, []), (later, [SHOWN[0]]), (later, [3 * later, SHOWN[-1]])):
        detector.forget(start, frames)
        assert detector.overlays.items == found
    detector.forget(later, [3 * later])
    assert detector.overlays.items == ()


def test_exemplars_with_occluded_lips_are_reported(video: Video) -> None:
    found = detected(video, track())
    points = track().landmarks[..., :2].astype(np.float64)
    lower = points + np.array([0, 40])
    assert not found.occlude_lips(np.arange(FRAMES), points).any()
    assert found.occlude_lips(np.arange(FRAMES), lower)[list(SHOWN)].all()
    assert not found.occlude_lips(np.arange(FRAMES) + 100, lower).any()


def test_the_mouth_moves_behind_the_caption(video: Video, images: list[Image]) -> None:
    """Letters stay as they are to the grey level, the chin around them does not."""
    followed = replace(track(), colours=np.full((FRAMES, 478, 3), 128, np.float32))
    closeups = Closeups.of(video, followed)
    for frame, landmarks in zip(video.frames(), followed.landmarks, strict=True):
        closeups.add(frame, landmarks, 0)
    clip = FaceClip(followed, np.arange(FRAMES), np.ones(FRAMES, bool), np.ones(FRAMES), closeups)
    curves = {name: np.zeros(FRAMES) for name in CURVES} | {"gap": np.ones(FRAMES), "voice": np.ones(FRAMES)}
    curves |= {"jaw": np.ones(FRAMES)}
    renderer = NativeEngine().prepare(clip, curves, progress=silent)
    patch = renderer.render(Frame(20, 0, 0, images[20]))
    assert patch is not None
    done = Frame(20, 0, 0, images[20]).painted(patch).image
    ink = letters() > LETTERS
    assert np.array_equal(done[ink], images[20][ink])
    lips = np.round(clip.track.landmarks[20, mesh.LOWER_MID, :2]).astype(int)
    changed = np.abs(done.astype(int) - images[20]).max(-1) > 8
    assert changed[lips[1] : lips[1] + 30, lips[0] - 20 : lips[0] + 20].mean() > 0.2
