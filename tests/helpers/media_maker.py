"""Small media files for tests, made on the spot: every frame carries its own number, every sound is known by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

BITS = 8  # frame numbers up to 255
_QUALITY = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def numbered(number: int, width: int, height: int) -> Image:
    """A BGR picture: `number` as black and white blocks in the upper left quarter, coloured patches elsewhere.

    The blocks sit off centre, so that a picture that was not turned upright is read wrongly.
    """
    image = _patches(width, height).copy()
    block_width, block_height = width // 2 // BITS, height // 4
    for bit in range(BITS):
        image[:block_height, bit * block_width : (bit + 1) * block_width] = 235 if number >> bit & 1 else 20
    return image


@lru_cache(maxsize=4)
def _patches(width: int, height: int) -> Image:
    """What all pictures of that size share."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = 60 + 120 * x // max(width - 1, 1)
    image[..., 1] = 60 + 120 * y // max(height - 1, 1)
    image[..., 2] = 150 - 60 * (x > width // 2)
    return image


def read_number(image: Image) -> int:
    """The number in a picture that `numbered` made."""
    height, width = image.shape[:2]
    block_width, block_height = width // 2 // BITS, height // 4
    middles = [image[block_height // 2, bit * block_width + block_width // 2].mean() for bit in range(BITS)]
    return sum(int(level > 128) << bit for bit, level in enumerate(middles))


@dataclass(frozen=True)
class VideoSpec:
    """What `make_video` writes.

    size: upright width and height. pts: presentation times in `time_base`, by default steady at `fps`.
    codec: FFmpeg's encoder (libx264, libx265, mpeg4, prores_ks, ...). rotation: the flag, in degrees clockwise;
    mirror: stored mirrored left to right, with the flag that undoes it.
    matrix: 1 is BT.709, 5 BT.601, 9 BT.2020; tagged: whether the file says so. transfer, primaries: H.273's codes.
    sound: (n, C) float32. sound_at_ms: when it starts. faststart: whether the index comes first.
    """

    size: tuple[int, int] = (192, 128)
    frames: int = 25
    fps: Fraction | int = 25
    pts: Sequence[int] | None = None
    time_base: Fraction = Fraction(1, 12_800)
    last_duration: int | None = None
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] | None = None
    rotation: int = 0
    mirror: bool = False
    matrix: int = 1
    full_range: bool = False
    tagged: bool = True
    transfer: int = 2
    primaries: int = 2
    paint: Callable[[int, int, int], Image] = numbered
    sound: Samples | None = None
    sound_rate: int = 48_000
    sound_codec: str = "aac"
    sound_at_ms: int = 0
    container: str | None = None
    faststart: bool = False

    @property
    def shown_at(self) -> Sequence[int]:
        """When each frame is shown, in `time_base`."""
        return [self._step * number for number in range(self.frames)] if self.pts is None else self.pts

    @property
    def ends(self) -> dict[int, int]:
        """When each frame is over, by when it is shown."""
        pts = self.shown_at
        last = self.last_duration or (pts[-1] - pts[-2] if len(pts) > 1 else self._step)
        return dict(zip(pts, [*pts[1:], pts[-1] + last], strict=True))

    @property
    def _step(self) -> int:
        return round(1 / (Fraction(self.fps) * self.time_base))


def make_video(path: Path, **what: Any) -> Path:
    """Write an mp4 or mov (by the suffix of `path`) whose upright pictures are `paint(number, width, height)`.

    what: fields of `VideoSpec` that differ from their defaults.
    """
    spec = VideoSpec(**what)
    with av.open(
        str(path),
        "w",
        format=spec.container or path.suffix[1:],
        container_options={
            "movflags": "+faststart" if spec.faststart else "-faststart",
            "movie_timescale": str(spec.time_base.denominator),
            "video_track_timescale": str(spec.time_base.denominator),
        },
    ) as file:
        video, audio = _add_video(file, spec), _add_audio(file, spec)
        ends = spec.ends
        for number, shown in enumerate(spec.shown_at):
            _mux(file, video.encode(_frame(spec, number, shown)), ends)
        _mux(file, video.encode(None), ends)
        if audio is not None and spec.sound is not None:
            planar = spec.sound_codec == "aac"
            for frame in sound_frames(spec.sound, spec.sound_rate, at_ms=spec.sound_at_ms, planar=planar):
                file.mux(audio.encode(frame))
            file.mux(audio.encode(None))
    return path


def _add_video(file: OutputContainer, spec: VideoSpec) -> VideoStream:
    video = file.add_stream(spec.codec, rate=Fraction(spec.fps), options=_quiet(spec.codec, spec.options))
    assert isinstance(video, VideoStream)
    width, height = spec.size
    video.width, video.height = (height, width) if spec.rotation // 90 % 2 else (width, height)
    video.pix_fmt = spec.pixel_format
    video.time_base = video.codec_context.time_base = spec.time_base
    if spec.tagged:
        video.codec_context.colorspace = spec.matrix
        video.codec_context.color_trc, video.codec_context.color_primaries = spec.transfer, spec.primaries
        video.codec_context.color_range = ColorRange.JPEG if spec.full_range else ColorRange.MPEG
    if spec.rotation or spec.mirror:
        video.set_display_rotation(-spec.rotation, hflip=spec.mirror)  # the mirror comes after the rotation
    return video


def _add_audio(file: OutputContainer, spec: VideoSpec) -> AudioStream | None:
    if spec.sound is None:
        return None
    layout = "mono" if spec.sound.shape[1] == 1 else "stereo"
    audio = file.add_stream(spec.sound_codec, rate=spec.sound_rate, layout=layout)
    assert isinstance(audio, AudioStream)
    audio.time_base = Fraction(1, spec.sound_rate)
    return audio


def _frame(spec: VideoSpec, number: int, shown: int) -> VideoFrame:
    upright = spec.paint(number, *spec.size)
    stored = np.rot90(upright[:, ::-1] if spec.mirror else upright, spec.rotation // 90 % 4)
    pixels = np.ascontiguousarray(stored)
    frame = to_yuv(pixels, spec.pixel_format, matrix=spec.matrix, full_range=spec.full_range)
    frame.pts, frame.time_base = shown, spec.time_base
    frame.color_trc, frame.color_primaries = spec.transfer, spec.primaries  # ProRes has them in each frame
    return frame


def make_sound(path: Path, sound: Samples, rate: int = 48_000, *, codec: str | None = None) -> Path:
    """Write (n, C) float32 samples as wav (16 bits), mp3, m4a or aac, by the suffix of `path`."""
    suffix = path.suffix[1:]
    codec = codec or {"wav": "pcm_s16le", "mp3": "libmp3lame", "m4a": "aac", "aac": "aac"}[suffix]
    container = {"m4a": "ipod", "aac": "adts"}.get(suffix, suffix)
    with av.open(str(path), "w", format=container) as file:
        audio = file.add_stream(codec, rate=rate, layout="mono" if sound.shape[1] == 1 else "stereo")
        assert isinstance(audio, AudioStream)
        for frame in sound_frames(sound, rate, planar=not codec.startswith("pcm")):
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
    return path


def sound_frames(sound: Samples, rate: int, *, at_ms: int = 0, planar: bool = True) -> list[av.AudioFrame]:
    """Samples as frames of 1024, the first at `at_ms`; 16 bits interleaved where not planar float."""
    made = []
    for start in range(0, len(sound), 1024):
        part = sound[start : start + 1024]
        layout = "mono" if part.shape[1] == 1 else "stereo"
        if planar:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part.T), format="fltp", layout=layout)
        else:
            whole = np.clip(np.round(part * 32_768), -32_768, 32_767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(whole, format="s16", layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + at_ms * rate // 1000
        made.append(frame)
    return made


def to_yuv(image: Image, pixel_format: str, *, matrix: int = 1, full_range: bool = False) -> VideoFrame:
    """A BGR picture as a frame of that pixel format and matrix."""
    table = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 9: Colorspace.BT2020}[matrix]
    return VideoFrame.from_ndarray(image, format="bgr24").reformat(
        format=pixel_format,
        src_colorspace=table,
        dst_colorspace=table,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
        interpolation=_QUALITY,
    )


def trim(source: Path, output: Path, *, start_ms: int) -> Path:
    """Copy a video without its first `start_ms` as editors do: the packets stay, an edit list hides them."""
    with av.open(str(source)) as old, av.open(str(output), "w", format=output.suffix[1:]) as new:
        pairs = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            stream = pairs[packet.stream.index]
            shift = int(Fraction(start_ms, 1000) / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            new.mux(packet)
    return output


@dataclass(frozen=True)
class Part:
    """A part of a stream with a format of its own, see `make_joined`.

    aspect: of the stored pixels. turn: degrees anticlockwise by which a player turns them, in a message of H.264.
    """

    size: tuple[int, int] = (192, 128)
    frames: int = 8
    aspect: Fraction = Fraction(1)
    pixel_format: str = "yuv420p"
    full_range: bool = False
    turn: int = 0
    paint: Callable[[int, int, int], Image] = numbered

    def encoder(self) -> VideoCodecContext:
        """An encoder whose key frames repeat the headers, as in a stream that was joined."""
        context = VideoCodecContext.create("libx264", "w")
        assert isinstance(context, VideoCodecContext)
        self.configure(context)
        return context

    def configure(self, context: VideoCodecContext) -> None:
        """Set the format."""
        context.width, context.height = self.size
        context.pix_fmt, context.sample_aspect_ratio = self.pixel_format, self.aspect
        context.time_base, context.framerate = Fraction(1, 12_800), Fraction(25)
        context.colorspace = 1
        context.color_range = ColorRange.JPEG if self.full_range else ColorRange.MPEG

    def packets(self, context: VideoCodecContext, first: int, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
        """The encoded frames, numbered from `first`."""
        found = []
        for number in range(first, first + self.frames):
            frame = to_yuv(self.paint(number, *self.size), self.pixel_format, full_range=self.full_range)
            frame.pts, frame.time_base = 512 * number, Fraction(1, 12_800)
            found += context.encode(frame)
        found += context.encode(None)
        if not self.turn:
            return iter(found)
        turned = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:rotate={self.turn}", stream)
        return (one for packet in found for one in turned.filter(packet))


def make_joined(path: Path, *parts: Part) -> Path:
    """Write an mp4 of H.264 at 25 frames per second whose format changes from part to part."""
    with av.open(str(path), "w", options={"video_track_timescale": "12800"}) as file:
        stream = file.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.time_base = Fraction(1, 12_800)
        parts[0].configure(stream.codec_context)
        first, context = 0, stream.codec_context
        for part in parts:
            for packet in part.packets(part.encoder() if first else context, first, stream):
                packet.stream, packet.duration = stream, 512
                file.mux(packet)
            first += part.frames
    return path


FRAGMENTS = "frag_keyframe+default_base_moof+empty_moov"
"""FFmpeg's flags of a file in fragments without edit lists; `+delay_moov` puts the delays of codecs into edit lists."""


def fragmented(source: Path, output: Path, flags: str = FRAGMENTS) -> Path:
    """Copy a video into fragments that begin at key frames, as recorders and packagers write them."""
    with av.open(str(source)) as old, av.open(str(output), "w", format="mp4", options={"movflags": flags}) as new:
        pairs = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = pairs[packet.stream.index]
                new.mux(packet)
    return output


def clicks(at_ms: Sequence[int], duration_ms: int, rate: int = 48_000, channels: int = 1) -> Samples:
    """Silence with a click of 1 ms, a burst at 4 kHz that starts loud, at each of `at_ms`."""
    sound = np.zeros((duration_ms * rate // 1000, channels), np.float32)
    length = rate // 1000
    burst = 0.8 * np.cos(2 * np.pi * min(4_000, rate // 4) * np.arange(length) / rate)
    for ms in at_ms:
        start = ms * rate // 1000
        sound[start : start + length] += burst[: len(sound) - start, None].astype(np.float32)
    return sound


def tone(hertz: float, duration_ms: int, rate: int = 48_000, channels: int = 1, level: float = 0.5) -> Samples:
    """A sine of that frequency and peak level."""
    time = np.arange(duration_ms * rate // 1000) / rate
    wave = (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    return np.repeat(wave[:, None], channels, 1)


def onset_ms(sound: Samples, rate: int, *, after_ms: int = 0, level: float = 0.3) -> float:
    """When the sound first reaches `level` after `after_ms`, in ms."""
    start = after_ms * rate // 1000
    loud = np.flatnonzero(np.abs(sound[start:]).max(axis=1) >= level)
    if not len(loud):
        raise AssertionError(f"nothing reaches {level} after {after_ms} ms")
    return float((start + loud[0]) * 1000 / rate)


def _mux(file: OutputContainer, packets: Sequence[av.Packet[Any]], ends: dict[int, int]) -> None:
    for packet in packets:
        assert packet.pts is not None
        packet.duration = ends[packet.pts] - packet.pts  # encoders know only the mean
        file.mux(packet)


def _quiet(codec: str, options: dict[str, str] | None) -> dict[str, str]:
    """Encoder options with libx265's own log, which goes past FFmpeg's to the terminal, switched off."""
    given = dict(options or {})
    if codec == "libx265":
        given["x265-params"] = ":".join(filter(None, ["log-level=none", given.get("x265-params")]))
    return given
