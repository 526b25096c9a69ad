"""Find the faces of a video that can be lip-synced: where they are, when, and why not longer.

`identify_faces` makes a sparse pass over the video; `duikou.faces.follow` makes the dense pass for one face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from duikou.arrays import BoolArray, Image, IntArray
from duikou.faces.appearance import same_person
from duikou.faces.closer import closer_look
from duikou.faces.landmarks import roi_of
from duikou.faces.pose import fit
from duikou.faces.scan import Sample, Scan, Tracklet, picture_of, scan, track_of
from duikou.faces.stills import still_warnings
from duikou.faces.surface import flat_share, lips_check
from duikou.faces.track import Face, FaceTrack, FaceWarning, PackedTrack
from duikou.faces.usable import (
    GAP_SAME_FACE_MS,
    MIN_PRESENCE,
    Check,
    checks,
    lips_width,
    usable_of,
    usable_segments,
)
from duikou.media.fields import Fields
from duikou.media.probe import VideoInfo
from duikou.media.video import Video
from duikou.progress import Progress, silent
from duikou.timebase import Interval

MIN_FACE_MS = 500  # shorter appearances are not listed
MIN_GLIMPSE_MS = 80  # still shorter ones may be mistakes of the detector
SHORT_MS = 2_000  # the contract: speech must overlap a face by this much
SMALL_LIPS_PX = 45.0  # below it the result is soft, which a warning says
MIN_FLAT = 0.4  # share of the skin in one flat colour: a flat drawing has 0.7 to 0.8, filmed and shaded faces up to 0.2
MAX_SHIFT = 1.5  # eye distances that a face may move during a gap and still be the same face
MAX_GROWTH = 1.6  # factor by which it may grow or shrink during a gap


DRAWN_LOOKS_WRONG = "its lines may smear, and the inside of the mouth may not look drawn"


@dataclass(frozen=True)
class _Clock:
    """When the display of each frame starts and ends: (N,) ms each."""

    starts: IntArray
    ends: IntArray

    @classmethod
    def of(cls, video: Video) -> _Clock:
        edges = video.frame_times.edges_ms
        return cls(edges[:-1], edges[1:])


@dataclass(frozen=True)
class _CheckedTrack:
    """The track of one person, its checks, and (N,) at which rows no check is broken."""

    track: FaceTrack
    checks: list[Check]
    usable: BoolArray


@dataclass(frozen=True)
class Found:
    """What was found in a video.

    faces: the usable faces, numbered by when they appear, then by size.
    rejected: why people who were seen are no face at no time: for each reason, the largest of those it concerns.
    fields: how the video's frames are interlaced.
    """

    faces: tuple[Face, ...]
    rejected: tuple[FaceWarning, ...] = ()
    fields: Fields | None = None


def identify_faces(video: Video, *, progress: Progress = silent) -> Found:
    """Find the usable faces of a video.

    A face is one person whose mouth can be changed, without a gap of more than 1 s. Its ends are accurate to one or two
    frames. Raises `MediaError` for an unreadable file, `ModelError` where a face model is missing.
    """
    clock = _Clock.of(video)
    seen = scan(video, progress)
    video, kept = video.read_as(seen.fields), seen.pictures
    people = [(person, _checked(track_of(person), seen)) for person in joined(seen.tracklets, clock.ends)]
    people.sort(key=lambda one: -float(fit(one[1].track.landmarks).scale.mean()))
    found = [_faces(person, checked, clock, seen) for person, checked in people]
    alone = [checked for (_, checked), faces in zip(people, found, strict=True) if not faces]
    rejected = [reason for checked in alone for reason in _rejection(checked, clock)]
    if len(alone) == len(people) and not rejected:
        rejected = [reason for checked in alone for reason in _glimpse(checked, clock)] or _unfollowed(video, clock)
    in_order = sorted((one for faces in found for one in faces), key=lambda one: one[0].interval.start_ms)
    numbered = (
        replace(face, id=str(number), picture=_picture(video, samples, kept))
        for number, (face, samples) in enumerate(in_order)
    )
    return Found(tuple(numbered), _one_of_each(rejected), seen.fields)


def usable_frames(track: FaceTrack, info: VideoInfo, face: Face | None = None) -> BoolArray:
    """(N,) whether the mouth can be changed in each frame of a dense track.

    A hidden mouth is detected by the track's colours and by the warnings of its `face`, which may be based on more of
    the video.
    """
    usable = usable_of(checks(track, info.width, info.height)) if len(track) else np.zeros(0, bool)
    for warning in face.warnings if face else ():
        if warning.code == "hidden_mouth":
            inside = (track.times_ms >= warning.interval.start_ms) & (track.times_ms < warning.interval.end_ms)
            usable = usable & ~inside
    return usable


def joined(tracklets: list[Tracklet], ends_ms: IntArray) -> list[list[Sample]]:
    """The samples of each face: its tracklets joined across gaps of at most 1 s, cuts included, in time order.

    ends_ms: (N,) when the display of each frame ends.
    """
    people: list[list[Sample]] = []
    for tracklet in sorted(tracklets, key=lambda one: one.samples[0].frame):
        first = tracklet.samples[0]
        near = [
            person
            for person in people
            if person[-1].frame < first.frame
            and first.time_ms - ends_ms[person[-1].frame] <= GAP_SAME_FACE_MS
            and _same_face(person[-1], first)
        ]
        if near:
            min(near, key=lambda person: _distance(person[-1], first)).extend(tracklet.samples)
        else:
            people.append(list(tracklet.samples))
    return people


def _same_face(before: Sample, after: Sample) -> bool:
    """Whether a lost face and a found one are the same, by position and size, and across a cut by appearance too."""
    growth = roi_of(after.seen.landmarks).size / roi_of(before.seen.landmarks).size
    if _distance(before, after) > MAX_SHIFT or not 1 / MAX_GROWTH < growth < MAX_GROWTH:
        return False
    return before.shot == after.shot or same_person(before.seen.colours, after.seen.colours)


def _distance(one: Sample, other: Sample) -> float:
    """Distance between the centres of two faces, in eye distances."""
    pose = fit(np.stack([one.seen.landmarks, other.seen.landmarks]))
    return float(np.linalg.norm(pose.translation[1, :2] - pose.translation[0, :2]) / pose.scale.mean())


def _checked(track: FaceTrack, seen: Scan) -> _CheckedTrack:
    """The whole track of one person with all checks."""
    found = checks(track, *seen.size)
    lips = lips_check(track, found)
    found += [lips] if lips else []
    return _CheckedTrack(track, found, usable_of(found))


def _faces(person: list[Sample], checked: _CheckedTrack, clock: _Clock, seen: Scan) -> list[tuple[Face, list[Sample]]]:
    """The usable segments of one person as faces, without id and picture, each with its usable samples."""
    track, usable = checked.track, checked.usable
    ends = clock.ends[track.frames]
    faces = []
    for rows in usable_segments(usable, track.times_ms, ends):
        interval = Interval(int(track.times_ms[rows.start]), int(ends[rows.stop - 1]))
        if interval.duration_ms < MIN_FACE_MS:
            continue
        warnings = _reasons(checked, rows, clock, seen.shot_starts) + _doubts(track.part(rows), interval)
        warnings += _lost_between(person[rows], seen.tracklets, clock)
        warnings += still_warnings(clock.starts, clock.ends, interval)
        packed = PackedTrack.of(track.part(rows))
        face = Face("", interval, packed, usable[rows], np.zeros((0, 0, 3), np.uint8), tuple(warnings))
        faces.append((face, [sample for sample, fits in zip(person[rows], face.usable, strict=True) if fits]))
    return faces


def _one_of_each(reasons: list[FaceWarning]) -> tuple[FaceWarning, ...]:
    """The first warning of each code."""
    first: dict[str, FaceWarning] = {}
    for reason in reasons:
        first.setdefault(reason.code, reason)
    return tuple(first.values())


def _rejection(checked: _CheckedTrack, clock: _Clock) -> list[FaceWarning]:
    """Why no frame, or too few, of one person can be used; nothing of a person who is hardly seen."""
    if _shown(checked.track, clock).duration_ms < MIN_FACE_MS:
        return []
    reasons = _broken(checked, slice(0, len(checked.track)), clock)
    if any(reason.code == "unseen_lips" for reason in reasons):
        # What nearly always covers the lips was taken for them, so that the moments without it seemed covered.
        reasons = [reason for reason in reasons if reason.code != "hidden_mouth"]
    return reasons


def _glimpse(checked: _CheckedTrack, clock: _Clock) -> list[FaceWarning]:
    """Why a person who is hardly seen is no face; nothing of one who may be a mistake of the detector."""
    shown = _shown(checked.track, clock)
    if shown.duration_ms < MIN_GLIMPSE_MS:
        return []
    message = f"the face is visible for only {shown.duration_ms} ms; at least {MIN_FACE_MS} ms are needed"
    return [FaceWarning("short", message, shown), *_broken(checked, slice(0, len(checked.track)), clock)]


def _unfollowed(video: Video, clock: _Clock) -> list[FaceWarning]:
    """Why nobody could be followed; nothing where nobody is seen."""
    samples = closer_look(video)
    clear = [sample for sample in samples if sample.seen.presence >= MIN_PRESENCE]
    reasons: list[FaceWarning] = []
    for some in (clear, samples):  # of a face that cannot be made out, its presence is the only figure with a meaning
        if some and not reasons:
            track = replace(track_of(some), colours=None)
            found = [one for one in checks(track, *video.picture.size) if some is clear or one.code == "face_lost"]
            reasons = _broken(_CheckedTrack(track, found, usable_of(found)), slice(0, len(track)), clock)
    return reasons


def _shown(track: FaceTrack, clock: _Clock) -> Interval:
    """From the first to the last moment of a track."""
    return Interval(int(track.times_ms[0]), int(clock.ends[track.frames[-1]]))


def _reasons(checked: _CheckedTrack, rows: slice, clock: _Clock, shot_starts: list[int]) -> list[FaceWarning]:
    """Why the segment `rows` is not longer and what interrupts it, in time order."""
    track, unusable = checked.track, _gaps(~checked.usable)
    warnings = [
        warning
        for gap in unusable
        if gap.stop >= rows.start and gap.start <= rows.stop
        for warning in _broken(checked, gap, clock)
    ]
    if not any(gap.stop == rows.start for gap in unusable):
        warnings += _beginning(int(track.frames[rows.start]), clock, shot_starts)
    if not any(gap.start == rows.stop for gap in unusable):
        warnings += _ending(int(track.frames[rows.stop - 1]), clock, shot_starts)
    return sorted(warnings, key=lambda warning: warning.interval)


def _gaps(unusable: BoolArray) -> list[slice]:
    """Segments of consecutive unusable rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], unusable, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _broken(checked: _CheckedTrack, gap: slice, clock: _Clock) -> list[FaceWarning]:
    """One warning for each check that is broken within `gap`, over the frames that break it."""
    warnings = []
    for check in checked.checks:
        rows = np.flatnonzero(check.broken[gap])
        if len(rows):
            first, last = checked.track.frames[gap][rows[[0, -1]]]
            interval = Interval(int(clock.starts[first]), int(clock.ends[last]))
            warnings.append(FaceWarning(check.code, check.message(gap), interval))
    return warnings


def _lost_between(samples: list[Sample], tracklets: list[Tracklet], clock: _Clock) -> list[FaceWarning]:
    """A warning for each gap inside a segment in which the face was not followed."""
    firsts = {tracklet.samples[0] for tracklet in tracklets}
    gaps = [
        Interval(int(clock.ends[before.frame]), int(clock.starts[after.frame]))
        for before, after in pairwise(samples)
        if after in firsts and after.frame > before.frame + 1
    ]
    return [
        FaceWarning("face_lost", f"the face is not visible from {gap.start_ms} ms to {gap.end_ms} ms", gap)
        for gap in gaps
    ]


def _beginning(frame: int, clock: _Clock, shot_starts: list[int]) -> list[FaceWarning]:
    """Why a face that is usable from its first frame does not begin earlier."""
    ms = int(clock.starts[frame])
    if frame == 0:
        return []
    if frame in shot_starts:
        return [FaceWarning("shot_cut", f"the shot begins at {ms} ms", Interval(ms, ms))]
    return [FaceWarning("face_lost", f"the face is not visible before {ms} ms", Interval(ms, ms))]


def _ending(frame: int, clock: _Clock, shot_starts: list[int]) -> list[FaceWarning]:
    """Why a face that is usable until its last frame does not continue."""
    ms = int(clock.ends[frame])
    if frame == len(clock.ends) - 1:
        return []
    if frame + 1 in shot_starts:
        return [FaceWarning("shot_cut", f"the shot ends at {ms} ms", Interval(ms, ms))]
    return [FaceWarning("face_lost", f"the face is not visible after {ms} ms", Interval(ms, ms))]


def _doubts(track: FaceTrack, interval: Interval) -> list[FaceWarning]:
    """Warnings that a usable face may not give a good result."""
    warnings = []
    if interval.duration_ms < SHORT_MS:
        message = f"the face is visible for only {interval.duration_ms} ms; speech must overlap it by {SHORT_MS} ms"
        warnings.append(FaceWarning("short", message, interval))
    lips_px = float(np.median(lips_width(fit(track.landmarks))))
    if lips_px < SMALL_LIPS_PX:
        message = f"the mouth is {lips_px:.0f} pixels wide; below {SMALL_LIPS_PX:.0f} pixels the result is soft"
        warnings.append(FaceWarning("small_face", message, interval))
    flat = 0.0 if track.colours is None else flat_share(track.colours)
    if flat > MIN_FLAT:
        message = f"the face is drawn: {100 * flat:.0f} % of its skin has one flat colour; {DRAWN_LOOKS_WRONG}"
        warnings.append(FaceWarning("drawn_face", message, interval))
    return warnings


def _picture(video: Video, samples: list[Sample], kept: dict[Sample, Image]) -> Image:
    """The best picture kept of a face; without one, its best sample is decoded again."""
    best = max([sample for sample in samples if sample in kept] or samples, key=lambda sample: sample.worth)
    if best in kept:
        return kept[best]
    (frame,) = video.frames(best.frame, best.frame + 1)
    return picture_of(frame, best.seen.landmarks)
