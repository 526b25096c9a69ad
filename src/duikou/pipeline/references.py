"""Reads references: clips and photos in which the person of a chosen face opens the mouth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duikou.arrays import Float32Array, Image
from duikou.errors import InputError
from duikou.faces import appearance, pose
from duikou.faces.landmarks import roi_of
from duikou.faces.scan import Chunk, Sample, Scanner, scan, track_of
from duikou.faces.track import FacePicture
from duikou.faces.usable import MAX_YAW, MIN_LIPS_PX
from duikou.media import photo, sniff
from duikou.media.decode import Frame
from duikou.media.video import Video
from duikou.progress import Progress
from duikou.render import mesh
from duikou.render.mouth import most_open
from duikou.render.own_teeth import FRAMES

NO_FACE = (
    f"no face is found in it whose mouth is at least {MIN_LIPS_PX:.0f} pixels wide and turned by at most "
    f"{MAX_YAW:.0f} degrees."
)


@dataclass(frozen=True)
class Reference:
    """What one reference shows of the person.

    pictures: with the mouth open as far as in any. likeness: of its face to the chosen one, see `appearance.alike`.
    """

    pictures: tuple[FacePicture, ...]
    likeness: float


@dataclass(frozen=True)
class _Material:
    """A reference before a face is chosen in it. photo: the only frame; `None` for a clip. faces: usable samples."""

    video: Video | None
    photo: Frame | None
    faces: list[list[Sample]]


def read(paths: Sequence[str | Path], face: Image | Float32Array, progress: Progress) -> tuple[Reference, ...]:
    """Read references. Of several faces in one, that is taken which is most like the chosen face.

    face: (478, 3) colours of the chosen face, see `appearance.colours`.
    Raises `MediaError` for a file that cannot be read and `InputError` for one without a usable face. Both name the
    reference, as in `references[0]`.
    """
    found = []
    for number, path in enumerate(paths):

        def report(_stage: str, share: float, number: int = number) -> None:
            progress("reading references", (number + share) / len(paths))

        field = f"references[{number}]"
        try:
            found.append(_read(Path(path), field, face, report))
        except InputError as error:  # of a frame, which is named as that of any video
            raise error.renamed(field) from error
        report("", 1.0)
    return tuple(found)


def _read(path: Path, field: str, face: Image | Float32Array, progress: Progress) -> Reference:
    material = _scanned(path, field, progress)
    if not material.faces:
        raise InputError(NO_FACE, field=field)
    likeness = [_likeness(samples, face) for samples in material.faces]
    best = int(np.argmax(likeness))
    return Reference(_pictures(material, material.faces[best]), likeness[best])


def _scanned(path: Path, field: str, progress: Progress) -> _Material:
    """Find all faces of a clip or a photo."""
    if sniff.photo(path, field=field) is None:
        video, frame = Video.open(path, field=field), None
        tracklets = scan(video, progress).tracklets
    else:
        video, frame = None, Frame(0, 0, 0, photo.read(path, field=field))
        scanner = Scanner()
        scanner.step(Chunk(0, (frame,), True))
        tracklets = scanner.finish()
    usable = [[sample for sample in one.samples if sample.good] for one in tracklets]
    return _Material(video, frame, [samples for samples in usable if samples])


def _likeness(samples: list[Sample], face: Image | Float32Array) -> float:
    colours = np.median(np.stack([sample.seen.colours for sample in samples]), axis=0)
    return appearance.alike(np.asarray(colours, np.float32), face)[0]


def _pictures(material: _Material, samples: list[Sample]) -> tuple[FacePicture, ...]:
    """The pictures of a face with its widest open mouths, at different times."""
    landmarks = track_of(samples).landmarks
    gaps = mesh.lip_gap(pose.to_canonical(landmarks, pose.fit(landmarks)).astype(np.float64))
    chosen = {samples[row].frame: samples[row] for row in most_open(gaps, np.arange(len(samples)), FRAMES)}
    if material.video is None:
        assert material.photo is not None
        frames = iter([material.photo])
    else:
        frames = material.video.frames(min(chosen), max(chosen) + 1)
    return tuple(_cropped(frame, chosen[frame.index]) for frame in frames if frame.index in chosen)


def _cropped(frame: Frame, sample: Sample) -> FacePicture:
    """The face of a frame, with the margin of the landmarker's region: whole frames would fill the memory."""
    image, roi = frame.image, roi_of(sample.seen.landmarks)
    height, width = image.shape[:2]
    x0, x1 = np.clip([round(roi.x - roi.size / 2), round(roi.x + roi.size / 2)], 0, width)
    y0, y1 = np.clip([round(roi.y - roi.size / 2), round(roi.y + roi.size / 2)], 0, height)
    landmarks = sample.seen.landmarks - np.array([x0, y0, 0], np.float32)
    return FacePicture(image[y0:y1, x0:x1].copy(), landmarks)
