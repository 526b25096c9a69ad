"""From a choice to a planned clip: follow the face, listen to the speech, have the engine plan every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duikou.arrays import BoolArray, Float64Array, IntArray, smoothstep
from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.errors import InputError
from duikou.faces.follow import follow
from duikou.faces.identify import usable_frames
from duikou.faces.repeat import Repeated
from duikou.faces.smooth import smooth
from duikou.faces.track import Face, FaceTrack
from duikou.media.audio import Audio
from duikou.media.probe import VideoInfo
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.pipeline.choice import FaceChoice
from duikou.pipeline.session import Session
from duikou.progress import Progress, scaled, split
from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES
from duikou.timebase import Interval

EASE_MS = 160
"""Time over which a mouth passes from its own motion into the speech's and back."""

EXEMPLAR_REACH_MS = 10_000
"""How far around the spoken part a face is followed for more of its own mouth shapes."""


@dataclass(frozen=True)
class Spoken:
    """What one face was made to say, frame by frame.

    times_ms: (N,) frame times. frames: (N,) frame numbers. gap: (N,) the lip gap that the speech asks for, 0 to 1.
    strength: (N,) how far the face follows it: 0 outside the speech and where the mouth cannot be changed.
    """

    face_id: str
    interval: Interval
    frames: IntArray
    times_ms: IntArray
    gap: Float64Array
    strength: Float64Array


@dataclass(frozen=True)
class Planner:
    """Plans the faces of one lip sync.

    footage: the picture on `timeline`: the source itself unless it is lengthened. Faces are followed in the source.
    """

    session: Session
    timeline: Timeline
    footage: Video
    engine: Engine

    def plan(self, choice: FaceChoice, audio: Audio, progress: Progress) -> tuple[Renderer, Spoken]:
        """Follow the chosen face, listen to the speech, and have the engine plan the frames.

        Raises `InputError` where the face cannot be followed while the speech lasts.
        """
        source, face = self.session.source, self.session.face(choice.face_id)
        speech = Interval(choice.insert_ms, choice.insert_ms + audio.duration_ms)
        following, listening, planning = split([0.6, 0.1, 0.3])
        showing = self.timeline.showing(face.interval, speech)
        if showing is None:  # checked before, to within a frame
            raise InputError(f"face {face.id!r} is not visible while the speech lasts.", field="face_id")
        spoken, shown = showing
        track = self._follow(face, shown, scaled(progress, *following))
        usable, cuts = usable_frames(track, source.info, face), _cuts(face)
        speaks = usable & (track.times_ms >= face.interval.start_ms) & (track.times_ms < face.interval.end_ms)
        repeated = Repeated.of(
            track,
            self.timeline,
            begins_cut=face.interval.start_ms in cuts,
            ends_cut=face.interval.end_ms in cuts,
        )
        track, usable, speaks = repeated.track, usable[repeated.rows], speaks[repeated.rows]
        strength = ease(track, speaks, spoken, repeated.beside(_neighbours(face, source.info)))
        mono = audio.converted(channels=1)
        motion = articulate(mono.samples[:, 0], mono.rate).shifted(choice.insert_ms / 1000)
        progress("listening", listening[1])
        curves = motion.at(track.times_ms / 1000).astype(np.float64)
        by_name = dict(zip(CURVES, curves.T, strict=True))
        clip = FaceClip(self.footage, track, usable, strength)
        renderer = self.engine.prepare(clip, by_name, progress=scaled(progress, *planning))
        return renderer, Spoken(face.id, spoken, track.frames, track.times_ms, by_name["gap"], strength)

    def _follow(self, face: Face, shown: Interval, progress: Progress) -> FaceTrack:
        """The smoothed track of a face while it speaks, and for a while before and after."""
        source = self.session.source
        near = Interval(max(shown.start_ms - EXEMPLAR_REACH_MS, 0), shown.end_ms + EXEMPLAR_REACH_MS)
        first, last = np.searchsorted(source.frame_times.starts_ms, [near.start_ms, near.end_ms])
        track = smooth(follow(source, face, start_frame=int(first), stop_frame=int(last), progress=progress))
        if len(track) == 0:
            raise InputError(
                f"face {face.id!r} cannot be seen between {near.start_ms} and {near.end_ms} ms.", field="face_id"
            )
        return track


def ease(track: FaceTrack, usable: BoolArray, spoken: Interval, beside: Sequence[tuple[int, int]] = ()) -> Float64Array:
    """How far each of the track's frames changes, (N,) 0 to 1: 0 outside `spoken` and on unusable frames, with a short
    ramp towards them, and towards frames without the face, inside the same shot. At a cut there is nothing to ease
    from. beside: shot and time, in ms, of frames that stay and lie just outside the track.
    """
    inside = (track.times_ms >= spoken.start_ms) & (track.times_ms < spoken.end_ms) & usable
    missing = [*beside, *_missing(track)]
    strength = np.zeros(len(track))
    for shot in np.unique(track.shots):
        here = track.shots == shot
        held = np.concatenate([track.times_ms[here & ~inside], [ms for number, ms in missing if number == shot]])
        moving = track.times_ms[here & inside]
        if len(held) and len(moving):
            away = np.abs(moving[:, None] - held[None]).min(1)
            strength[here & inside] = smoothstep(away / EASE_MS)
        else:
            strength[here & inside] = 1
    return strength


def _missing(track: FaceTrack) -> list[tuple[int, int]]:
    """Shot and time of the first and the last frame of every gap of a track inside a shot."""
    gaps = np.flatnonzero((np.diff(track.frames) > 1) & (np.diff(track.shots) == 0))
    step = int(np.median(np.diff(track.times_ms) / np.diff(track.frames))) if len(gaps) else 0
    edges = [(gap, track.times_ms[gap] + step) for gap in gaps] + [
        (gap, track.times_ms[gap + 1] - step) for gap in gaps
    ]
    return [(int(track.shots[gap]), int(ms)) for gap, ms in edges]


def _neighbours(face: Face, info: VideoInfo) -> list[tuple[int, int]]:
    """Shot and time of the frames before and after a face's interval, where neither a cut nor the video's end is."""
    cuts = _cuts(face)
    step = info.duration_ms / max(info.frames, 1)
    start, end = face.interval.start_ms, face.interval.end_ms
    found = []
    if start >= step and start not in cuts:
        found.append((int(face.track.shots[0]), round(start - step)))
    if end <= info.duration_ms - step and end not in cuts:
        found.append((int(face.track.shots[-1]), end))
    return found


def _cuts(face: Face) -> set[int]:
    """When, in ms, a cut begins or ends a face's interval."""
    return {warning.interval.start_ms for warning in face.warnings if warning.code == "shot_cut"}
