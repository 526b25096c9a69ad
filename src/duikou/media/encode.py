"""Frames and sound back into an mp4 that plays everywhere: H.264 and AAC, at the source's own frame times."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from duikou.errors import StorageError
from duikou.media import demux
from duikou.media.audio import Audio
from duikou.media.decode import Frame, first_frame, read_timeline
from duikou.media.picture import BgrImage, Converter, Picture

CRF: Final = 17  # x264's scale of quality; at 18 and below copies cannot be told from the source by eye
PRESET: Final = "veryfast"  # about as fast as decoding on two cores; slower presets save bytes, not quality, at one CRF
_KEY_FRAME_S: Final = 2  # seconds between key frames, for seeking in a player
_AAC_BITS_PER_CHANNEL: Final = 96_000  # bit/s at which FFmpeg's encoder is transparent for speech and music
_AAC_BITS_PER_SAMPLE: Final = 5  # an AAC frame holds at most 6144 bits for 1024 samples of a channel (ISO 14496-3)
_AAC_FRAME: Final = 1024  # samples a frame
_AAC_RATES: Final = frozenset(
    {96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350}
)
_AAC_FALLBACK_RATE: Final = 48_000
_LAYOUTS: Final = {1: "mono", 2: "stereo"}


class VideoWriter:
    """Writes an upright copy of a video: same size, colours, frame times and frame count as its source.

    H.264 4:2:0 (4:4:4 where a side is odd, see `Picture.encoded`) and AAC with `faststart`. Time stamps and their unit
    are the source's, variable frame rates and the last frame's length included; the sound's first sample lies at time
    0. The file grows under a temporary name beside `output` and gets its own name only when it is whole; on any error
    it is removed. A context manager; frames are written in rising order of `pts`.

    timeline: when its frames show, for a copy that has not the source's own.
    tags: metadata of the file, under names of any kind (`moov.udta.meta`, keys and values).
    seal: called with the finished file and the name of a second one, which it writes and which becomes the output.

    Raises `StorageError` where the disk is full or cannot be written to, `MediaError` where the source cannot be read.
    """

    def __init__(
        self,
        output: Path,
        source: Path,
        sound: Audio | None = None,
        *,
        timeline: demux.Timeline | None = None,
        crf: int = CRF,
        preset: str = PRESET,
        tags: Mapping[str, str] | None = None,
        seal: Callable[[Path, Path], None] | None = None,
    ) -> None:
        self._output = Path(output)
        self._part = self._output.with_name(f".{self._output.stem}.{uuid.uuid4().hex}.part.mp4")
        self._sealed = self._part.with_suffix(".sealed.mp4")
        self._tags, self._seal = dict(tags or {}), seal
        self._timeline = timeline or read_timeline(source)
        with demux.opened(source, field="video") as (file, _):
            stream = demux.video_stream(file, field="video")
            self._source = Picture.of(stream, first_frame(file, stream, field="video"))
        self._encoded = self._source.encoded()
        self._converter = Converter(self._encoded)
        self._sound = None if sound is None else _encodable(sound)
        self._sound_done = 0
        self._last_pts: int | None = None
        # No B-frames: decoding order is then showing order, so the last frame's length is exact in an mp4, and players
        # that ignore edit lists show the picture on time too. At one CRF that costs some bytes and no quality.
        self._options = {"crf": str(crf), "preset": preset, "bf": "0"}
        self._file: OutputContainer | None = None
        self._video: VideoStream
        self._audio: AudioStream | None = None

    def __enter__(self) -> Self:
        try:
            with _storage_errors(self._output):
                self._open()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with _storage_errors(self._output):
                    self._finish()
        finally:
            self._discard()

    def write(self, image: BgrImage, pts: int) -> None:
        """Encode an upright image (H, W, 3) uint8 BGR that shows at `pts`, one of the source's.

        Raises `ValueError` for another size or a pts that the source does not have or that is not later than the last.
        """
        width, height = self._encoded.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"the image is {image.shape} {image.dtype}, it must be ({height}, {width}, 3) uint8")
        self._encode(self._converter.yuv(image), pts)

    def copy(self, frame: Frame) -> None:
        """Encode a frame of the source that was not changed: without a way over BGR where its pixels allow it."""
        if frame.stored is not None and self._source.passes(frame.stored):
            self._encode(frame.stored, frame.pts)
        else:
            self.write(frame.image, frame.pts)

    def _open(self) -> None:
        timeline, picture = self._timeline, self._encoded
        # The edit list counts in the movie's own units: milliseconds by default, too coarse for frames and samples.
        ticks = str(timeline.time_base.denominator)
        flags = "+faststart"
        if self._tags:
            flags += "+use_metadata_tags"  # else FFmpeg drops names it has no box for
        self._file = av.open(
            f"file:{self._part.absolute()}",
            "w",
            format="mp4",
            container_options={"movflags": flags, "movie_timescale": ticks, "video_track_timescale": ticks},
        )
        self._file.metadata.update(self._tags)
        rate = timeline.rate.limit_denominator(1001 * 1000)
        video = self._file.add_stream("libx264", rate=rate, options=self._options)
        video.width, video.height = picture.size
        video.pix_fmt = picture.pixel_format
        video.time_base = timeline.time_base
        context = video.codec_context
        context.time_base = timeline.time_base
        context.gop_size = max(1, round(rate * _KEY_FRAME_S))
        context.thread_type = "AUTO"
        context.sample_aspect_ratio = picture.sample_aspect_ratio
        context.colorspace = picture.matrix
        context.color_primaries = picture.primaries
        context.color_trc = picture.transfer
        context.color_range = picture.yuv_range
        self._video = video
        if self._sound is not None:
            self._audio = self._add_audio(self._file, self._sound)

    @staticmethod
    def _add_audio(file: OutputContainer, sound: Audio) -> AudioStream:
        audio = file.add_stream("aac", rate=sound.rate, layout=_LAYOUTS[sound.channels])
        audio.bit_rate = sound.channels * min(_AAC_BITS_PER_CHANNEL, _AAC_BITS_PER_SAMPLE * sound.rate)
        audio.time_base = Fraction(1, sound.rate)
        return audio

    def _encode(self, frame: VideoFrame, pts: int) -> None:
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"the frame at pts {pts} does not come after the one at {self._last_pts}")
        duration = self._timeline.duration(pts)
        frame.pts = pts
        frame.time_base = self._timeline.time_base
        frame.pict_type = PictureType.NONE  # a decoded frame remembers its type; x264 would take it for an order
        self._last_pts = pts
        with _storage_errors(self._output):
            self._mux_video(frame)
            # Audio keeps step, so that the muxer never holds much of one while it waits for the other.
            self._encode_sound((pts + duration) * self._timeline.time_base)

    def _mux_video(self, frame: VideoFrame | None) -> None:
        assert self._file is not None
        for packet in self._video.encode(frame):
            if packet.pts is not None:
                packet.duration = self._timeline.duration(packet.pts)  # the encoder only knows the mean
            self._file.mux_one(packet)

    def _encode_sound(self, until_s: Fraction | None) -> None:
        if self._sound is None or self._audio is None or self._file is None:
            return
        rate, total = self._sound.rate, len(self._sound.samples)
        until = total if until_s is None else min(total, int(until_s * rate) + _AAC_FRAME)
        while self._sound_done < until:
            start = self._sound_done
            samples = self._sound.samples[start : start + _AAC_FRAME]
            if until_s is not None and start + len(samples) > until:
                return
            frame = AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T), format="fltp", layout=_LAYOUTS[self._sound.channels]
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            self._file.mux(self._audio.encode(frame))
            self._sound_done += len(samples)

    def _finish(self) -> None:
        assert self._file is not None
        if self._last_pts is None:
            raise ValueError("no frame was written")
        self._encode_sound(None)
        self._mux_video(None)
        if self._audio is not None:
            self._file.mux(self._audio.encode(None))
        self._file.close()
        self._file = None
        whole = self._part
        if self._seal is not None:
            whole = self._sealed
            self._seal(self._part, whole)
        whole.replace(self._output)

    def _discard(self) -> None:
        """Remove what there is of an unfinished file; nothing after success."""
        file, self._file = self._file, None
        if file is not None:
            # The trailer of a broken file cannot be written either; the first error is the one that counts.
            with suppress(av.FFmpegError, OSError, ValueError):
                file.close()
        self._part.unlink(missing_ok=True)
        self._sealed.unlink(missing_ok=True)


def _encodable(sound: Audio) -> Audio:
    """The sound at a rate and with channels that AAC has."""
    rate = sound.rate if sound.rate in _AAC_RATES else _AAC_FALLBACK_RATE
    return sound.converted(rate=rate, channels=min(sound.channels, max(_LAYOUTS)))


@contextmanager
def _storage_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{output.name} cannot be written: {error.strerror or error}.") from error
