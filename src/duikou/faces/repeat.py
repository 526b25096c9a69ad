"""The track of a face on the timeline of a result: the rows of its source track, repeated as the frames are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from duikou.arrays import IntArray
from duikou.faces.track import FaceTrack
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import LengthenedTimeline, Timeline


@dataclass(frozen=True)
class ResultTrack:
    """A face in the result.

    track: its track in the result. rows: (N,) for each row of it, the row of the source's track that it repeats.
    """

    track: FaceTrack
    rows: IntArray

    @staticmethod
    def of(track: FaceTrack, timeline: Timeline, *, begins_cut: bool, ends_cut: bool) -> ResultTrack:
        """Map a track of the source onto the timeline of a result.

        Shot numbers continue. A restart of the video is a cut. A change of direction is none, unless the face begins
        (`begins_cut`) or ends (`ends_cut`) with a cut on that side.
        """
        if not isinstance(timeline, LengthenedTimeline):
            return ResultTrack(track, np.arange(len(track)))
        row_of = np.full(len(timeline.source), -1, np.int64)
        row_of[track.frames] = np.arange(len(track))
        row_shown = row_of[timeline.order]
        frames = np.flatnonzero(row_shown >= 0)
        rows, passes = row_shown[frames], timeline.passes[frames]
        cut = np.diff(track.shots[rows]) != 0
        if timeline.mode is SyncMode.LOOP:
            cut |= np.diff(passes) != 0
        elif timeline.mode is SyncMode.BOUNCE:
            cut |= (np.diff(passes) != 0) & np.where(passes[:-1] % 2, begins_cut, ends_cut)
        first = track.shots[:1]
        repeated = replace(
            track.part(rows),
            frames=frames,
            times_ms=timeline.times.starts_ms[frames],
            shots=np.concatenate([first, first + np.cumsum(cut)]) if len(rows) else first[:0],
        )
        return _RepeatedTrack(repeated, rows, timeline)

    def neighbours(self, source: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Shot and time in ms of frames just outside the track, wherever they show in the result.

        source: shot and time of the same frames in the source.
        """
        return list(source)


@dataclass(frozen=True)
class _RepeatedTrack(ResultTrack):
    timeline: LengthenedTimeline

    def neighbours(self, source: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """See `ResultTrack.neighbours`."""
        order, passes = self.timeline.order, self.timeline.passes
        starts, source_ms = self.timeline.times.starts_ms, self.timeline.source.starts_ms
        found = []
        for _, ms in source:
            for frame in np.flatnonzero(order == np.abs(source_ms - ms).argmin()):
                near = np.flatnonzero(passes[self.track.frames] == passes[frame])
                if len(near):
                    row = near[np.abs(self.track.frames[near] - frame).argmin()]
                    found.append((int(self.track.shots[row]), int(starts[frame])))
        return found
