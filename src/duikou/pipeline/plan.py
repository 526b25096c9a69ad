"""Plans a chosen face: follows it, derives the mouth's motion from its speech and lets the engine plan every frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from duikou.faces.track import Face, FacePicture, FaceTrack, FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.sound import Joined, Sound
from duikou.media.timeline import Showing, Timeline
from duikou.media.video import Video
from duikou.memory import return_free_memory
from duikou.pipeline import references
from duikou.pipeline.references import Reference
from duikou.pipeline.session import Session
from duikou.pipeline.windows import WindowedRenderer, seams
from duikou.progress import Progress, scaled, silent, split
from duikou.render.closeups import Closeups
from duikou.speech.articulation import articulate_sound
from duikou.speech.motion import CURVES, MouthMotion
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
"""How far before and after the spoken part a face is followed, to find more of its mouth shapes. With 2.5 s, even where
the mouth opens as far in them, lips of exemplars must be opened or closed by up to two thirds more. Picking stretches
with the most varied mouths does not help reliably: what counts is how many frames there are."""


LISTENING, FOLLOWING, READING, PLANNING = 0.05, 0.8, 0.3, 0.15
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
    """Plans the faces of one lip sync."""

    session: Session
    timeline: Timeline
    engine: Engine

    def plan(self, speech: Speech, progress: Progress) -> Talk:
        """Listen to what a face says, and plan it: all of it, or the first window of a long speech.

        Raises `InputError` where the face cannot be followed during the speech, and for a reference that shows no face
        or no teeth, named as in `references[0]`.
        """
        listening, planning = split([LISTENING, FOLLOWING + READING * len(speech.references) + PLANNING])
        talk = Talk(self, speech)
        progress("listening to the speech", listening[1])
        talk.begin(scaled(progress, *planning))
        return talk

    def showing(self, face: Face, piece: Piece) -> Showing:
        """When a face shows during a piece of its speech."""
        showing = self.timeline.showing(face.interval, piece.interval)
        if showing is None:  # the check of choices is accurate to a frame only
            raise InputError(f"face {face.id!r} is not visible during the speech.", field="face_id")
        return showing

    def excluded(self, track: FaceTrack, exclude: Sequence[Interval]) -> BoolArray:
        """(N,) which frames of a track show, if only in part, while the mouth is to stay as it is."""
        edges = self.timeline.times.edges_ms
        starts, ends = edges[track.frames], edges[track.frames + 1]
        found = np.zeros(len(track), np.bool_)
        for one in joined(exclude, EASE_MS):  # in less time the mouth would not get halfway to the speech
            found |= (starts < one.end_ms) & (ends > one.start_ms)
        return found

    def result_track(self, face: Face, track: FaceTrack) -> ResultTrack:
        """A track of the source on the timeline of the result."""
        cuts, interval = _cuts(face), face.interval
        return ResultTrack.of(
            track, self.timeline, begins_cut=interval.start_ms in cuts, ends_cut=interval.end_ms in cuts
        )


class Followed:
    """A face as far as it was followed: each frame once, however many windows ask for it.

    closeups: of the frames that were followed; `None` before.
    """

    def __init__(self, source: Video, face: Face) -> None:
        self._source, self._face = source, face
        self._track = face.track.part(slice(0, 0))  # unsmoothed
        self._stop = 0
        self.closeups: Closeups | None = None

    def around(self, shown: Sequence[Interval], progress: Progress) -> FaceTrack:
        """The smoothed track during `shown`, `EXEMPLAR_REACH_MS` around it, and in earlier frames whose close-ups are
        kept. Ask with rising times."""
        spans = exemplar_spans(shown, self._source.info.duration_ms)
        edges_ms = [(span.start_ms, span.end_ms) for span in spans]
        frames = np.searchsorted(self._source.frame_times.starts_ms, edges_ms).tolist()
        shares = split([one.duration_ms for one in spans])
        if self.closeups is not None:
            self.closeups.forget(frames[0][0])
        for (start, stop), share in zip(frames, shares, strict=True):
            if max(start, self._stop) < stop:
                self._follow(start, stop, frames[0][0], scaled(progress, *share))
        return smooth(self._track)

    def _follow(self, first: int, stop: int, start: int, progress: Progress) -> None:
        """Follow the face in frames from `first` on, unless it is known there, up to frame `stop`.

        Rows before frame `start` are dropped, unless their close-ups are kept.
        """
        first = max(first, self._stop)
        near = self._face.track.part(self._face.track.around(first, stop))
        if self.closeups is None:
            self.closeups = Closeups.of(self._source, near)
        else:
            self.closeups.expect(near)
        watch = self.closeups.add
        new = follow(self._source, self._face, start_frame=first, stop_frame=stop, watch=watch, progress=progress)
        kept = (self._track.frames >= start) | np.isin(self._track.frames, list(self.closeups.crops))
        self._track, self._stop = self._track.part(kept).followed_by(new), stop
        return_free_memory()  # of networks and decoders


def exemplar_spans(shown: Sequence[Interval], end_ms: int) -> list[Interval]:
    """When to follow a face that speaks while it shows during `shown`: parts of a video that lasts until `end_ms`."""
    reach_ms = EXEMPLAR_REACH_MS
    return joined([Interval(max(one.start_ms - reach_ms, 0), min(one.end_ms + reach_ms, end_ms)) for one in shown])


class Talk:
    """What one face says, planned window by window as it is painted.

    face_id: of the face. intervals: when each piece of its speech plays while it shows, in the order of time.
    """

    def __init__(self, planner: Planner, speech: Speech) -> None:
        """Listen to the speech. Raises `InputError` for a face that does not show during a piece of it."""
        self._planner, self._speech, self._face = planner, speech, planner.session.face(speech.face_id)
        self._showings = [planner.showing(self._face, piece) for piece in speech.pieces]
        self.face_id = self._face.id
        self.intervals = tuple(one.result for one in self._showings)
        self._heard = Heard.of(speech.pieces)
        self._followed = Followed(planner.session.source, self._face)
        times_ms = planner.timeline.times.starts_ms
        inside = np.logical_or.reduce([_within(times_ms, one) for one in joined(self.intervals)])
        self._windowed = WindowedRenderer(self._windows(times_ms, np.flatnonzero(inside)), inside, self._planned)
        self._read: Sequence[Reference] | None = None
        self._latest: Renderer | None = None
        self._parts: list[Part] = []

    def begin(self, progress: Progress) -> None:
        """Plan the first window."""
        shown = np.flatnonzero(self._windowed.may_change)
        self.reach(int(shown[0]) if len(shown) else 0, progress)

    def reach(self, frame: int, progress: Progress = silent) -> None:
        """Plan what is needed to paint a frame. Call it with rising numbers."""
        self._windowed.reach(frame, progress)

    @property
    def planned_at(self) -> list[int]:
        """The frames at which `reach` plans another window of a long speech."""
        return self._windowed.planned_at

    @property
    def renderer(self) -> Renderer:
        """Paints the frames that were reached. Of one window it is known exactly which frames change."""
        return self._windowed if self._latest is None or len(self._windowed.starts) > 1 else self._latest

    @property
    def spoken(self) -> Spoken:
        """The motion in all windows that were reached."""
        joint = Part(*(np.concatenate([getattr(one, name) for one in self._parts]) for name in Part.__annotations__))
        warnings = _doubts(self._read or (), Interval(self.intervals[0].start_ms, self.intervals[-1].end_ms))
        return Spoken(self.face_id, self.intervals, joint.frames, joint.times_ms, joint.gap, joint.strength, warnings)

    def _windows(self, times_ms: IntArray, inside: IntArray) -> IntArray:
        """The frame at which each window begins. inside: the frames while the face speaks."""
        voice = self._heard.at(times_ms[inside])["voice"]
        return np.concatenate([[0], inside[seams(times_ms[inside], voice)]]).astype(np.int64)

    def _planned(self, first: int, stop: int, progress: Progress) -> Renderer | None:
        """Follow the face in the frames of the result from `first` to `stop`, and let the engine plan them."""
        planner, face, info = self._planner, self._face, self._planner.session.info
        following, reading, planning = split([FOLLOWING, READING * len(self._speech.references), PLANNING])
        shown = list(self._shown(first, stop))
        source_track = self._followed.around(shown, scaled(progress, *following)) if shown else None
        closeups = self._followed.closeups
        if source_track is None or closeups is None or not len(source_track):
            if self._latest is None:
                raise InputError(f"face {face.id!r} is not visible during the speech.", field="face_id")
            return None
        result = planner.result_track(face, source_track)
        track, usable = result.track, usable_frames(source_track, info, face)
        may_speak = usable & _within(source_track.times_ms, face.interval)
        free = may_speak[result.rows] & ~planner.excluded(track, self._speech.exclude)
        strength = ease(track, free, joined(self.intervals), result.neighbours(_neighbours(face, info)))
        curves = self._heard.at(track.times_ms)
        pictures = self._references(_colours(source_track, usable), scaled(progress, *reading))
        own = (track.frames >= first) & (track.frames < stop)
        clip = FaceClip(
            track,
            source_track.frames[result.rows],
            usable[result.rows],
            np.where(own, strength, 0.0),
            closeups,
            pictures,
            self._latest,
        )
        self._latest = planner.engine.prepare(clip, curves, progress=scaled(progress, *planning))
        return_free_memory()
        self._note(Part(track.frames, track.times_ms, curves["gap"], strength), stop)
        return self._latest

    def _shown(self, first: int, stop: int) -> Iterator[Interval]:
        """What the source shows of the face in the frames of the result from `first` to `stop` while it speaks."""
        if len(self._windowed.starts) == 1:
            yield from (one.source for one in self._showings)
            return
        edges = self._planner.timeline.times.edges_ms  # a speech of several windows is not lengthened
        window = Interval(int(edges[first]), int(edges[stop]))
        yield from filter(None, (one.source.overlap(window) for one in self._showings))

    def _references(self, colours: Float32Array, progress: Progress) -> tuple[tuple[FacePicture, ...], ...]:
        """The pictures of the references, which are read once. colours: usual ones (478, 3) of the face."""
        if self._read is None:
            self._read = references.read(self._speech.references, colours, progress)
        return tuple(one.pictures for one in self._read)

    def _note(self, part: Part, stop: int) -> None:
        """Keep the motion of a window that ends at frame `stop`, but for frames that are known."""
        last = stop == len(self._planner.timeline)
        known = self._parts[-1].frames[-1] if self._parts and len(self._parts[-1].frames) else -1
        new = (part.frames > known) & ((part.frames < stop) | last)
        self._parts.append(Part(part.frames[new], part.times_ms[new], part.gap[new], part.strength[new]))


@dataclass(frozen=True)
class Part:
    """The motion in some frames, as in `Spoken`."""

    frames: IntArray
    times_ms: IntArray
    gap: Float64Array
    strength: Float64Array


@dataclass(frozen=True)
class Phrase:
    """Speech that is heard as one. follows, followed: whether hardly a pause lies before it, and after it."""

    motion: MouthMotion
    interval: Interval
    follows: bool
    followed: bool


@dataclass(frozen=True)
class Heard:
    """The motion of a face's mouth during all that it says. phrases: in the order of time."""

    phrases: tuple[Phrase, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Heard:
        """Listen to pieces, in the order of time. Pieces with hardly a pause between them are heard as one."""
        phrases = _phrases(pieces)
        pauses = [after.interval.start_ms - before.interval.end_ms for before, after in pairwise(phrases)]
        close = [False, *(pause <= HOLD_MS for pause in pauses), False]
        return cls(
            tuple(
                Phrase(articulate_sound(one.sound).shifted(one.at_ms / 1000), one.interval, follows, followed)
                for one, follows, followed in zip(phrases, close[:-1], close[1:], strict=True)
            )
        )

    def at(self, times_ms: IntArray) -> dict[str, Float64Array]:
        """Curves of the motion by name, each (N,) at `times_ms`.

        Across a pause between phrases that is still short, it passes into rest and out of it over `SEAM_MS`.
        """
        curves = np.zeros((len(times_ms), len(CURVES)))
        for one in self.phrases:
            motion, times_s, share = one.motion, times_ms / 1000, np.ones(len(times_ms))
            if one.follows:  # the first row holds before it, the last one after it
                times_s = np.maximum(times_s, motion.start_s)
                share *= smoothstep((times_ms - one.interval.start_ms) / SEAM_MS + 0.5)
            if one.followed:
                times_s = np.minimum(times_s, motion.end_s - 1 / motion.rate)
                share *= smoothstep((one.interval.end_ms - times_ms) / SEAM_MS + 0.5)
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


def _within(times_ms: IntArray, interval: Interval) -> BoolArray:
    """(N,) which times lie inside an interval."""
    return (times_ms >= interval.start_ms) & (times_ms < interval.end_ms)


def ease(
    track: FaceTrack, usable: BoolArray, spoken: Sequence[Interval], neighbours: Sequence[tuple[int, int]] = ()
) -> Float64Array:
    """How far each frame of the track changes, (N,) 0 to 1.

    It is 0 outside `spoken` and on unusable frames. Inside a shot it ramps towards these frames and towards frames
    without the face. At a cut there is no ramp.
    neighbours: shot and time in ms of unchanged frames just outside the track.
    """
    inside = np.logical_or.reduce([_within(track.times_ms, one) for one in spoken]) & usable
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
