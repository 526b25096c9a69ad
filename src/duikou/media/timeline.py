"""The time line of a result: that of the source, or a longer one that shows frames of the source again.

Everything above asks a `Timeline` and need not know which of the two it has.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from duikou.arrays import IntArray
from duikou.media.audio import Audio, repeated
from duikou.media.decode import Frame
from duikou.media.demux import FrameTimes
from duikou.media.encode import NEAR_LOSSLESS, VideoWriter
from duikou.media.sync_mode import SyncMode, extended_duration_ms
from duikou.media.video import Video
from duikou.progress import Progress, silent
from duikou.timebase import Interval


@dataclass(frozen=True)
class Timeline:
    """When each frame of a result shows, and what it shows: here every frame of the source, at its own time.

    source: when the frames of the source show. times: when those of the result do, in the same unit.
    """

    source: FrameTimes
    times: FrameTimes

    @staticmethod
    def of(source: FrameTimes, mode: SyncMode | None, speech_end_ms: int) -> Timeline:
        """What `mode` makes of a video for speech that ends at `speech_end_ms`.

        Raises `InputError` that names `sync_mode` where the result would last longer than `sync_mode.MAX_MS`.
        """
        length_ms = extended_duration_ms(mode, source.duration_ms, speech_end_ms)
        if mode is None or length_ms == source.duration_ms:
            return Timeline(source, source)
        return LengthenedTimeline.lasting(source, mode, length_ms)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def duration_ms(self) -> int:
        """How long the result lasts."""
        return self.times.duration_ms

    @property
    def added(self) -> tuple[Interval, SyncMode] | None:
        """The part that the source does not have and how it was made, or `None`."""
        return None

    def showing(self, interval: Interval, speech: Interval) -> tuple[Interval, Interval] | None:
        """Where the source's `interval` shows while `speech` lasts; `None` where it does not.

        The first answer reaches from the first to the last such moment of the result. The second one covers the frames
        that show then, on the time line of the source.
        """
        shared = speech.overlap(interval)
        return None if shared is None else (shared, shared)

    def frames(self, video: Video) -> Iterator[Frame]:
        """Play the source `video` on this time line, a few of its frames in memory at a time. Raises `MediaError`."""
        return video.frames()

    def audio(self, own: Audio) -> Audio:
        """What is heard of the video's own audio."""
        return own

    @contextmanager
    def footage(self, video: Video, beside: Path, *, progress: Progress = silent) -> Iterator[Video]:
        """The picture on this time line as a file, for as long as the context lasts. Here: the source itself.

        A longer one is written, near-lossless, into the folder of `beside`. Raises `StorageError`, `MediaError`.
        """
        yield video


@dataclass(frozen=True)
class LengthenedTimeline(Timeline):
    """A time line that goes on after the source has ended, by showing frames of it again.

    order: (K,) number of the source's frame that each frame shows; first all of them as they are.
    passes: (K,) how many times the video has started again, turned or stood still before each frame.
    """

    mode: SyncMode
    order: IntArray
    passes: IntArray

    @classmethod
    def lasting(cls, source: FrameTimes, mode: SyncMode, length_ms: int) -> LengthenedTimeline:
        """A time line of at least `length_ms`, which is longer than the source; it ends with a whole frame.

        Added frames keep the source's own steps, mirrored where it is played backwards.
        """
        count, steps = len(source), np.diff([*source.pts, source.end])
        order, added, run = _cycle(mode, count, steps)
        wanted = round(Fraction(length_ms, 1000) / source.time_base) - source.end
        times = 2 + wanted // int(added.sum())
        every_step = np.concatenate([steps, np.tile(added, times)])
        edges = int(source.pts[0]) + np.concatenate([[0], np.cumsum(every_step)])
        # One more than the first edge that is late enough; the frame that ends there is the last.
        stop = count + int(np.searchsorted([source.ms(int(edge)) for edge in edges[count:]], length_ms))
        number = np.arange(stop)
        return cls(
            source=source,
            times=FrameTimes(edges[:stop], np.zeros(0, np.int64), source.time_base, int(every_step[stop - 1])),
            mode=mode,
            order=np.concatenate([np.arange(count), np.tile(order, times)])[:stop],
            passes=np.where(number < count, 0, 1 + (number - count) // run),
        )

    @property
    def added(self) -> tuple[Interval, SyncMode]:
        """The part that the source does not have and how it was made."""
        return Interval(self.source.duration_ms, self.duration_ms), self.mode

    def showing(self, interval: Interval, speech: Interval) -> tuple[Interval, Interval] | None:
        """See `Timeline.showing`; the interval may show several times."""
        source, edges = self.source.starts_ms[self.order], self.times.edges_ms
        heard = (edges[1:] > speech.start_ms) & (edges[:-1] < speech.end_ms)
        seen = np.flatnonzero(heard & (source >= interval.start_ms) & (source < interval.end_ms))
        if not len(seen):
            return None
        here = Interval(int(edges[seen[0]]), int(edges[seen[-1] + 1])).overlap(speech)
        assert here is not None  # what is seen is heard
        return here, Interval(int(source[seen].min()), int(source[seen].max()) + 1)

    def frames(self, video: Video) -> Iterator[Frame]:
        """See `Timeline.frames`."""
        for index, frame in enumerate(self._played(video)):
            pts = int(self.times.pts[index])
            yield frame.moved(index, pts, self.times.ms(pts))

    def audio(self, own: Audio) -> Audio:
        """What is heard of the video's own audio: it repeats with `loop`, and ends with the source otherwise."""
        part = Interval(self.source.ms(int(self.source.pts[0])), self.source.duration_ms)
        begins = self.times.pts[1:][np.diff(self.passes) > 0] if self.mode is SyncMode.LOOP else ()
        return repeated(own, part, [self.times.ms(int(pts)) for pts in begins])

    @contextmanager
    def footage(self, video: Video, beside: Path, *, progress: Progress = silent) -> Iterator[Video]:
        """See `Timeline.footage`."""
        path = beside.with_name(f".{beside.stem}.{uuid.uuid4().hex}.longer.mp4")
        try:
            with VideoWriter(path, video, frame_times=self.times, quality=NEAR_LOSSLESS) as writer:
                for frame in self.frames(video):
                    writer.copy(frame)
                    progress("making the video longer", (frame.index + 1) / len(self))
            yield Video.open(path)
        finally:
            path.unlink(missing_ok=True)

    def _played(self, video: Video) -> Iterator[Frame]:
        for number in range(int(self.passes[-1]) + 1):
            shown = self.order[self.passes == number]
            first, last = int(shown[0]), int(shown[-1])
            if first == last:
                for still in video.frames(first, first + 1):
                    yield from [still] * len(shown)
            elif first < last:
                yield from video.frames(first, last + 1)
            else:
                yield from video.backwards(last, first + 1)


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
