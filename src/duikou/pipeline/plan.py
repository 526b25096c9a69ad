"""Plans a chosen face: follows it, derives the mouth's motion from the speech and lets the engine plan every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duikou.arrays import BoolArray, Float64Array, IntArray, smoothstep
from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.errors import InputError
from duikou.faces.follow import follow
from duikou.faces.identify import usable_frames
from duikou.faces.repeat import ResultTrack
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
"""Duration of the transition from a mouth's own motion to that of the speech, and back."""

EXEMPLAR_REACH_MS = 10_000
"""How far before and after the spoken part a face is followed, to find more of its mouth shapes."""


@dataclass(frozen=True)
class Spoken:
    """The requested mouth motion of one face, frame by frame.

    frames: (N,) frame numbers. times_ms: (N,) frame times. gap: (N,) the lip gap that the speech requires, 0 to 1.
    strength: (N,) how far the face follows it, 0 to 1. It is 0 outside the speech and where the mouth cannot change.
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

    footage: a video with the frames of `timeline`: the source, or a lengthened copy. Faces are followed in the source.
    """

    session: Session
    timeline: Timeline
    footage: Video
    engine: Engine

    def plan(self, choice: FaceChoice, audio: Audio, progress: Progress) -> tuple[Renderer, Spoken]:
        """Follow the chosen face, derive its motion from the speech, and let the engine plan the frames.

        Raises `InputError` where the face cannot be followed during the speech.
        """
        source, face = self.session.source, self.session.face(choice.face_id)
        speech = Interval(choice.insert_ms, choice.insert_ms + audio.duration_ms)
        following, listening, planning = split([0.6, 0.1, 0.3])
        showing = self.timeline.showing(face.interval, speech)
        if showing is None:  # the check of choices is accurate to a frame only
            raise InputError(f"face {face.id!r} is not visible during the speech.", field="face_id")
        spoken, shown = showing
        track = self._follow(face, shown, scaled(progress, *following))
        usable, cuts = usable_frames(track, source.info, face), _cuts(face)
        speaks = usable & (track.times_ms >= face.interval.start_ms) & (track.times_ms < face.interval.end_ms)
        result = ResultTrack.of(
            track,
            self.timeline,
            begins_cut=face.interval.start_ms in cuts,
            ends_cut=face.interval.end_ms in cuts,
        )
        track, usable, speaks = result.track, usable[result.rows], speaks[result.rows]
        strength = ease(track, speaks, spoken, result.neighbours(_neighbours(face, source.info)))
        mono = audio.converted(channels=1)
        motion = articulate(mono.samples[:, 0], mono.rate).shifted(choice.insert_ms / 1000)
        progress("listening", listening[1])
        curves = motion.at(track.times_ms / 1000).astype(np.float64)
        by_name = dict(zip(CURVES, curves.T, strict=True))
        clip = FaceClip(self.footage, track, usable, strength)
        renderer = self.engine.prepare(clip, by_name, progress=scaled(progress, *planning))
        return renderer, Spoken(face.id, spoken, track.frames, track.times_ms, by_name["gap"], strength)

    def _follow(self, face: Face, shown: Interval, progress: Progress) -> FaceTrack:
        """The smoothed track of a face over `shown`, and `EXEMPLAR_REACH_MS` before and after it."""
        source = self.session.source
        near = Interval(max(shown.start_ms - EXEMPLAR_REACH_MS, 0), shown.end_ms + EXEMPLAR_REACH_MS)
        first, last = np.searchsorted(source.frame_times.starts_ms, [near.start_ms, near.end_ms])
        track = smooth(follow(source, face, start_frame=int(first), stop_frame=int(last), progress=progress))
        if len(track) == 0:
            raise InputError(
                f"face {face.id!r} is not visible between {near.start_ms} ms and {near.end_ms} ms.", field="face_id"
            )
        return track


def ease(
    track: FaceTrack, usable: BoolArray, spoken: Interval, neighbours: Sequence[tuple[int, int]] = ()
) -> Float64Array:
    """How far each frame of the track changes, (N,) 0 to 1.

    It is 0 outside `spoken` and on unusable frames. Inside a shot it ramps towards these frames and towards frames
    without the face. At a cut there is no ramp.
    neighbours: shot and time in ms of unchanged frames just outside the track.
    """
    inside = (track.times_ms >= spoken.start_ms) & (track.times_ms < spoken.end_ms) & usable
    unchanged = [*neighbours, *_gap_edges(track)]
    strength = np.zeros(len(track))
    for shot in np.unique(track.shots):
        here = track.shots == shot
        still = np.concatenate([track.times_ms[here & ~inside], [ms for number, ms in unchanged if number == shot]])
        moving = track.times_ms[here & inside]
        if len(still) and len(moving):
            distance_ms = np.abs(moving[:, None] - still[None]).min(1)
            strength[here & inside] = smoothstep(distance_ms / EASE_MS)
        else:
            strength[here & inside] = 1
    return strength


def _gap_edges(track: FaceTrack) -> list[tuple[int, int]]:
    """Shot and time in ms of the first and the last missing frame of every gap of a track inside a shot."""
    gaps = np.flatnonzero((np.diff(track.frames) > 1) & (np.diff(track.shots) == 0))
    step = int(np.median(np.diff(track.times_ms) / np.diff(track.frames))) if len(gaps) else 0
    edges = [(gap, track.times_ms[gap] + step) for gap in gaps] + [
        (gap, track.times_ms[gap + 1] - step) for gap in gaps
    ]
    return [(int(track.shots[gap]), int(ms)) for gap, ms in edges]


def _neighbours(face: Face, info: VideoInfo) -> list[tuple[int, int]]:
    """Shot and time in ms of the frames before and after a face's interval, except at a cut or at the video's ends."""
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
    """Times in ms at which a cut begins or ends a face's interval."""
    return {warning.interval.start_ms for warning in face.warnings if warning.code == "shot_cut"}
