"""The track of a face on the time line of a result: the rows of its one measured track, wherever they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from duikou.arrays import IntArray
from duikou.faces.track import FaceTrack
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import LengthenedTimeline, Timeline


@dataclass(frozen=True)
class Repeated:
    """track: the face in the result. rows: (N,) the row of the source's track that each of its rows shows."""

    track: FaceTrack
    rows: IntArray

    @staticmethod
    def of(track: FaceTrack, timeline: Timeline, *, begins_cut: bool, ends_cut: bool) -> Repeated:
        """The track of a source on the time line of a result.

        Shots are numbered on: where the video starts again there is a cut. Where it turns there is none, unless the
        face itself begins (`begins_cut`) or ends (`ends_cut`) with a cut on that side.
        """
        if not isinstance(timeline, LengthenedTimeline):
            return Repeated(track, np.arange(len(track)))
        row_of = np.full(len(timeline.source), -1, np.int64)
        row_of[track.frames] = np.arange(len(track))
        every = row_of[timeline.order]
        frames = np.flatnonzero(every >= 0)
        rows, passes = every[frames], timeline.passes[frames]
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
        return _Again(repeated, rows, timeline)

    def beside(self, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Shot and time of every showing of frames that lie just outside the source's track.

        places: their shot and time in the source, in ms.
        """
        return list(places)


@dataclass(frozen=True)
class _Again(Repeated):
    timeline: LengthenedTimeline

    def beside(self, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        order, passes = self.timeline.order, self.timeline.passes
        starts, source_ms = self.timeline.times.starts_ms, self.timeline.source.starts_ms
        found = []
        for _, ms in places:
            for frame in np.flatnonzero(order == np.abs(source_ms - ms).argmin()):
                near = np.flatnonzero(passes[self.track.frames] == passes[frame])
                if len(near):
                    row = near[np.abs(self.track.frames[near] - frame).argmin()]
                    found.append((int(self.track.shots[row]), int(starts[frame])))
        return found
