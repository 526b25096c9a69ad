"""The track of a face in a video that was made longer: the rows of its one real track, again wherever they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from duikou.faces.track import FaceTrack
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Extension

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Repeated:
    """track: the face in the lengthened video. rows: (N,) row of the source's track that each of its rows shows."""

    track: FaceTrack
    rows: IntArray
    _extension: Extension

    @classmethod
    def of(cls, track: FaceTrack, extension: Extension, *, begins_cut: bool, ends_cut: bool) -> Repeated:
        """Repeat a source's track. Shots are numbered on: where the video starts again is a cut, where it turns is
        none, unless the face itself begins or ends with a cut on that side.
        """
        row_of = np.full(len(extension.source), -1, np.int64)
        row_of[track.frames] = np.arange(len(track))
        every = row_of[extension.order]
        frames = np.flatnonzero(every >= 0)
        rows, passes = every[frames], extension.passes[frames]
        cut = np.diff(track.shots[rows]) != 0
        if extension.mode is SyncMode.LOOP:
            cut |= np.diff(passes) != 0
        elif extension.mode is SyncMode.BOUNCE:
            cut |= (np.diff(passes) != 0) & np.where(passes[:-1] % 2, begins_cut, ends_cut)
        first = track.shots[:1]
        return cls(
            replace(
                track.part(rows),
                frames=frames,
                times_ms=extension.edges_ms[frames],
                shots=np.concatenate([first, first + np.cumsum(cut)]) if len(rows) else first[:0],
            ),
            rows,
            extension,
        )

    def beside(self, places: Sequence[tuple[int, int]], times_ms: IntArray) -> list[tuple[int, int]]:
        """Shot and time of every showing of frames that lie just outside the source's track: `places` holds their shot
        and time there, `times_ms` (M,) is when each of the source's frames shows.
        """
        order, edges, passes = self._extension.order, self._extension.edges_ms, self._extension.passes
        found = []
        for _, ms in places:
            for frame in np.flatnonzero(order == np.abs(times_ms - ms).argmin()):
                near = np.flatnonzero(passes[self.track.frames] == passes[frame])
                if len(near):
                    row = near[np.abs(self.track.frames[near] - frame).argmin()]
                    found.append((int(self.track.shots[row]), int(edges[frame])))
        return found
