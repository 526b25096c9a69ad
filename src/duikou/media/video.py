"""A video file whose index was read once: the one value that every pass over it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from duikou.errors import MediaError
from duikou.media import decode, demux
from duikou.media.decode import Frame
from duikou.media.demux import FrameTimes
from duikou.media.picture import Picture
from duikou.media.probe import AudioInfo, VideoInfo, audio_info

_CONTAINERS: Final = ("mp4", "mov")


@dataclass(frozen=True)
class Video:
    """A video file: what it is, when its frames show and what its stored pixels mean. Holds no open file.

    picture: how the first frame is stored; the encoder writes the result the same way.
    """

    path: Path
    info: VideoInfo
    frame_times: FrameTimes
    picture: Picture

    @classmethod
    def open(cls, path: str | Path, *, field: str = "video") -> Self:
        """Read a file's headers and packets, and decode its first frame to see that it can be read.

        Raises `MediaError` that names `field` for what is not an mp4 or mov with one readable picture.
        """
        path = Path(path)
        with demux.opened(path, field=field) as (file, container):
            if container not in _CONTAINERS:
                raise MediaError(f"the file is {container}, a video must be mp4 or mov.", field=field)
            stream = demux.video_stream(file, field=field)
            frame_times = demux.read_frame_times(file, stream, field=field)
            has_audio = demux.audio_stream(file, field=field) is not None
            codec = stream.codec_context.codec.canonical_name
        with demux.opened(path, field=field) as (file, _):
            stream = demux.video_stream(file, field=field)
            picture = Picture.of(stream, decode.first_frame(file, stream, field=field))
        audio: AudioInfo | None = audio_info(path, field=field) if has_audio else None
        width, height = picture.size
        info = VideoInfo(
            container,
            codec,
            width,
            height,
            picture.orientation.degrees,
            len(frame_times),
            frame_times.rate,
            frame_times.duration_ms,
            audio,
        )
        return cls(path, info, frame_times, picture)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Stream the frames numbered `start` to `stop` (exclusive; `None` is the end), see `decode.frames`."""
        return decode.frames(self.path, start=start, stop=stop, frame_times=self.frame_times)

    def backwards(self, start: int, stop: int) -> Iterator[Frame]:
        """The same frames, the last one first, see `decode.backwards`."""
        return decode.backwards(self.path, start=start, stop=stop, frame_times=self.frame_times)


def probe_video(path: str | Path, *, field: str = "video") -> VideoInfo:
    """What a video file is. Raises `MediaError` that names `field` where it cannot be read."""
    return Video.open(path, field=field).info
