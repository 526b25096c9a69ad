"""A video file whose index has been read. Everything that reads the file takes this value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from duikou.errors import MediaError
from duikou.media import decode, demux, iso, sniff
from duikou.media.clock import Clock
from duikou.media.decode import Frame
from duikou.media.demux import FrameTimes
from duikou.media.fields import Examination, Fields
from duikou.media.losses import losses
from duikou.media.picture import Picture
from duikou.media.probe import VideoInfo, audio_info


@dataclass(frozen=True)
class Video:
    """A video file: its description, its frame times and its pixel format. Holds no open file.

    clock: where time 0 of the file lies.
    picture: how the first frame is stored. `frames` brings all others to this format, and results have it too.
    examined: whether it is known how the frames are interlaced; then `picture.fields` says it.
    """

    path: Path
    info: VideoInfo
    frame_times: FrameTimes
    picture: Picture
    clock: Clock
    examined: bool = False

    @cached_property
    def fields(self) -> Fields | None:
        """How the frames are interlaced, or `None`: decided on first use and once, from frames all over the file."""
        if self.examined:
            return self.picture.fields
        return decode.examine(self.path, frame_times=self.frame_times, picture=self.picture)

    @classmethod
    def open(cls, path: str | Path, *, field: str = "video") -> Self:
        """Read a file's headers and packets, and decode its first frame to verify that it can be read.

        Raises `MediaError` that names `field` for anything but an mp4 or mov with a frame that can be decoded.
        """
        path = Path(path)
        with demux.opened(path, field=field, formats=sniff.VIDEO_FORMATS) as (file, container):
            if container not in sniff.VIDEO_FORMATS:
                raise MediaError(f"the file is {container}; a video must be mp4 or mov.", field=field)
            stream = demux.video_stream(file, field=field)
            clock = demux.read_clock(path, field=field)
            frame_times = demux.read_frame_times(file, stream, clock, field=field)
            has_audio = demux.audio_stream(file, field=field) is not None
            codec = stream.codec_context.codec.canonical_name
        picture = _without_dolby_vision(path, decode.read_picture(path, field=field), field=field)
        audio = audio_info(path, clock, field=field) if has_audio else None
        width, height = picture.size
        info = VideoInfo(
            container=container,
            codec=codec,
            width=width,
            height=height,
            rotation=picture.orientation.degrees,
            frames=len(frame_times),
            rate=frame_times.rate,
            duration_ms=frame_times.duration_ms,
            audio=audio,
            losses=losses(picture),
        )
        return cls(path, info, frame_times, picture, clock)

    def read_as(self, fields: Fields | None) -> Self:
        """The same video, whose frames are interlaced as `fields` say, or not at all."""
        return replace(self, picture=replace(self.picture, fields=fields), examined=True)

    def examination(self) -> Examination:
        """The search for interlaced frames, for whoever reads all frames as they are stored."""
        times = self.frame_times
        return Examination(np.searchsorted(times.pts, times.keyframes), len(times))

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Stream the frames numbered `start` to `stop` (exclusive; `None` is the end), progressive in any case.

        See `decode.frames`.
        """
        times, picture = self.frame_times, replace(self.picture, fields=self.fields)
        return decode.frames(self.path, start=start, stop=stop, frame_times=times, picture=picture)

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """The same frames in reverse. See `decode.backwards`."""
        times, picture = self.frame_times, replace(self.picture, fields=self.fields)
        return decode.backwards(self.path, start=start, stop=stop, frame_times=times, picture=picture)


def _without_dolby_vision(path: Path, picture: Picture, *, field: str) -> Picture:
    """The picture with a note of Dolby Vision. Raises `MediaError` where nothing else can show its colours."""
    dolby = iso.dolby_vision(path, field=field)
    if dolby is None:
        return picture
    profile, compatible = dolby
    if compatible == 0:
        raise MediaError(
            f"the video is Dolby Vision of profile {profile}, whose colours only Dolby's decoder can read; export it "
            "as HDR10, HLG or without high dynamic range.",
            field=field,
        )
    dynamic = dict.fromkeys(["Dolby Vision", *picture.light.dynamic])
    return replace(picture, light=replace(picture.light, dynamic=tuple(dynamic)))


def probe_video(path: str | Path, *, field: str = "video") -> VideoInfo:
    """Describe a video file. Raises `MediaError` that names `field` where it cannot be read."""
    return Video.open(path, field=field).info
