"""The port between what is wanted and what is painted: every engine takes a clip and mouth motion, none takes sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from duikou.arrays import BoolArray, Float64Array, Image
from duikou.faces.track import FaceTrack
from duikou.media.video import Video
from duikou.progress import Progress


@dataclass(frozen=True)
class FaceClip:
    """One face of one video, and how far each of its frames is to change.

    video: the footage, on the time line of the result.
    track: the face, smoothed, at every frame of the part that changes and of its surroundings.
    usable: (N,) whether the mouth can be read and changed at each of the track's frames.
    strength: (N,) 0 leaves a frame as it is, 1 changes it fully; between lies the ease in and out.
    """

    video: Video
    track: FaceTrack
    usable: BoolArray
    strength: Float64Array


class Renderer(Protocol):
    """Paints the frames of one prepared clip, in any order and from several threads."""

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` changes at all."""

    def render(self, frame: int, image: Image) -> Image:
        """Frame number `frame` with its new mouth; the very same array where nothing changes. `image` is kept."""


class Engine(Protocol):
    """Turns a clip and mouth motion into frames."""

    name: str

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> Renderer:
        """Plan the whole clip. `curves`: mouth motion by name, each (N,), at the track's frames."""
