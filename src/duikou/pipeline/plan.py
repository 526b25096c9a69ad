"""Plans a chosen face: follows it, derives the mouth's motion from the speech and lets the engine plan every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, IntArray, smoothstep
from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.errors import InputError
from duikou.faces.follow import follow
from duikou.faces.identify import usable_frames
from duikou.faces.repeat import ResultTrack
from duikou.faces.smooth import smooth
from duikou.faces.track import Face, FaceTrack, FaceWarning
from duikou.media.audio import Audio
from duikou.media.probe import VideoInfo
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.pipeline import references
from duikou.pipeline.choice import FaceChoice
from duikou.pipeline.references import Reference
from duikou.pipeline.session import Session
from duikou.progress import Progress, scaled, split
from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES
from duikou.timebase import Interval

EASE_MS = 160
"""Duration of the transition from a mouth's own motion to that of the speech, and back."""

EXEMPLAR_REACH_MS = 10_000
"""How far before and after the spoken part a face is followed, to find more of its mouth shapes."""


FOLLOWING, LISTENING, READING, PLANNING = 0.6, 0.1, 0.3, 0.3
"""Approximate shares of the time that planning one face takes. `READING` is for each reference."""

LIKE = 0.6
"""Likeness below which the face of a reference may be another person's. Of 532 pairs of halves of clips of different
people three quarters lie below it (median 0.43, at most 0.84), of 29 of one person none (0.89 to 1.00, once 0.71 while
the head turns). Each person was filmed in one light: another light may look like another person, so none is refused."""


@dataclass(frozen=True)
class Spoken:
    """The requested mouth motion of one face, frame by frame.

    frames: (N,) frame numbers. times_ms: (N,) frame times. gap: (N,) the lip gap that the speech requires, 0 to 1.
    strength: (N,) how far the face follows it, 0 to 1. It is 0 outside the speech and where the mouth cannot change.
    warnings: what may be wrong: `other_person`, where a reference seems to show someone else; `unclear_speaker`, where
        the face was to be the one who speaks there, and nobody does or several do.
    """

    face_id: str
    interval: Interval
    frames: IntArray
    times_ms: IntArray
    gap: Float64Array
    strength: Float64Array
    warnings: tuple[FaceWarning, ...] = ()


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

        Raises `InputError` where the face cannot be followed during the speech, and for a reference that shows no face
        or no teeth, named as in `references[0]`.
        """
        face, info = self.session.face(choice.face_id), self.session.info
        speech = Interval(choice.insert_ms, choice.insert_ms + audio.duration_ms)
        weights = [FOLLOWING, LISTENING, READING * len(choice.references), PLANNING]
        following, listening, reading, planning = split(weights)
        showing = self.timeline.showing(face.interval, speech)
        if showing is None:  # the check of choices is accurate to a frame only
            raise InputError(f"face {face.id!r} is not visible during the speech.", field="face_id")
        source_track = self._follow(face, showing.source, scaled(progress, *following))
        result = self._result_track(face, source_track)
        track, usable = result.track, usable_frames(source_track, info, face)
        may_speak = usable & _within(source_track, face.interval)
        strength = ease(track, may_speak[result.rows], showing.result, result.neighbours(_neighbours(face, info)))
        curves = _mouth_motion(audio, choice.insert_ms, track.times_ms)
        progress("listening to the speech", listening[1])
        read = references.read(choice.references, _colours(source_track, usable), scaled(progress, *reading))
        pictures = tuple(one.pictures for one in read)
        clip = FaceClip(self.footage, track, usable[result.rows], strength, pictures)
        renderer = self.engine.prepare(clip, curves, progress=scaled(progress, *planning))
        warnings = _doubts(read, showing.result)
        return renderer, Spoken(
            face.id, showing.result, track.frames, track.times_ms, curves["gap"], strength, warnings
        )

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

    def _result_track(self, face: Face, track: FaceTrack) -> ResultTrack:
        """A track of the source on the timeline of the result."""
        cuts, interval = _cuts(face), face.interval
        return ResultTrack.of(
            track, self.timeline, begins_cut=interval.start_ms in cuts, ends_cut=interval.end_ms in cuts
        )


def _mouth_motion(audio: Audio, insert_ms: int, times_ms: IntArray) -> dict[str, Float64Array]:
    """Curves of the mouth's motion by name, each (N,) at `times_ms`, for speech that begins at `insert_ms`."""
    mono = audio.converted(channels=1)
    motion = articulate(mono.samples[:, 0], mono.rate).shifted(insert_ms / 1000)
    curves = motion.at(times_ms / 1000).astype(np.float64)
    return dict(zip(CURVES, curves.T, strict=True))


def _colours(track: FaceTrack, usable: BoolArray) -> Float32Array:
    """Usual colours (478, 3) of a face that was followed."""
    assert track.colours is not None
    seen = track.colours[usable] if usable.any() else track.colours
    return np.asarray(np.median(seen, axis=0), np.float32)


def _doubts(read: Sequence[Reference], interval: Interval) -> tuple[FaceWarning, ...]:
    """A warning for each reference that seems to show another person."""
    return tuple(
        FaceWarning(
            "other_person",
            f"reference {number} may show another person: its face is alike by {one.likeness:.2f}; below {LIKE:g} it "
            "is often someone else's",
            interval,
        )
        for number, one in enumerate(read, 1)
        if one.likeness < LIKE
    )


def _within(track: FaceTrack, interval: Interval) -> BoolArray:
    """(N,) which frames of a track show inside an interval."""
    return (track.times_ms >= interval.start_ms) & (track.times_ms < interval.end_ms)


def ease(
    track: FaceTrack, usable: BoolArray, spoken: Interval, neighbours: Sequence[tuple[int, int]] = ()
) -> Float64Array:
    """How far each frame of the track changes, (N,) 0 to 1.

    It is 0 outside `spoken` and on unusable frames. Inside a shot it ramps towards these frames and towards frames
    without the face. At a cut there is no ramp.
    neighbours: shot and time in ms of unchanged frames just outside the track.
    """
    inside = _within(track, spoken) & usable
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
    edges = []
    for gap in gaps:
        for ms in (track.times_ms[gap] + step, track.times_ms[gap + 1] - step):
            edges.append((int(track.shots[gap]), int(ms)))
    return edges


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
