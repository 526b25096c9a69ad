"""Plans a chosen face: follows it, derives the mouth's motion from its speech and lets the engine plan every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, IntArray, smoothstep
from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.errors import InputError
from duikou.faces.follow import follow
from duikou.faces.identify import usable_frames
from duikou.faces.repeat import ResultTrack
from duikou.faces.smooth import smooth
from duikou.faces.track import Face, FaceTrack, FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.sound import Joined, Sound
from duikou.media.timeline import Showing, Timeline
from duikou.media.video import Video
from duikou.pipeline import references
from duikou.pipeline.references import Reference
from duikou.pipeline.session import Session
from duikou.progress import Progress, scaled, split
from duikou.speech.articulation import articulate_sound
from duikou.speech.motion import CURVES
from duikou.timebase import Interval, ms_to_samples

EASE_MS = 160
"""Duration of the transition from a mouth's own motion to that of the speech, and back."""

HOLD_MS = 400
"""Pauses up to this length between two pieces of a face's speech, in which the lips stay closed: in less time than a
syllable or two, a return to the mouth's own motion looks like a twitch."""

SEAM_MS = 80
"""Duration of the transition between a piece and the rest in such a pause. Pieces with a shorter one are a phrase."""

QUIET = 1e-4
"""Least peak, of full scale, to which a piece is scaled: what is silent stays so."""

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

    intervals: when each piece of its speech plays while it shows, in the order of time. interval: all of them.
    frames: (N,) frame numbers. times_ms: (N,) frame times. gap: (N,) the lip gap that the speech requires, 0 to 1.
    strength: (N,) how far the face follows it, 0 to 1. It is 0 outside the speech, where the mouth cannot change, and
        where it is to stay as it is.
    warnings: what may be wrong: `other_person`, where a reference seems to show someone else; `unclear_speaker`, where
        the face was to be the one who speaks there, and nobody does or several do.
    """

    face_id: str
    intervals: tuple[Interval, ...]
    frames: IntArray
    times_ms: IntArray
    gap: Float64Array
    strength: Float64Array
    warnings: tuple[FaceWarning, ...] = ()

    @property
    def interval(self) -> Interval:
        """From the beginning of the first piece to the end of the last."""
        return Interval(self.intervals[0].start_ms, self.intervals[-1].end_ms)


@dataclass(frozen=True)
class Piece:
    """A piece of a face's speech. at_ms: when it begins in the result."""

    sound: Sound
    at_ms: int

    @property
    def interval(self) -> Interval:
        """When it plays in the result."""
        return Interval(self.at_ms, self.at_ms + self.sound.duration_ms)


@dataclass(frozen=True)
class Speech:
    """All that one face says: pieces that do not overlap, in the order of time.

    exclude: when its mouth stays as it is, in the order of time. references: as in `FaceChoice`.
    """

    face_id: str
    pieces: tuple[Piece, ...]
    exclude: tuple[Interval, ...] = ()
    references: tuple[str | Path, ...] = ()


@dataclass(frozen=True)
class Planner:
    """Plans the faces of one lip sync.

    footage: a video with the frames of `timeline`: the source, or a lengthened copy. Faces are followed in the source.
    """

    session: Session
    timeline: Timeline
    footage: Video
    engine: Engine

    def plan(self, speech: Speech, progress: Progress) -> tuple[Renderer, Spoken]:
        """Follow the chosen face, derive its motion from its speech, and let the engine plan the frames.

        Raises `InputError` where the face cannot be followed during the speech, and for a reference that shows no face
        or no teeth, named as in `references[0]`.
        """
        face, info = self.session.face(speech.face_id), self.session.info
        weights = [FOLLOWING, LISTENING, READING * len(speech.references), PLANNING]
        following, listening, reading, planning = split(weights)
        showings = [self._showing(face, piece) for piece in speech.pieces]
        source_track = self._follow(face, [one.source for one in showings], scaled(progress, *following))
        result = self._result_track(face, source_track)
        track, usable = result.track, usable_frames(source_track, info, face)
        may_speak = usable & _within(source_track, face.interval)
        spoken = tuple(one.result for one in showings)
        free = may_speak[result.rows] & ~self._excluded(track, speech.exclude)
        strength = ease(track, free, joined(spoken), result.neighbours(_neighbours(face, info)))
        curves = mouth_motion(speech.pieces, track.times_ms)
        progress("listening to the speech", listening[1])
        read = references.read(speech.references, _colours(source_track, usable), scaled(progress, *reading))
        pictures = tuple(one.pictures for one in read)
        clip = FaceClip(self.footage, track, usable[result.rows], strength, pictures)
        renderer = self.engine.prepare(clip, curves, progress=scaled(progress, *planning))
        warnings = _doubts(read, Interval(spoken[0].start_ms, spoken[-1].end_ms))
        return renderer, Spoken(face.id, spoken, track.frames, track.times_ms, curves["gap"], strength, warnings)

    def _showing(self, face: Face, piece: Piece) -> Showing:
        """When a face shows during a piece of its speech."""
        showing = self.timeline.showing(face.interval, piece.interval)
        if showing is None:  # the check of choices is accurate to a frame only
            raise InputError(f"face {face.id!r} is not visible during the speech.", field="face_id")
        return showing

    def _excluded(self, track: FaceTrack, exclude: Sequence[Interval]) -> BoolArray:
        """(N,) which frames of a track show, if only in part, while the mouth is to stay as it is."""
        edges = self.timeline.times.edges_ms
        starts, ends = edges[track.frames], edges[track.frames + 1]
        found = np.zeros(len(track), np.bool_)
        for one in joined(exclude, EASE_MS):  # in less time the mouth would not get halfway to the speech
            found |= (starts < one.end_ms) & (ends > one.start_ms)
        return found

    def _follow(self, face: Face, shown: Sequence[Interval], progress: Progress) -> FaceTrack:
        """The smoothed track of a face from the first to the last of `shown`, and `EXEMPLAR_REACH_MS` around them."""
        source = self.session.source
        start_ms, end_ms = min(one.start_ms for one in shown), max(one.end_ms for one in shown)
        near = Interval(max(start_ms - EXEMPLAR_REACH_MS, 0), end_ms + EXEMPLAR_REACH_MS)
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


def mouth_motion(pieces: Sequence[Piece], times_ms: IntArray) -> dict[str, Float64Array]:
    """Curves of the mouth's motion by name, each (N,) at `times_ms`, for pieces in the order of time.

    Pieces with hardly a pause between them are heard as one. Across a longer pause that is still short, the motion
    passes into rest and out of it over `SEAM_MS`.
    """
    curves = np.zeros((len(times_ms), len(CURVES)))
    phrases = _phrases(pieces)
    pauses = [after.interval.start_ms - before.interval.end_ms for before, after in pairwise(phrases)]
    close = [False, *(pause <= HOLD_MS for pause in pauses), False]
    for phrase, follows, followed in zip(phrases, close[:-1], close[1:], strict=True):
        motion = articulate_sound(phrase.sound).shifted(phrase.at_ms / 1000)
        times_s, share = times_ms / 1000, np.ones(len(times_ms))
        if follows:  # the first row holds before it, the last one after it
            times_s = np.maximum(times_s, motion.start_s)
            share *= smoothstep((times_ms - phrase.interval.start_ms) / SEAM_MS + 0.5)
        if followed:
            times_s = np.minimum(times_s, motion.end_s - 1 / motion.rate)
            share *= smoothstep((phrase.interval.end_ms - times_ms) / SEAM_MS + 0.5)
        curves += share[:, None] * motion.at(times_s)
    return dict(zip(CURVES, curves.T, strict=True))


def _phrases(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, with those joined whose pause is shorter than `SEAM_MS`: the end of a sound is no end of a word."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        if runs and piece.interval.start_ms - runs[-1][-1].interval.end_ms < SEAM_MS:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return [run[0] if len(run) == 1 else _phrase(run) for run in runs]


def _phrase(run: Sequence[Piece]) -> Piece:
    """Pieces as one, in mono, each as loud as the others: how loud a recording is says nothing about its mouth."""
    rate, start_ms = max(piece.sound.rate for piece in run), run[0].at_ms
    parts = [
        (ms_to_samples(piece.at_ms - start_ms, rate), _levelled(piece.sound.converted(channels=1)).converted(rate=rate))
        for piece in run
    ]
    return Piece(Joined(tuple(parts), ms_to_samples(run[-1].interval.end_ms - start_ms, rate)), start_ms)


def _levelled(mono: Sound) -> Sound:
    """A sound at full scale, unless it is silent."""
    peak = max(mono.peak(), QUIET)
    return mono.mapped(lambda samples: samples / np.float32(peak))


def joined(intervals: Sequence[Interval], hold_ms: int = HOLD_MS) -> list[Interval]:
    """Intervals in the order of time, with those joined that lie at most `hold_ms` apart."""
    found: list[Interval] = []
    for one in intervals:
        if found and one.start_ms - found[-1].end_ms <= hold_ms:
            found[-1] = Interval(found[-1].start_ms, max(found[-1].end_ms, one.end_ms))
        else:
            found.append(one)
    return found


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
    track: FaceTrack, usable: BoolArray, spoken: Sequence[Interval], neighbours: Sequence[tuple[int, int]] = ()
) -> Float64Array:
    """How far each frame of the track changes, (N,) 0 to 1.

    It is 0 outside `spoken` and on unusable frames. Inside a shot it ramps towards these frames and towards frames
    without the face. At a cut there is no ramp.
    neighbours: shot and time in ms of unchanged frames just outside the track.
    """
    inside = np.logical_or.reduce([_within(track, one) for one in spoken]) & usable
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
