"""Who is speaking: compares the lips of every face with the motion that the clip's own sound asks for.

The measure is a mean of local correlations, of the lip gap and the width of the mouth and of how both change, under a
window of Gaussian weight that moves along the clip. A still mouth and a silent sound have no correlation. Sound and
picture of a file may be apart: one lag serves all faces of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from duikou.arrays import BoolArray, Float32Array, Float64Array, IntArray
from duikou.errors import MediaError
from duikou.faces.pose import fit
from duikou.faces.track import Face, FaceTrack, Speaking
from duikou.faces.usable import in_blocks
from duikou.media.audio import sound_of
from duikou.media.video import Video
from duikou.speech.articulation import articulate_sound
from duikou.speech.motion import MouthMotion
from duikou.timebase import Interval

WINDOW_S: Final = 0.75  # standard deviation of the window: about two seconds count
REACH_S: Final = 3 * WINDOW_S  # rows farther away weigh nothing
LAGS_S: Final = np.arange(-0.12, 0.161, 0.04)  # of the sound behind the picture; recordings were up to 80 ms apart
LAG_COST: Final = 0.4  # of the score for each second of lag, so that noise chooses none
COMMON_STEPS: Final = 10  # of the time line, see `_lags`
STEP_MS: Final = 100  # of the time line on which faces are compared
NEAR_S: Final = 0.3  # a face is there as long as it was measured this close
STEADY_S: Final = 0.25  # between two measurements whose difference counts as a change
UNSURE_ROWS: Final = 4.0  # a correlation over n independent rows counts n / (n + 4)

LIPS: Final = ((13, 14), (61, 291))  # points whose distances are the lip gap and the width of the mouth
LIPS_NOISE: Final = (
    0.008  # eye distances; measured lips that rest waver by 0.001 to 0.004, speaking ones by 0.015 to 0.09
)
HEARD_NOISE: Final = 0.04  # of the curves of `MouthMotion`; speech has 0.1 to 0.3
WEIGHTS: Final = (1.0, 0.5)  # of gap and width, each for the distance and for its change

VOICE: Final = 0.5  # of the voice curve, above which somebody is heard
FITS: Final = 0.1  # score at which lips may belong to the voice
SPEAKS: Final = 0.22  # mean score of a stretch in which a face speaks
PAUSE_MS: Final = 500  # a shorter pause in which nobody else speaks is part of the stretch
MIN_MS: Final = 400  # shorter stretches are chance


@dataclass(frozen=True)
class Lips:
    """Measured lips of one face. times: (N,) s. gap, width: (N,) eye distances. shots: (N,)."""

    times: Float64Array
    gap: Float64Array
    width: Float64Array
    shots: IntArray

    @classmethod
    def of(cls, face: Face) -> Lips:
        """The lips of a face in its usable frames."""
        rows = np.flatnonzero(face.usable)
        measured = [_lips(face.track.part(block)) for block in in_blocks(rows)]
        gap, width = np.concatenate([np.zeros((2, 0)), *measured], axis=1)
        return cls(face.track.times_ms[rows] / 1000, gap, width, face.track.shots[rows])


def _lips(track: FaceTrack) -> Float64Array:
    """(2, N) lip gap and width of the mouth, in eye distances."""
    points, scale = track.landmarks, fit(track.landmarks).scale
    return np.stack(
        [np.linalg.norm(points[:, one].astype(np.float64) - points[:, other], axis=1) / scale for one, other in LIPS]
    )


class _StoppedError(Exception):
    """Listening was stopped: its result is not needed any more."""


@contextmanager
def listening(source: Video) -> Iterator[Callable[[], Sequence[MouthMotion]]]:
    """Listen to the sound of a clip in a thread of its own, as long as the block runs.

    The block gets a function that waits for the motion of the sound, as `speaking` takes it. It raises `ModelError`
    where the voice detector's file is missing.
    """
    stopped = Event()
    with ThreadPoolExecutor(1) as thread:
        heard = thread.submit(_heard, source, stopped)
        try:
            yield heard.result
        finally:
            stopped.set()


def with_speaking(source: Video, faces: Sequence[Face], heard: Sequence[MouthMotion]) -> tuple[Face, ...]:
    """The faces of a clip, each with the times at which it speaks; without sound nobody does.

    heard: as in `speaking`.
    """
    if not faces or not heard:
        return tuple(faces)
    with threadpool_limits(1):  # several threads of BLAS wait for each other on small arrays: 5 times the CPU time
        found = speaking([Lips.of(face) for face in faces], heard, source.info.duration_ms)
    return tuple(
        replace(face, speaking=_within(times, face.interval)) for face, times in zip(faces, found, strict=True)
    )


def speaking(lips: Sequence[Lips], heard: Sequence[MouthMotion], duration_ms: int) -> list[tuple[Speaking, ...]]:
    """When each face speaks, where at most one does at a time. heard: the motion of the sound, in consecutive parts."""
    grid = np.arange(STEP_MS // 2, duration_ms, STEP_MS) / 1000
    voice = sum((part.at(grid)[:, -1] for part in heard), np.zeros(len(grid))) > VOICE
    measured = [_Measured(_scores(one, heard), one.shots, *_nearest(one, grid)) for one in lips]
    best, shots = np.full((len(LAGS_S), len(grid)), -1.0), np.full(len(grid), -1)
    for one in measured:
        best[:, one.there] = np.maximum(best[:, one.there], one.scores[:, one.rows])
        shots[one.there] = one.shots[one.rows]
    lags = _lags(best, shots, voice)
    highest = best[lags, np.arange(len(grid))]
    found = []
    for one in measured:
        score = np.full(len(grid), -1.0)
        score[one.there] = one.scores[lags[one.there], one.rows]
        found.append(tuple(_stretches(voice & (highest >= FITS), score == highest, score)))
    return found


@dataclass(frozen=True)
class _Measured:
    """How one face fits. scores: (lags, N). shots: (N,). there, rows: as `_nearest` has them."""

    scores: Float64Array
    shots: IntArray
    there: IntArray
    rows: IntArray


def _heard(source: Video, stopped: Event) -> list[MouthMotion]:
    """The motion of a clip's sound, on the clip's time line; nothing without sound that can be read.

    Once `stopped` is set, reading ends at the next piece.
    """

    def wanted(piece: Float32Array) -> Float32Array:
        if stopped.is_set():
            raise _StoppedError
        return piece

    if source.info.audio is None:
        return []
    try:
        sound = sound_of(source)
        return [articulate_sound(sound.mapped(wanted))]
    except (MediaError, _StoppedError):  # where the sound is damaged, a lip sync tells
        return []


def _scores(lips: Lips, heard: Sequence[MouthMotion]) -> Float64Array:
    """How well lips fit, (lags, N), about -1 to 1."""
    found = np.zeros((len(LAGS_S), len(lips.times)))
    wanted = np.stack([_curves(heard, lips.times + lag) for lag in LAGS_S])  # lags, N, gap and width
    for rows in _blocks(lips):
        at = lips.times[rows]
        inside = lips.shots == lips.shots[rows[0]]
        near = np.flatnonzero(inside & (lips.times >= at[0] - REACH_S) & (lips.times <= at[-1] + REACH_S))
        times = lips.times[near]
        steps = np.flatnonzero(np.diff(times) < STEADY_S)
        weights, of_steps = _window(at, times), _window(at, (times[steps] + times[steps + 1]) / 2)
        total = np.zeros((len(LAGS_S), len(rows)))
        for weight, own, column in zip(WEIGHTS, (lips.gap[near], lips.width[near]), (0, 1), strict=True):
            curve = wanted[:, near, column]
            total += weight * _correlation(weights, own, curve)
            total += weight * _correlation(of_steps, np.diff(own)[steps], np.diff(curve, axis=1)[:, steps])
        independent = weights.sum(1) ** 2 / (weights**2).sum(1)
        found[:, rows] = total / (2 * sum(WEIGHTS)) * independent / (independent + UNSURE_ROWS)
    return found


def _blocks(lips: Lips, rows: int = 400) -> Iterator[IntArray]:
    """The rows of each shot, at most so many at a time: memory grows with their square."""
    for shot in np.unique(lips.shots):
        inside = np.flatnonzero(lips.shots == shot)
        for start in range(0, len(inside), rows):
            yield inside[start : start + rows]


def _curves(heard: Sequence[MouthMotion], times: Float64Array) -> Float64Array:
    """The gap and the width that the sound asks for, (N, 2)."""
    curves = sum((part.at(times).astype(np.float64) for part in heard), np.zeros((len(times), 8)))
    return np.stack([curves[:, 0], curves[:, 2] - curves[:, 3]], 1)


def _window(at: Float64Array, times: Float64Array) -> Float64Array:
    """Weights (len(at), len(times))."""
    return np.asarray(np.exp(-0.5 * ((at[:, None] - times[None]) / WINDOW_S) ** 2), np.float64)


def _correlation(weights: Float64Array, own: Float64Array, heard: Float64Array) -> Float64Array:
    """Local correlations (lags, M) of own (N,) with heard (lags, N) under weights (M, N). Stillness gives 0."""
    share = (weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)).T
    mean, heard_mean = own @ share, heard @ share
    spread = np.maximum(own**2 @ share - mean**2, 0) + LIPS_NOISE**2
    heard_spread = np.maximum(heard**2 @ share - heard_mean**2, 0) + HEARD_NOISE**2
    return np.asarray(((own * heard) @ share - mean * heard_mean) / np.sqrt(spread * heard_spread), np.float64)


def _nearest(lips: Lips, grid: Float64Array) -> tuple[IntArray, IntArray]:
    """The steps of the grid at which a face is there, and the row nearest to each of them."""
    if not len(lips.times):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    row = np.searchsorted((lips.times[1:] + lips.times[:-1]) / 2, grid)
    there = np.flatnonzero(np.abs(lips.times[row] - grid) <= NEAR_S)
    return there, row[there]


def _lags(best: Float64Array, shots: IntArray, voice: BoolArray) -> IntArray:
    """(M,) the lag at which lips fit the sound best, as its number, for each shot.

    best: (lags, M) score of the best face. The whole clip counts as much as `COMMON_STEPS` of a shot: shots of one
    recording have one lag, those of several may not.
    """
    fits = np.maximum(best, 0) * voice
    common = COMMON_STEPS * fits.sum(1) / max(int(voice.sum()), 1)
    lags = np.zeros(best.shape[1], np.int64)
    for shot in np.unique(shots):
        inside = shots == shot
        steps = COMMON_STEPS + int((inside & voice).sum())
        lags[inside] = (common + fits[:, inside].sum(1) - steps * LAG_COST * np.abs(LAGS_S)).argmax()
    return lags


def _stretches(speaks: BoolArray, first: BoolArray, score: Float64Array) -> Iterator[Speaking]:
    """The stretches of the grid at which a face speaks. speaks: where some face does. first: where this one is it."""
    theirs, others = speaks & first, speaks & ~first
    edges = np.flatnonzero(np.diff(np.concatenate([[False], theirs, [False]]).astype(np.int8))).reshape(-1, 2)
    joined: list[tuple[int, int]] = []
    for start, end in edges.tolist():
        if joined and (start - joined[-1][1]) * STEP_MS < PAUSE_MS and not others[joined[-1][1] : start].any():
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    for start, end in joined:
        mean = float(score[start:end][theirs[start:end]].mean())
        if (end - start) * STEP_MS >= MIN_MS and mean >= SPEAKS:
            yield Speaking(Interval(start * STEP_MS, end * STEP_MS), round(mean, 2))


def _within(times: Sequence[Speaking], interval: Interval) -> tuple[Speaking, ...]:
    """The same times, inside a face's interval."""
    shared = ((one.interval.overlap(interval), one) for one in times)
    return tuple(replace(one, interval=inside) for inside, one in shared if inside)
