"""Finds which packets of an H.264 track can be copied when some of its frames change.

A decoder can start anew at an IDR picture. So packets are copied from one on, up to the next frame that changes. A cut
is possible where all frames decoded so far show before all others. From there to the next IDR picture, frames must be
encoded, because they may refer to one that has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from duikou.arrays import BoolArray, IntArray
from duikou.media import demux, h264
from duikou.media.h264 import Nal, ParameterSets, Pps, Sps
from duikou.media.video import Video

LEAST: Final = 24
"""Frames that are worth copying. To open the source again behind them, and to start another encoder, costs about as
much as to encode some frames."""
_READ: Final = frozenset({Nal.SLICE, Nal.IDR, Nal.SEI, Nal.SPS, Nal.PPS, Nal.DELIMITER, Nal.FILLER})
"""NAL units of streams whose pictures can be copied: no data partitions, no extensions."""
_NEW_SETS: Final = "new_extradata"  # FFmpeg's packet side data where the track changes to another description


class UnfitError(Exception):
    """Why nothing can be copied: half a sentence."""


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `stop` (exclusive). copied: whether their packets are the source's; else they are encoded."""

    start: int
    stop: int
    copied: bool

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Groups:
    """The N packets of an H.264 track that show a frame, in decoding order.

    sets: the track's parameter sets. frames: (N,) the number of the frame that each packet shows. dts: (N,) when it is
    decoded, in the track's unit on the file's timeline. starts: (K,) packets with an IDR picture. joints: (M,) packets
    right before which there are others that the edit list hides.
    """

    sets: ParameterSets
    frames: IntArray
    dts: IntArray
    starts: IntArray
    joints: IntArray

    @classmethod
    def read(cls, source: Video) -> Self:
        """Read the packets of a file and what NAL units they have. Raises `UnfitError`, `MediaError`."""
        times = source.frame_times
        pts: list[int] = []
        dts: list[int] = []
        starts: list[int] = []
        joints: list[int] = []
        hidden = False
        with demux.opened(source.path, field="video") as (file, _):
            stream = demux.video_stream(file, field="video")
            sets = _parameter_sets(stream)
            known = frozenset(sets.sps + sets.pps)
            demux.select_stream(file, stream)
            for packet in file.demux(stream):
                if not packet.size:
                    continue
                if packet.pts is None or packet.dts is None or packet.dts > packet.pts:
                    raise UnfitError("packets lack their times")
                is_idr = _is_idr(packet, known)
                if not demux.is_shown(packet):
                    hidden = True
                    continue
                if hidden:
                    joints.append(len(pts))
                hidden = False
                if is_idr:
                    starts.append(len(pts))
                pts.append(packet.pts - times.origin)
                dts.append(packet.dts - times.origin)
        shown, decoded = np.array(pts, np.int64), np.array(dts, np.int64)
        if not np.array_equal(np.sort(shown), times.pts):
            raise UnfitError("several frames show at the same time")
        if (np.diff(decoded) <= 0).any():
            raise UnfitError("several packets are decoded at the same time")
        places = np.array(starts, np.int64), np.array(joints, np.int64)
        return cls(sets, np.searchsorted(times.pts, shown), decoded, *places)

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def cuts(self) -> IntArray:
        """(C,) numbers of packets, from 0 to N, before which all packets show before all others.

        So the packets between two cuts show the frames with the same numbers.
        """
        latest = np.maximum.accumulate(self.frames)
        return np.concatenate([[0], 1 + np.flatnonzero(latest == np.arange(len(self)))])

    def stretches(self, changed: BoolArray) -> tuple[Stretch, ...]:
        """What to copy and what to encode, from the first frame to the last. changed: (N,) the frames that are new.

        Where a copied part and an encoded one meet, and one ends with an IDR picture alone, decoders could take it and
        the IDR picture behind it for one (7.4.1.2.4). So encoded parts have two frames at least, and copied ones do not
        end like this.
        """
        total, copied = len(self), np.zeros(len(self), bool)
        starts = np.intersect1d(self.starts, self.cuts)
        starts = starts[starts != 1]
        ends = np.append(starts, total)[1:]
        stops = np.setdiff1d(self.cuts, self.starts + 1)  # where an encoded part may follow
        new, resumed = np.flatnonzero(changed), total  # where copying goes on behind the group
        for start, end in zip(starts[::-1].tolist(), ends[::-1].tolist(), strict=True):
            stop = min([end, *_first(new, start), *_first(self.joints, start + 1)])
            if not stop == end == resumed:
                stop = max([0, *stops[: np.searchsorted(stops, min(stop, resumed - 2), "right")][-1:].tolist()])
            if stop > start:
                copied[start:stop] = True
                resumed = start
        return _runs(copied)


def _first(rising: IntArray, least: int) -> Iterator[int]:
    """The first of rising numbers that is at least `least`, if there is one."""
    yield from rising[np.searchsorted(rising, least) :][:1].tolist()


def _runs(copied: BoolArray) -> tuple[Stretch, ...]:
    """Runs of equal values. Copied ones that are too short are encoded, unless there is nothing else."""
    edges = [0, *(1 + np.flatnonzero(np.diff(copied))).tolist(), len(copied)]
    found = [Stretch(start, stop, bool(copied[start])) for start, stop in pairwise(edges)]
    short = [one for one in found if one.copied and len(one) < LEAST]
    if not short or len(found) == 1:
        return tuple(found)
    kept = copied.copy()
    for one in short:
        kept[one.start : one.stop] = False
    return _runs(kept)


def _parameter_sets(stream: VideoStream) -> ParameterSets:
    """The sets of a track. Raises `UnfitError`."""
    try:
        sets = ParameterSets.of(stream.codec_context.extradata or b"")
        pictures = [Pps.parse(unit) for unit in sets.pps]
        sps = Sps.parse(sets.sps[0])
    except h264.BitstreamError as error:
        raise UnfitError(str(error)) from error
    if len(sets.sps) > 1:
        raise UnfitError("the track has several sequence parameter sets")
    if not sps.progressive:
        raise UnfitError("the track may hold fields")
    if any(one.slice_groups > 1 or one.sps != sps.number for one in pictures):
        raise UnfitError("the picture parameter sets are unusual")
    return sets


def _is_idr(packet: Packet[Any], known: frozenset[bytes]) -> bool:
    """Whether a packet holds an IDR picture. known: the track's parameter sets. Raises `UnfitError`."""
    if packet.is_corrupt or packet.has_sidedata(_NEW_SETS):
        raise UnfitError("the track changes its description")
    slices = set()
    try:
        for unit in h264.nal_units(memoryview(packet)):
            kind = h264.nal_type(unit)
            if kind in (Nal.SLICE, Nal.IDR):
                slices.add(kind)
            elif kind not in _READ:
                raise UnfitError(f"the track has NAL units of type {kind}")
            elif kind in (Nal.SPS, Nal.PPS) and bytes(unit) not in known:
                raise UnfitError("the parameter sets change")
    except h264.BitstreamError as error:
        raise UnfitError(str(error)) from error
    if len(slices) != 1:
        raise UnfitError("a packet does not hold one picture")
    return slices == {Nal.IDR}
