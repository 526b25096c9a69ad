"""Joins packets that are copied from the source and frames that are encoded to one H.264 track.

Each encoded part begins with an IDR picture, and its parameter sets have other ids than the source's. So both stand in
the track's one description, and a player needs no more than to start anew at a key frame. All else that a track has in
common is equal: profile, size, colours, aspect ratio, size of the buffer.

Encoded frames have no B-frames and take the decoding times of the packets that they replace, in order: these rise, and
none is later than the time at which its frame shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeAlias

from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from duikou.arrays import BoolArray
from duikou.media import demux, h264
from duikou.media.groups import Groups, Stretch, UnfitError
from duikou.media.h264 import ParameterSets, Pps, Sps
from duikou.media.picture import Orientation, Picture
from duikou.media.video import Video

EncoderMaker: TypeAlias = Callable[[Mapping[str, str]], VideoCodecContext]
"""Makes an encoder with the settings of the result that is not open yet. Its argument: more options of libx264."""

_PROFILES: Final = {66: "baseline", 77: "main", 100: "high"}
"""x264's names for the profiles of H.264 with 4:2:0 and 8 bits."""
_NUMBERS: Final = 32  # ids of sequence parameter sets
_PRESET: Final = "superfast"
"""Of encoded parts, where most is copied: at the same CRF, pictures are more like their source than with `veryfast`, by
1.2 to 1.9 dB on four real clips, for about 0.7 of its work. They take twice as many bytes, which matters little in a
part of a file."""
_MOST: Final = 0.5  # share of the frames up to which it is a part


@dataclass(frozen=True)
class Plan:
    """How the picture of a result is made. sets: of the whole track. options: of libx264."""

    groups: Groups
    stretches: tuple[Stretch, ...]
    sets: ParameterSets
    options: Mapping[str, str]

    @classmethod
    def of(cls, source: Video, picture: Picture, changed: BoolArray, encoder: EncoderMaker) -> Self:
        """Decide what of a source is copied. picture: of the result. changed: (N,) the frames that are new.

        Raises `UnfitError` where nothing can be copied, `MediaError`.
        """
        _check(source, picture)
        groups = Groups.read(source)
        stretches = groups.stretches(changed)
        if not any(one.copied for one in stretches):
            raise UnfitError("the changes leave no group of pictures")
        sps = Sps.parse(groups.sets.sps[0])
        options = _options(sps, [Pps.parse(unit).number for unit in groups.sets.pps])
        if sum(len(one) for one in stretches if not one.copied) <= _MOST * len(groups):
            options["preset"] = _PRESET
        opened = _opened(encoder, options)
        own = ParameterSets.of(opened.extradata or b"")
        made = Sps.parse(own.sps[0])
        if replace(made, number=sps.number, constraints=sps.constraints, level=sps.level) != sps:
            raise UnfitError("the encoder cannot make pictures of the same form")
        return cls(groups, stretches, groups.sets + own, options)


def _check(source: Video, picture: Picture) -> None:
    """Check what is known of a source without reading it. picture: of the result. Raises `UnfitError`."""
    stored = source.picture
    if source.info.codec != "h264":
        raise UnfitError(f"the codec is {source.info.codec}")
    if stored.is_hdr or stored.bits != 8:
        raise UnfitError("the result has fewer bits than the source")
    if stored.orientation != Orientation():
        raise UnfitError("the picture is turned")
    if picture.pixel_format != "yuv420p" or not stored.alike(picture):
        raise UnfitError("the result stores pixels in another way")
    if source.fields is not None:
        raise UnfitError("the video is interlaced")


def _options(sps: Sps, pictures: Sequence[int]) -> dict[str, str]:
    """libx264's options for parts beside packets with `sps`. pictures: ids of the picture parameter sets."""
    if sps.profile not in _PROFILES or (sps.chroma, sps.bits) != (h264.CHROMA_420, (8, 8)):
        raise UnfitError(f"the profile is {sps.profile}")
    free = next((number for number in range(1, _NUMBERS) if number not in {sps.number, *pictures}), None)
    if free is None:
        raise UnfitError("the source uses all ids of parameter sets")
    parameters = {
        "sps-id": free,  # and of the picture parameter set
        "annexb": 0,  # lengths before NAL units, as in the source's packets
        "dpb-size": sps.buffered,
        "chromaloc": sps.look.chroma_location[0],
        "keyint": "infinite",  # `Splice.encode` sets key frames
        "scenecut": 0,
    }
    joined = ":".join(f"{name}={value}" for name, value in parameters.items())
    return {"profile": _PROFILES[sps.profile], "forced-idr": "1", "x264-params": joined}


def _opened(encoder: EncoderMaker, options: Mapping[str, str]) -> VideoCodecContext:
    context = encoder(options)
    context.flags |= Flags.global_header
    context.open()
    return context


class Splice:
    """Makes the packets of a spliced track, in order. Holds the source open until it is closed.

    key_frames: a key frame comes at least after this many frames in encoded parts.
    """

    def __init__(self, plan: Plan, source: Video, encoder: EncoderMaker, key_frames: int) -> None:
        self.plan = plan
        self._source, self._maker, self._key_frames = source, encoder, key_frames
        self._files = ExitStack()
        self._encoder: VideoCodecContext | None = None
        self._encoded = iter([one for one in plan.stretches if not one.copied])
        self._part = Stretch(0, 0, False)
        self._taken = self._given = 0  # frames that the encoder of this part has taken, packets that it has given
        self._packets: Iterator[tuple[int, Packet[VideoStream]]]
        self._stream: VideoStream

    def add_stream(self, file: OutputContainer) -> VideoStream:
        """Add the track to an output file. Raises `MediaError` where the source cannot be read."""
        source, _ = self._files.enter_context(demux.opened(self._source.path, field="video"))
        template = demux.video_stream(source, field="video")
        self._stream = file.add_stream_from_template(template, opaque=True)
        self._stream.codec_context.extradata = self.plan.sets.record
        demux.select_stream(source, template)
        self._packets = enumerate(packet for packet in source.demux(template) if demux.is_shown(packet))
        return self._stream

    def close(self) -> None:
        """Close the source."""
        self._files.close()

    def copied(self, stretch: Stretch) -> Iterator[Packet[VideoStream]]:
        """The source's packets of a copied stretch. Raises `UnfitError` where they are not those that were planned."""
        origin, groups = self._source.frame_times.origin, self.plan.groups
        for number, packet in self._packets:
            if number < stretch.start:
                continue
            pts, dts = packet.pts, packet.dts
            planned = number < len(groups) and int(self._source.frame_times.pts[groups.frames[number]])
            if pts is None or dts is None or (pts - origin, dts - origin) != (planned, groups.dts[number]):
                raise UnfitError("the source has changed")
            packet.pts, packet.dts = pts - origin, dts - origin
            packet.stream = self._stream
            yield packet
            if number + 1 == stretch.stop:
                return
        raise UnfitError("the source has changed")

    def encode(self, frame: VideoFrame) -> Iterator[Packet[VideoStream]]:
        """Packets of the next frame of the encoded stretches; after the last one of a stretch, all that are left.

        Raises `UnfitError` where these are not one for each frame.
        """
        if self._taken == len(self._part):
            self._part, self._taken, self._given = next(self._encoded), 0, 0
            self._encoder = _opened(self._maker, self.plan.options)
        assert self._encoder is not None
        self._taken += 1
        last = self._taken == len(self._part)
        # A single IDR picture at the end would stand beside that of the source.
        is_key = (self._taken - 1) % self._key_frames == 0 and (not last or self._taken == 1)
        frame.pict_type = PictureType.I if is_key else PictureType.NONE
        yield from self._timed(self._encoder.encode(frame))
        if last:
            yield from self._timed(self._encoder.encode(None))
            self._encoder = None
            if self._given != self._taken:
                raise UnfitError("the encoder leaves frames out")

    def _timed(self, packets: Sequence[Packet[Any]]) -> Iterator[Packet[VideoStream]]:
        for packet in packets:
            if self._given == len(self._part):
                raise UnfitError("the encoder adds frames")
            packet.dts = int(self.plan.groups.dts[self._part.start + self._given])
            packet.stream = self._stream
            self._given += 1
            yield packet
