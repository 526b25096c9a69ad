"""Encodes frames and audio into an mp4 that plays everywhere: H.264 and AAC, at the source's frame times.

Videos with high dynamic range become 10-bit HEVC, the only form in which players show them.
"""

from __future__ import annotations

import logging
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
from av.codec.context import CodecContext
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from duikou.arrays import BoolArray, Image
from duikou.errors import MediaError, StorageError
from duikou.media import encoders, hdr, unfinished
from duikou.media.copied import Copied, CopiedTrack
from duikou.media.decode import Frame, read_frame_times
from duikou.media.demux import FrameTimes
from duikou.media.encoders import Encoder
from duikou.media.groups import Stretch, UnfitError
from duikou.media.repaint import Repainter
from duikou.media.sound import Reader, Sound
from duikou.media.splice import Plan, Splice
from duikou.media.unfinished import Held
from duikou.media.video import Video
from duikou.parallel import cores
from duikou.timebase import Interval

_KEY_FRAME_S: Final = 2  # seconds between key frames, for seeking in a player
_AAC_BITS_PER_CHANNEL: Final = 96_000  # bit/s at which FFmpeg's encoder is transparent for speech and music
_AAC_BITS_PER_SAMPLE: Final = 5  # an AAC frame holds at most 6144 bits for 1024 samples of a channel (ISO 14496-3)
_AAC_FRAME: Final = 1024  # samples per channel in a frame
_AAC_RATES: Final = frozenset(
    {96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350}
)
_AAC_FALLBACK_RATE: Final = 48_000
_LAYOUTS: Final = {1: "mono", 2: "stereo"}
_H264: Final = "libx264"

_log = logging.getLogger(__name__)

_X265: Final = "bframes=0:frame-threads=1:info=0:log-level=none"
"""No B-frames, see below; one frame at a time, since each further one takes memory and rows are encoded in parallel."""
_X265_PRESET: Final = "superfast"
"""At the same CRF this takes 81 ms of one core for a frame of 1080p and gives a peak signal-to-noise ratio of 51.1 dB,
where x264 takes 28 ms and gives 50.8 dB. `veryfast` takes 145 ms for 52.5 dB."""


@dataclass(frozen=True)
class Quality:
    """Settings of the encoder.

    crf: constant rate factor, lower is better. preset: x264's; trades speed against size.
    encoder: one of hardware has settings of its own, see `encoders`.
    """

    crf: int
    preset: str
    encoder: Encoder | str = Encoder.X264


DELIVERY: Final = Quality(17, "veryfast")
"""Quality of results. At CRF 18 and below, copies look like the source. The preset is about as fast as decoding on two
cores. Slower presets save bytes at the same CRF and do not raise quality."""


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


@dataclass(frozen=True)
class Frames:
    """What frames a file has, where it is no plain copy of its source.

    times: when they show; `None` if they are the source's.
    changed: (N,) which of them will be painted. Where the source allows it, packets of others are copied, see `splice`,
        and the file says so, see `Copied`. Without it, all are encoded.
    refused: why all are encoded even so; the file says it.
    """

    times: FrameTimes | None = None
    changed: BoolArray | None = None
    refused: str = ""


THE_SAME: Final = Frames()


class VideoWriter:
    """Writes an upright copy of a video: same size, colours, frame times and frame count as its source.

    H.264 4:2:0 (4:4:4 where a side is odd, see `Picture.encoded`) and AAC with `faststart`. High dynamic range becomes
    10-bit HEVC with the source's static metadata, or is tone-mapped where libx265 is missing. Time stamps and time base
    are the source's, including variable frame rates and the duration of the last frame. The first audio sample is at
    time 0. The file is written under a temporary name beside `output`, renamed when it is complete, and removed on any
    error. Use it as a context manager, and write frames in rising order of `pts`.

    Raises `InputError` that names `encoder` where it cannot be used, `StorageError` where the disk is full or cannot be
    written to.
    """

    def __init__(
        self,
        output: Path,
        source: Video,
        audio: Sound | None = None,
        *,
        frames: Frames = THE_SAME,
        quality: Quality = DELIVERY,
        finish: Finish = PLAIN,
    ) -> None:
        self._output = Path(output)
        self._part = unfinished.beside(self._output)
        self._sealed = self._part.with_suffix(".sealed.mp4")
        self._finish = finish
        self._frame_times = frames.times or source.frame_times
        self._picture = source.picture.encoded(keeps_hdr=hdr.encodable())
        self._repainter = Repainter(source.picture, self._picture)
        self._audio = None if audio is None else _encodable(audio)
        self._audio_done = 0
        self._samples: Reader | None = None
        self._held: list[Held] = []
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
        self._source, self._changed, self._refused = source, frames.changed, frames.refused
        self._splice: Splice | None = None
        self._file: OutputContainer | None = None
        self._video_stream: VideoStream
        self._audio_stream: AudioStream | None = None

    def __enter__(self) -> Self:
        try:
            with _storage_errors(self._output):
                self._held.append(Held(self._part))
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

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """What to write, in order: a copied stretch with `keep`, the frames of another one each by itself."""
        return (Stretch(0, len(self._frame_times), False),) if self._splice is None else self._splice.plan.stretches

    def keep(self, stretch: Stretch) -> None:
        """Copy the source's packets of a copied stretch. Raises `UnfitError` where that fails."""
        assert self._splice is not None
        with _storage_errors(self._output), self._splicing():
            for packet in self._splice.copied(stretch):
                assert packet.pts is not None
                self._mux_video(packet)
                self._encode_audio(self._end_s(packet.pts))
        self._last_pts = int(self._frame_times.pts[stretch.stop - 1])

    def write(self, image: Image, pts: int) -> None:
        """Encode an upright image (H, W, 3) uint8 BGR that shows at `pts`, one of the source's.

        Raises `ValueError` for another size or a pts that the source does not have or that is not later than the last.
        """
        self._check(image)
        self.encode(self._repainter.whole(image), pts)

    def copy(self, frame: Frame) -> None:
        """Encode a frame of the source with what was painted on it. Raises `ValueError` for a wrong pts, as `write`."""
        self.encode(self.made(frame), frame.pts)

    def made(self, frame: Frame) -> VideoFrame:
        """What `encode` takes for a frame of the source with what was painted on it. On any thread.

        Outside the patches it has the values of the source's planes, unless these are turned or converted.
        """
        return self._repainter.made(frame)

    def encode(self, frame: VideoFrame, pts: int) -> None:
        """Encode a frame that `made` returned, whose memory is then used again.

        Raises `ValueError` for a wrong pts, as `write`, and `UnfitError` where the frame does not join what is copied.
        """
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"the frame at pts {pts} does not come after the one at {self._last_pts}")
        end_s = self._end_s(pts)
        frame.pts = pts
        frame.time_base = self._frame_times.time_base
        frame.pict_type = PictureType.NONE  # else x264 would force the type of the decoded frame
        self._last_pts = pts
        with _storage_errors(self._output), self._splicing():
            for packet in self._video_stream.encode(frame) if self._splice is None else self._splice.encode(frame):
                self._mux_video(packet)
            self._repainter.take_back(frame)
            # Audio is encoded in step with video, so the muxer never buffers much of either.
            self._encode_audio(end_s)

    def pause(self) -> None:
        """Keep no memory for frames that come later: before other work."""
        self._repainter.drop_spare()

    def _check(self, image: Image) -> None:
        width, height = self._picture.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"the image is {image.shape} {image.dtype}, it must be ({height}, {width}, 3) uint8")

    def _open(self) -> None:
        copied = CopiedTrack()
        if self._changed is not None:
            try:
                self._splice, copied = self._spliced(self._changed)
            except UnfitError as unfit:
                copied = CopiedTrack(reason=str(unfit))
                _log.debug("%s: all frames are encoded, because %s", self._output.name, unfit)
        tags = dict(self._finish.tags) | ({} if self._changed is None else Copied(copied).tags)
        # The edit list counts in the movie's time scale: milliseconds by default, too coarse for frames and samples.
        ticks = str(self._frame_times.time_base.denominator)
        flags = "+faststart"
        if tags:
            flags += "+use_metadata_tags"  # else FFmpeg drops keys that have no box
        self._file = av.open(
            f"file:{self._part.absolute()}",
            "w",
            format="mp4",
            container_options={"movflags": flags, "movie_timescale": ticks, "video_track_timescale": ticks},
        )
        self._file.metadata.update(tags)
        if self._splice is None:
            video = self._add_encoded(self._file)
        else:
            video = self._splice.add_stream(self._file)
            self._describe(video.codec_context)
        video.time_base = self._frame_times.time_base
        self._video_stream = video
        if self._audio is not None:
            self._audio_stream = self._add_audio(self._file, self._audio)
            self._samples = Reader(self._audio)

    @property
    def _rate(self) -> Fraction:
        return self._frame_times.rate.limit_denominator(1001 * 1000)

    @property
    def _key_frames(self) -> int:
        """Frames from one key frame to the next, at most."""
        return max(1, round(self._rate * _KEY_FRAME_S))

    def _add_encoded(self, file: OutputContainer) -> VideoStream:
        """Add a track of which every frame is encoded."""
        name, device = hdr.HEVC if self._picture.is_hdr else _H264, None
        if self._hardware is not None:
            name, device = self._hardware.name, self._hardware.accelerator()
        video = file.add_stream(name, rate=self._rate, options=self._options, hwaccel=device)
        assert isinstance(video, VideoStream)
        self._configure(video.codec_context)
        if self._hardware is not None and self._hardware.surface:
            video.codec_context.pix_fmt = self._hardware.surface
        return video

    def _spliced(self, changed: BoolArray) -> tuple[Splice, CopiedTrack]:
        """The picture's track with what can be copied. Raises `UnfitError` if nothing can."""
        if self._refused:
            raise UnfitError(self._refused)
        if self._hardware is not None:
            raise UnfitError("hardware makes all pictures")
        if self._frame_times is not self._source.frame_times:
            raise UnfitError("the result has other frames than the source")
        try:
            plan = Plan.of(self._source, self._picture, changed, self._encoder)
        except av.FFmpegError as error:
            raise UnfitError("the encoder cannot make pictures of the same form") from error
        edges = self._frame_times.edges_ms
        kept = [one for one in plan.stretches if one.copied]
        intervals = tuple(Interval(int(edges[one.start]), int(edges[one.stop])) for one in kept)
        track = CopiedTrack(intervals, sum(map(len, kept)) / len(self._frame_times))
        return Splice(plan, self._source, self._encoder, self._key_frames), track

    @contextmanager
    def _splicing(self) -> Iterator[None]:
        """Turns errors of FFmpeg into `UnfitError` where packets are copied. Those of the disk stay as they are."""
        try:
            yield
        except av.FFmpegError as error:
            if self._splice is None or isinstance(error, OSError):
                raise
            raise UnfitError("the parts do not join") from error

    def _encoder(self, options: Mapping[str, str]) -> VideoCodecContext:
        """An encoder of H.264 outside a stream, not open yet. options: more than those of the quality."""
        context = CodecContext.create(_H264, "w")
        assert isinstance(context, VideoCodecContext)
        context.framerate = self._rate
        context.options = self._options | dict(options)
        self._configure(context)
        return context

    def _configure(self, context: VideoCodecContext) -> None:
        """Set an encoder up."""
        self._describe(context)
        context.time_base = self._frame_times.time_base
        context.gop_size = self._key_frames
        context.thread_type, context.thread_count = "AUTO", cores()  # x264 takes 22 MiB for each thread at 1080p

    def _describe(self, context: VideoCodecContext) -> None:
        """Say what the pictures are like."""
        picture = self._picture
        context.width, context.height = picture.size
        context.pix_fmt = picture.pixel_format
        if picture.is_hdr:
            context.codec_tag = "hvc1"  # Apple's players open no other
        context.sample_aspect_ratio = picture.sample_aspect_ratio
        context.colorspace = picture.matrix
        context.color_primaries = picture.primaries
        context.color_trc = picture.transfer
        context.color_range = picture.yuv_range

    @staticmethod
    def _add_audio(file: OutputContainer, source: Sound) -> AudioStream:
        audio = file.add_stream("aac", rate=source.rate, layout=_LAYOUTS[source.channels])
        audio.bit_rate = source.channels * min(_AAC_BITS_PER_CHANNEL, _AAC_BITS_PER_SAMPLE * source.rate)
        audio.time_base = Fraction(1, source.rate)
        return audio

    def _end_s(self, pts: int) -> Fraction:
        """When the frame at `pts` ends, in s."""
        return (pts + self._frame_times.duration(pts)) * self._frame_times.time_base

    def _mux_video(self, packet: Packet[VideoStream]) -> None:
        assert self._file is not None
        if packet.pts is not None:
            packet.duration = self._frame_times.duration(packet.pts)  # the encoder only knows the mean duration
        self._file.mux_one(packet)

    def _encode_audio(self, until_s: Fraction | None) -> None:
        """Encode whole frames of sound up to `until_s`, and one more; `None` encodes all that is left."""
        if self._audio is None or self._audio_stream is None or self._file is None or self._samples is None:
            return
        rate, total = self._audio.rate, len(self._audio)
        until = total if until_s is None else min(total, int(until_s * rate) + _AAC_FRAME)
        while self._audio_done < until:
            start = self._audio_done
            size = min(_AAC_FRAME, total - start)
            if until_s is not None and start + size > until:
                return
            samples = np.ascontiguousarray(self._samples.take(size).T)
            frame = AudioFrame.from_ndarray(samples, format="fltp", layout=_LAYOUTS[self._audio.channels])
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            self._file.mux(self._audio_stream.encode(frame))
            self._audio_done += size

    def _complete(self) -> None:
        assert self._file is not None
        if self._last_pts is None:
            raise ValueError("no frame was written")
        self._encode_audio(None)
        for packet in self._video_stream.encode(None) if self._splice is None else ():
            self._mux_video(packet)
        if self._audio_stream is not None:
            self._file.mux(self._audio_stream.encode(None))
        with self._splicing():
            self._file.close()
        self._file = None
        if self._splice is not None:
            self._check_spliced()
        complete = self._part
        if self._finish.seal is not None:
            complete = self._sealed
            self._held.append(Held(complete))
            self._finish.seal(self._part, complete)
        complete.replace(self._output)

    def _check_spliced(self) -> None:
        """Check that the file shows each frame when it should. Raises `UnfitError`."""
        try:
            found = read_frame_times(self._part, field="output")
        except MediaError as error:
            raise UnfitError("the parts do not join") from error
        if not np.array_equal(found.pts, self._frame_times.pts):
            raise UnfitError("the parts do not join")

    def _discard(self) -> None:
        """Close what is read, and remove an unfinished file."""
        self._samples = None
        file, self._file = self._file, None
        if self._splice is not None:
            self._splice.close()
        if file is not None:
            # Writing the trailer of a broken file fails too; the first error is the one to report.
            with suppress(av.FFmpegError, OSError, ValueError):
                file.close()
        self._part.unlink(missing_ok=True)
        self._sealed.unlink(missing_ok=True)
        while self._held:
            self._held.pop().release()


def _encodable(audio: Sound) -> Sound:
    """The sound at a rate and with a number of channels that AAC supports."""
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
