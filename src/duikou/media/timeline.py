"""Speech that lasts longer than the picture it belongs to: cut off, or the video made longer and how.

The first part is plain arithmetic on milliseconds, for whoever checks an order; then frames, their times and the sound.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duikou.errors import InputError
from duikou.media import decode
from duikou.media.audio import Audio, again
from duikou.media.decode import Frame
from duikou.media.demux import Timeline
from duikou.media.encode import VideoWriter
from duikou.media.sync_mode import SyncMode
from duikou.progress import Progress, silent
from duikou.timebase import END_TOLERANCE_MS, Interval

IntArray = npt.NDArray[np.int64]

MAX_MS = 60_000
"""How long a lengthened video may be: a short clip and an hour of speech are a mistake, not an order."""

NEAR_LOSSLESS_CRF, FASTEST = 8, "ultrafast"
"""x264's settings for the file that engines look at; nothing of it is shown but the lips that an exemplar lends."""


def extended_duration_ms(mode: SyncMode | None, video_ms: int, speech_end_ms: int) -> int:
    """How long a video of `video_ms` must become at least for speech that ends at `speech_end_ms` on its time line.

    The video's own length with no mode, with `cut_off`, and where the speech is late by no more than
    `END_TOLERANCE_MS`. The result itself ends with the first frame that ends then or later.
    Raises `InputError` naming `sync_mode` beyond `MAX_MS`.
    """
    if mode in (None, SyncMode.CUT_OFF) or speech_end_ms <= video_ms + END_TOLERANCE_MS:
        return video_ms
    if speech_end_ms > MAX_MS:
        raise InputError(
            f"{mode} would make the video {speech_end_ms} ms long, since the speech ends there; at most "
            f"{MAX_MS} ms are allowed.",
            field="sync_mode",
        )
    return speech_end_ms


def cut_end_ms(mode: SyncMode | None, video_ms: int, interval: Interval, speech: Interval) -> int:
    """Where speech that is wanted at `speech` ends: with `cut_off` not after the face's interval or the video.

    Speech that does not even begin before that is left as it is; it is at fault, not too long.
    """
    limit = min(interval.end_ms, video_ms)
    return min(speech.end_ms, limit) if mode is SyncMode.CUT_OFF and speech.start_ms < limit else speech.end_ms


def shown_ms(mode: SyncMode | None, video_ms: int, interval: Interval, speech: Interval) -> int:
    """For how long the face of `interval` is to be seen while `speech` lasts, in the video made longer by `mode`.

    Right to one frame for each time that the video starts again or turns.
    """
    length, seen = extended_duration_ms(mode, video_ms, speech.end_ms), [interval]
    if mode is not SyncMode.SILENCE:
        turned = Interval(video_ms - interval.end_ms, video_ms - interval.start_ms)
        for start in range(video_ms, length, video_ms):
            part = turned if mode is SyncMode.BOUNCE and start // video_ms % 2 else interval
            seen.append(Interval(start + part.start_ms, start + part.end_ms))
    elif interval.end_ms >= video_ms:
        seen.append(Interval(video_ms, length))
    shared = [one.overlap(speech) for one in seen]
    return sum(one.duration_ms for one in shared if one)


@dataclass(frozen=True)
class Extension:
    """A video made longer.

    order: (K,) number of the source's frame that each frame shows; first all of them as they are.
    passes: (K,) how many times the video has started again, turned or stood still before each frame.
    timeline: when they show, in the source's unit. source: when the source's own do.
    """

    mode: SyncMode
    order: IntArray
    passes: IntArray
    timeline: Timeline
    source: Timeline

    @classmethod
    def of(cls, source: Timeline, mode: SyncMode | None, speech_end_ms: int) -> Extension | None:
        """What `mode` makes of a video; `None` where it stays as it is. Raises `InputError` beyond `MAX_MS`.

        Added frames keep the source's own steps, mirrored where it is played backwards.
        """
        video_ms = source.ms(source.end)
        length = extended_duration_ms(mode, video_ms, speech_end_ms)
        if mode is None or length == video_ms:
            return None
        count, steps = len(source), np.diff([*source.pts, source.end])
        order, added, run = _cycle(mode, count, steps)
        wanted = round(Fraction(length, 1000) / source.time_base) - source.end
        times = 2 + wanted // int(added.sum())
        every_step = np.concatenate([steps, np.tile(added, times)])
        edges = int(source.pts[0]) + np.concatenate([[0], np.cumsum(every_step)])
        # One more than the first edge that is late enough; the frame that ends there is the last.
        stop = count + int(np.searchsorted([source.ms(int(edge)) for edge in edges[count:]], length))
        number = np.arange(stop)
        return cls(
            mode,
            np.concatenate([np.arange(count), np.tile(order, times)])[:stop],
            np.where(number < count, 0, 1 + (number - count) // run),
            Timeline(edges[:stop], np.zeros(0, np.int64), source.time_base, int(every_step[stop - 1])),
            source,
        )

    def __len__(self) -> int:
        return len(self.order)

    @property
    def edges_ms(self) -> IntArray:
        """(K + 1,) when each frame begins to show, and when the last one ends."""
        return np.array([self.timeline.ms(int(pts)) for pts in (*self.timeline.pts, self.timeline.end)], np.int64)

    @property
    def duration_ms(self) -> int:
        """How long the video has become."""
        return self.timeline.ms(self.timeline.end)

    def showing(self, interval: Interval, speech: Interval) -> tuple[Interval | None, Interval | None]:
        """From the first to the last moment of `speech` at which frames of the source's `interval` show; and from the
        first to the last of those frames, on the source's time line. `None` where none of them shows.
        """
        source = np.array([self.source.ms(int(pts)) for pts in self.source.pts], np.int64)[self.order]
        edges = self.edges_ms
        heard = (edges[1:] > speech.start_ms) & (edges[:-1] < speech.end_ms)
        seen = np.flatnonzero(heard & (source >= interval.start_ms) & (source < interval.end_ms))
        if not len(seen):
            return None, None
        here = Interval(int(edges[seen[0]]), int(edges[seen[-1] + 1])).overlap(speech)
        return here, Interval(int(source[seen].min()), int(source[seen].max()) + 1)

    def frames(self, video: Path) -> Iterator[Frame]:
        """Play the source `video` so, few of its frames in memory at a time. Raises `MediaError`."""
        for index, frame in enumerate(self._played(video)):
            pts = int(self.timeline.pts[index])
            yield frame.moved(index, pts, self.timeline.ms(pts))

    def sound(self, own: Audio) -> Audio:
        """What is heard of the video's own sound: it repeats with `loop`, and ends with the source otherwise."""
        part = Interval(self.source.ms(int(self.source.pts[0])), self.source.ms(self.source.end))
        begins = self.timeline.pts[1:][np.diff(self.passes) > 0] if self.mode is SyncMode.LOOP else ()
        return again(own, part, [self.timeline.ms(int(pts)) for pts in begins])

    @contextmanager
    def written(self, video: Path, beside: Path, *, progress: Progress = silent) -> Iterator[Path]:
        """The lengthened picture as a near-lossless file for as long as the context lasts, in the folder of `beside`.

        Raises `StorageError`, `MediaError`.
        """
        path = beside.with_name(f".{beside.stem}.{uuid.uuid4().hex}.longer.mp4")
        try:
            with VideoWriter(path, video, timeline=self.timeline, crf=NEAR_LOSSLESS_CRF, preset=FASTEST) as writer:
                for frame in self.frames(video):
                    writer.copy(frame)
                    progress("making the video longer", (frame.index + 1) / len(self))
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _played(self, video: Path) -> Iterator[Frame]:
        for number in range(int(self.passes[-1]) + 1):
            shown = self.order[self.passes == number]
            first, last = int(shown[0]), int(shown[-1])
            if first == last:
                for still in decode.frames(video, start=first, stop=first + 1):
                    yield from [still] * len(shown)
            elif first < last:
                yield from decode.frames(video, start=first, stop=last + 1)
            else:
                yield from decode.backwards(video, start=last, stop=first + 1)


def _cycle(mode: SyncMode, count: int, steps: IntArray) -> tuple[IntArray, IntArray, int]:
    """What is added to `count` frames over and over: numbers, how long each shows, and frames in a pass."""
    forwards = np.arange(count)
    if mode is SyncMode.LOOP:
        return forwards, steps, count
    if mode is SyncMode.BOUNCE and count > 1:
        # From a frame back to the one before it takes as long as it took from that one on.
        back, forth = forwards[-2::-1], forwards[1:]
        return (
            np.concatenate([back, forth]),
            np.concatenate([steps[np.maximum(back - 1, 0)], steps[forth]]),
            count - 1,
        )
    return np.full(count, count - 1), steps, np.iinfo(np.int64).max
