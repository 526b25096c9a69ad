"""The interface of an engine, which takes a clip and mouth motion. No engine takes audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from duikou.arrays import BoolArray, Float64Array, IntArray
from duikou.faces.track import FacePicture, FaceTrack
from duikou.media.decode import Frame, Patch
from duikou.progress import Progress
from duikou.render.closeups import Closeups


@dataclass(frozen=True)
class FaceClip:
    """One face of one video, and how far each of its frames changes.

    track: the smoothed face in every frame of the part of the result that changes and around it.
    shown: (N,) number of the frame of the source that each row of the track shows: a longer result repeats frames.
    usable: (N,) whether the mouth can be measured and changed in each frame of the track.
    closeups: what was kept of the source's frames while the face was followed.
    strength: (N,) 0 leaves a frame as it is, 1 changes it fully; values between ease in and out.
    references: of each reference, pictures of the same person with an open mouth.
    before: what the same engine has made of an earlier part of a long speech. The face must look the same in both.
    """

    track: FaceTrack
    shown: IntArray
    usable: BoolArray
    strength: Float64Array
    closeups: Closeups
    references: tuple[tuple[FacePicture, ...], ...] = ()
    before: Renderer | None = None


class Renderer(Protocol):
    """Paints the frames of one prepared clip, in any order and from several threads."""

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` changes at all."""

    def render(self, frame: Frame) -> Patch | None:
        """The new mouth of a frame, as pixels of the part that changes; `None` if nothing changes.

        frame: with what other renderers painted on it, which the new pixels keep. Only the parts that are asked for are
        converted, see `Frame.part`.
        """


class Engine(Protocol):
    """Turns a clip and mouth motion into frames."""

    name: str

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> Renderer:
        """Plan the whole clip without reading it. curves: mouth motion by name, each (N,), at the frames of the track.

        Raises `InputError` that names a reference, such as `references[0]`, which shows nothing that the engine uses.
        """
