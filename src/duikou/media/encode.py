"""Encodes frames and audio into an mp4 that plays everywhere: H.264 and AAC, at the source's frame times.

Videos with high dynamic range become 10-bit HEVC, the only form in which players show them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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

from duikou.arrays import Image
from duikou.errors import StorageError
from duikou.media import encoders, hdr
from duikou.media.audio import Audio
from duikou.media.decode import Frame
from duikou.media.demux import FrameTimes
from duikou.media.encoders import Encoder
from duikou.media.picture import Converter
from duikou.media.repaint import Repainter
from duikou.media.video import Video

_KEY_FRAME_S: Final = 2  # seconds between key frames, for seeking in a player
_AAC_BITS_PER_CHANNEL: Final = 96_000  # bit/s at which FFmpeg's encoder is transparent for speech and music
_AAC_BITS_PER_SAMPLE: Final = 5  # an AAC frame holds at most 6144 bits for 1024 samples of a channel (ISO 14496-3)
_AAC_FRAME: Final = 1024  # samples per channel in a frame
_AAC_RATES: Final = frozenset(
    {96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350}
)
_AAC_FALLBACK_RATE: Final = 48_000
_LAYOUTS: Final = {1: "mono", 2: "stereo"}


_X265: Final = "bframes=0:frame-threads=1:info=0:log-level=none"
"""No B-frames, see below; one frame at a time, since each further one takes memory and rows are encoded in parallel."""
_X265_PRESET: Final = "superfast"
"""At the same CRF this takes 81 ms of one core for a frame of 1080p and gives a peak signal-to-noise ratio of 51.1 dB,
where x264 takes 28 ms and gives 50.8 dB. `veryfast` takes 145 ms for 52.5 dB."""


@dataclass(frozen=True)
class Quality:
    """Settings of the encoder. crf: constant rate factor, lower is better. preset: x264's; trades speed against size.

    keeps_hdr: whether high dynamic range is kept; else it is tone-mapped.
    encoder: one of hardware has settings of its own, see `encoders`.
    """

    crf: int
    preset: str
    keeps_hdr: bool = True
    encoder: Encoder | str = Encoder.X264


DELIVERY: Final = Quality(17, "veryfast")
"""Quality of results. At CRF 18 and below, copies look like the source. The preset is about as fast as decoding on two
cores. Slower presets save bytes at the same CRF and do not raise quality."""
NEAR_LOSSLESS: Final = Quality(8, "ultrafast", keeps_hdr=False)
"""Quality of temporary files that engines read. Results show nothing of them but the lips of exemplars."""


@dataclass(frozen=True)
class Finish:
    """What is added to an encoded file.

    tags: metadata of the file, with arbitrary keys (`moov.udta.meta`).
    seal: called with the path of the encoded file and that of a second file, which it writes and which becomes the
        output.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    seal: Callable[[Path, Path], None] | None = None


PLAIN: Final = Finish()


class VideoWriter:
    """Writes an upright copy of a video: same size, colours, frame times and frame count as its source.

    H.264 4:2:0 (4:4:4 where a side is odd, see `Picture.encoded`) and AAC with `faststart`. High dynamic range becomes
    10-bit HEVC with the source's static metadata, or is tone-mapped where libx265 is missing. Time stamps and time base
    are the source's, including variable frame rates and the duration of the last frame. The first audio sample is at
    time 0. The file is written under a temporary name beside `output`, renamed when it is complete, and removed on any
    error. Use it as a context manager, and write frames in rising order of `pts`.

    frame_times: frame times of a copy that differ from the source's.

    Raises `InputError` that names `encoder` where it cannot be used, `StorageError` where the disk is full or cannot be
    written to.
    """

    def __init__(
        self,
        output: Path,
        source: Video,
        audio: Audio | None = None,
        *,
        frame_times: FrameTimes | None = None,
        quality: Quality = DELIVERY,
        finish: Finish = PLAIN,
    ) -> None:
        self._output = Path(output)
        self._part = self._output.with_name(f".{self._output.stem}.{uuid.uuid4().hex}.part.mp4")
        self._sealed = self._part.with_suffix(".sealed.mp4")
        self._finish = finish
        self._frame_times = frame_times or source.frame_times
        self._stored = source.picture
        self._picture = self._stored.encoded(keeps_hdr=quality.keeps_hdr and hdr.encodable())
        self._converter = Converter(self._picture)
        self._repainter = Repainter(self._stored, self._picture) if self._picture.is_hdr else None
        self._audio = None if audio is None else _encodable(audio)
        self._audio_done = 0
        self._last_pts: int | None = None
        # Without B-frames, decoding order is presentation order. So the last frame's duration is exact in an mp4, and
        # players that ignore edit lists show the video on time. At one CRF that costs some bytes and no quality.
        self._options = {"crf": str(quality.crf), "preset": quality.preset, "bf": "0"}
        if self._picture.is_hdr:
            parameters = ":".join(filter(None, [_X265, self._picture.light.x265]))
            self._options = {"crf": str(quality.crf), "preset": _X265_PRESET, "x265-params": parameters}
        self._hardware = encoders.hardware(quality.encoder, self._picture.pixel_format)
        if self._hardware is not None:
            self._options = dict(self._hardware.options)
        self._file: OutputContainer | None = None
        self._video_stream: VideoStream
        self._audio_stream: AudioStream | None = None

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
                    self._complete()
        finally:
            self._discard()

    def write(self, image: Image, pts: int) -> None:
        """Encode an upright image (H, W, 3) uint8 BGR that shows at `pts`, one of the source's.

        Raises `ValueError` for another size or a pts that the source does not have or that is not later than the last.
        """
        self._check(image)
        self._encode(self._converter.yuv(image) if self._repainter is None else self._repainter.whole(image), pts)

    def paint(self, frame: Frame, image: Image) -> None:
        """Encode a frame of the source that was painted: `image` is a changed `frame.image`.

        High dynamic range changes only where the images differ. Raises `ValueError` as `write` does.
        """
        if frame.stored is None or self._repainter is None:
            self.write(image, frame.pts)
        else:
            self._check(image)
            self._encode(self._repainter.painted(frame.stored, frame.image, image), frame.pts)

    def copy(self, frame: Frame) -> None:
        """Encode an unchanged frame of the source, without converting it to BGR where its pixel format allows."""
        if frame.stored is not None and self._repainter is not None:
            self._encode(self._repainter.copied(frame.stored), frame.pts)
        elif frame.stored is not None and self._stored.passes(frame.stored, self._picture):
            self._encode(frame.stored, frame.pts)
        else:
            self.write(frame.image, frame.pts)

    def _check(self, image: Image) -> None:
        width, height = self._picture.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"the image is {image.shape} {image.dtype}, it must be ({height}, {width}, 3) uint8")

    def _open(self) -> None:
        frame_times, picture = self._frame_times, self._picture
        # The edit list counts in the movie's time scale: milliseconds by default, too coarse for frames and samples.
        ticks = str(frame_times.time_base.denominator)
        flags = "+faststart"
        if self._finish.tags:
            flags += "+use_metadata_tags"  # else FFmpeg drops keys that have no box
        self._file = av.open(
            f"file:{self._part.absolute()}",
            "w",
            format="mp4",
            container_options={"movflags": flags, "movie_timescale": ticks, "video_track_timescale": ticks},
        )
        self._file.metadata.update(self._finish.tags)
        rate = frame_times.rate.limit_denominator(1001 * 1000)
        name, device, pixel_format = hdr.HEVC if picture.is_hdr else "libx264", None, picture.pixel_format
        if self._hardware is not None:
            name, device = self._hardware.name, self._hardware.accelerator()
            pixel_format = self._hardware.surface or pixel_format
        video = self._file.add_stream(name, rate=rate, options=self._options, hwaccel=device)
        assert isinstance(video, VideoStream)
        video.width, video.height = picture.size
        video.pix_fmt = pixel_format
        video.time_base = frame_times.time_base
        context = video.codec_context
        context.time_base = frame_times.time_base
        if picture.is_hdr:
            context.codec_tag = "hvc1"  # Apple's players open no other
        context.gop_size = max(1, round(rate * _KEY_FRAME_S))
        context.thread_type = "AUTO"
        context.sample_aspect_ratio = picture.sample_aspect_ratio
        context.colorspace = picture.matrix
        context.color_primaries = picture.primaries
        context.color_trc = picture.transfer
        context.color_range = picture.yuv_range
        self._video_stream = video
        if self._audio is not None:
            self._audio_stream = self._add_audio(self._file, self._audio)

    @staticmethod
    def _add_audio(file: OutputContainer, source: Audio) -> AudioStream:
        audio = file.add_stream("aac", rate=source.rate, layout=_LAYOUTS[source.channels])
        audio.bit_rate = source.channels * min(_AAC_BITS_PER_CHANNEL, _AAC_BITS_PER_SAMPLE * source.rate)
        audio.time_base = Fraction(1, source.rate)
        return audio

    def _encode(self, frame: VideoFrame, pts: int) -> None:
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"the frame at pts {pts} does not come after the one at {self._last_pts}")
        duration = self._frame_times.duration(pts)
        frame.pts = pts
        frame.time_base = self._frame_times.time_base
        frame.pict_type = PictureType.NONE  # else x264 would force the type of the decoded frame
        self._last_pts = pts
        with _storage_errors(self._output):
            self._mux_video(frame)
            # Audio is encoded in step with video, so the muxer never buffers much of either.
            self._encode_audio((pts + duration) * self._frame_times.time_base)

    def _mux_video(self, frame: VideoFrame | None) -> None:
        assert self._file is not None
        for packet in self._video_stream.encode(frame):
            if packet.pts is not None:
                packet.duration = self._frame_times.duration(packet.pts)  # the encoder only knows the mean duration
            self._file.mux_one(packet)

    def _encode_audio(self, until_s: Fraction | None) -> None:
        if self._audio is None or self._audio_stream is None or self._file is None:
            return
        rate, total = self._audio.rate, len(self._audio.samples)
        until = total if until_s is None else min(total, int(until_s * rate) + _AAC_FRAME)
        while self._audio_done < until:
            start = self._audio_done
            samples = self._audio.samples[start : start + _AAC_FRAME]
            if until_s is not None and start + len(samples) > until:
                return
            frame = AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T), format="fltp", layout=_LAYOUTS[self._audio.channels]
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            self._file.mux(self._audio_stream.encode(frame))
            self._audio_done += len(samples)

    def _complete(self) -> None:
        assert self._file is not None
        if self._last_pts is None:
            raise ValueError("no frame was written")
        self._encode_audio(None)
        self._mux_video(None)
        if self._audio_stream is not None:
            self._file.mux(self._audio_stream.encode(None))
        self._file.close()
        self._file = None
        complete = self._part
        if self._finish.seal is not None:
            complete = self._sealed
            self._finish.seal(self._part, complete)
        complete.replace(self._output)

    def _discard(self) -> None:
        """Remove an unfinished file. Does nothing after success."""
        file, self._file = self._file, None
        if file is not None:
            # Writing the trailer of a broken file fails too; the first error is the one to report.
            with suppress(av.FFmpegError, OSError, ValueError):
                file.close()
        self._part.unlink(missing_ok=True)
        self._sealed.unlink(missing_ok=True)


def _encodable(audio: Audio) -> Audio:
    """The audio at a rate and with a number of channels that AAC supports."""
    rate = audio.rate if audio.rate in _AAC_RATES else _AAC_FALLBACK_RATE
    return audio.converted(rate=rate, channels=min(audio.channels, max(_LAYOUTS)))


@contextmanager
def _storage_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{output.name} cannot be written: {error.strerror or error}.") from error
