"""Hard cases made from easy clips: the head turned, lit from one side, tilted, moving fast, or far away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator

from benchmarks.quality.clips import DISPLACED, Clip, frame_count
from duikou import identify
from duikou.arrays import Float32Array, Float64Array, Image, smoothstep
from duikou.errors import MediaError
from duikou.faces import pose
from duikou.faces.follow import follow
from duikou.faces.smooth import smooth
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.media.encode import VideoWriter
from duikou.media.video import Video
from duikou.render import mesh


@dataclass(frozen=True)
class Moment:
    """One frame of an easy clip: its landmarks (478, 3) in pixels, their median over the clip, and its time."""

    points: Float64Array
    usual: Float64Array
    time_s: float

    @property
    def unit(self) -> float:
        """Usual eye distance in pixels."""
        return float(mesh.eye_distance(self.usual[:, :2]))


Alteration = Callable[[Image, Moment], Image]
"""The altered picture, of the same size."""

DEPTH_PX = 60.0
"""Eye distance, in pixels, at which depth is computed."""

BEHIND, DEEPEST = 0.9, 0.7
"""Slope of the head's depth beyond the outline of the face, and maximum depth, in eye distances."""

HEAD, NECK = 0.35, 1.6
"""Distance from the outline of the face, in eye distances, up to which everything turns with the head, and from which
nothing does."""

SOFT = 0.05
"""Blur of the depth, in eye distances, that hides the triangles of the mesh."""

TURN_DEG, SWAY_DEG, SWAY_S = 46.0, 4.0, 3.1
"""Angle of the turned head, and amplitude and period of its sway."""

LAMP, AMBIENT, DIRECT, BACKGROUND = (-0.93, -0.17, -0.32), 0.15, 1.0, 0.4
"""Direction to the lamp (right, down, away from the camera); ambient light, light of the lamp, and light on the
background."""

EDGE = 0.1
"""Width, in eye distances, over which the light of the lamp fades out beyond the outline of the face."""

TILT_DEG = 30.0
WAY, WAY_S, SHUTTER_S = 0.6, 1.0, 0.02
"""Amplitude of the head's motion, in eye distances, its period, and the time that the shutter is open."""

LIPS_PX = 34.0
"""Width of the lips of a face that is far away; the product accepts 30 or more."""


def turned(image: Image, at: Moment) -> Image:
    """The head turned about its axis to the right of the image; the far side of nose and face is hidden."""
    height, width = image.shape[:2]
    away, outside = _depth(at.points, image.shape[:2])
    angle = np.radians(TURN_DEG + SWAY_DEG * np.sin(2 * np.pi * at.time_s / SWAY_S))
    oval = at.usual[list(mesh.JAW_LINE)]
    turns = 1 - smoothstep((outside.astype(np.float64) - HEAD) / (NECK - HEAD))
    x = np.arange(width, dtype=np.float64)
    to = x + turns * ((np.cos(angle) - 1) * (x - oval[:, 0].mean()) - np.sin(angle) * (away - oval[:, 2].max()))
    seen = np.maximum.accumulate(to, axis=1)  # points behind others further to the left stay hidden
    places = np.stack([np.interp(x, row, x) for row in seen]).astype(np.float32)
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, 1)
    return np.asarray(cv2.remap(image, places, rows, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def side_lit(image: Image, at: Moment) -> Image:
    """One lamp at the left, little light from elsewhere."""
    away, outside = _depth(at.points, image.shape[:2])
    slope = np.gradient(away.astype(np.float64))
    normal = np.stack([slope[1], slope[0], -np.ones(away.shape)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lit = AMBIENT + DIRECT * np.clip(normal @ (np.array(LAMP) / np.linalg.norm(LAMP)), 0, None)
    head = 1 - smoothstep(outside.astype(np.float64) / EDGE)
    light = cv2.GaussianBlur(BACKGROUND + head * (lit - BACKGROUND), (0, 0), SOFT * at.unit)
    # Light adds up in linear values; pixel values are about their square roots.
    return np.asarray(np.clip(image * np.sqrt(light)[..., None] + 0.5, 0, 255), np.uint8)


def tilted(image: Image, at: Moment) -> Image:
    """The picture rotated about the face."""
    middle = at.usual[:, :2].mean(0)
    turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), TILT_DEG, 1.0)
    return _moved(image, turn)


def fast(image: Image, at: Moment) -> Image:
    """The picture moves back and forth, with the motion blur of the open shutter."""
    pace = 2 * np.pi / WAY_S
    way = WAY * at.unit * np.sin(pace * at.time_s)
    blur = max(round(SHUTTER_S * WAY * at.unit * pace * abs(np.cos(pace * at.time_s))), 1)
    return np.asarray(cv2.blur(_moved(image, [[1, 0, way], [0, 1, 0]]), (blur, 1)), np.uint8)


def far(image: Image, at: Moment) -> Image:
    """The picture shrunk, in front of a blurred copy of itself."""
    height, width = image.shape[:2]
    lips = pose.canonical()[[mesh.LEFT_CORNER, mesh.RIGHT_CORNER], 0]
    shrink = LIPS_PX / (float(lips[1] - lips[0]) * float(pose.fit(at.usual[None].astype(np.float32)).scale[0]))
    small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    out = cv2.GaussianBlur(image, (0, 0), width / 40)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.asarray(out, np.uint8)


ALTERATIONS: dict[str, Alteration] = {
    "turned": turned,
    "side_lit": side_lit,
    "tilted": tilted,
    "fast": fast,
    "far": far,
}


def alter(clip: Clip, folder: Path) -> Clip:
    """Write the clip as it is `altered`, with its sound. Raises `MediaError` for one without a face throughout."""
    points = _landmarks(clip.video)
    usual = np.median(list(points.values()), axis=0)
    path = folder / "altered.mp4"
    with VideoWriter(path, Video.open(clip.video), read_audio(clip.video), quality=DISPLACED) as writer:
        for frame in decode.frames(clip.video, stop=frame_count(clip)):
            if frame.index not in points:
                raise MediaError(f"frame {frame.index} of {clip.video.name} shows no face.", field="video")
            moment = Moment(points[frame.index], usual, frame.time_ms / 1000)
            writer.write(ALTERATIONS[clip.altered](frame.image, moment), frame.pts)
    return replace(clip, video=path)


@cache
def _landmarks(video: Path) -> dict[int, Float64Array]:
    """By frame number the landmarks (478, 3) of the first face, calm from frame to frame."""
    session = identify(video)
    track = smooth(follow(session.source, session.faces[0]))
    return dict(zip(track.frames.tolist(), track.landmarks.astype(np.float64), strict=True))


def _moved(image: Image, by: npt.ArrayLike) -> Image:
    height, width = image.shape[:2]
    turn = np.asarray(by, np.float64)
    moved = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _depth(points: Float64Array, shape: tuple[int, ...]) -> tuple[Float32Array, Float32Array]:
    """Of each pixel: how far it lies from the camera, in pixels, and how far outside the face's outline, in eye
    distances, 0 on the face. Hair, ears and neck go back from the outline.
    """
    unit = float(mesh.eye_distance(points[:, :2]))
    shrink = min(DEPTH_PX / unit, 1.0)
    rows, columns = (max(round(side * shrink), 1) for side in shape)
    small = points[: pose.MESH_POINTS] * shrink
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    away = LinearNDInterpolator(small[:, :2], small[:, 2])(x, y)
    off = np.isnan(away)
    distance, label = cv2.distanceTransformWithLabels(
        off.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(label.max()) + 1)
    nearest[label[~off]] = away[~off]
    back = BEHIND * distance
    back = DEEPEST * DEPTH_PX * np.tanh(back / (DEEPEST * DEPTH_PX))
    whole = np.where(off, nearest[label] + back, away)
    calm = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), SOFT * unit * shrink)
    size = (shape[1], shape[0])
    return (
        np.asarray(cv2.resize(calm, size, interpolation=cv2.INTER_CUBIC) / shrink, np.float32),
        np.asarray(cv2.resize(distance, size, interpolation=cv2.INTER_LINEAR) / (unit * shrink), np.float32),
    )
