"""What is measured: generated clips of any size and length, and real ones where `../shared/media` is present."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.stream import Stream
from av.video.stream import VideoStream

from benchmarks.quality.clips import MEDIA
from demo import portrait, speech
from duikou.arrays import Float32Array, Image
from training.speech import read_wave, write_wave

LEAD_MS = 500  # before and after the speech, so that the mouth eases in and out
PAUSE_S = 0.4  # between two sentences
BASE_S = 60  # a longer clip repeats one of this length
SIZES = {"720p": (720, 1280), "1080p": (1920, 1080)}
_AAC_FRAME = 1024  # samples


@dataclass(frozen=True)
class Clip:
    """A video and the speech for it. size: `720p` or `1080p`, which decides the bound. real: a clip of a person."""

    name: str
    size: str
    video: Path
    speech: Path
    real: bool = False


REAL = (
    ("portrait_hevc_gestures", "1080p", "en_60s.wav"),
    ("talking_zh", "1080p", "zh_22s.wav"),
    ("talking_glasses", "1080p", "en_60s.wav"),
    ("two_people", "720p", "en_60s.wav"),
    ("closed_mouth_silent", "720p", "en_60s.wav"),
)
"""Name of a clip in `../shared/media`, its size, and the speech for it."""
LONGEST = "portrait_hevc_gestures"
REPEATED = "talking_zh"  # for long clips: its mouth opens and closes


def real(media: Path = MEDIA) -> list[Clip]:
    """The real clips that are present."""
    clips = [
        Clip(name, size, media / "video" / f"{name}.mp4", media / "speech" / said, real=True)
        for name, size, said in REAL
    ]
    return [clip for clip in clips if clip.video.exists() and clip.speech.exists()]


def made(folder: Path, size: str, seconds: int) -> Clip:
    """The demo's portrait with sound, and speech for all of it but the leads. Made once and kept in `folder`."""
    video, said = folder / f"{size}-{seconds}s.mp4", made_speech(folder, seconds)
    if not video.exists():
        base = folder / f"{size}-base-{min(seconds, BASE_S)}s.mp4"
        if not base.exists():
            write_portrait(base, *SIZES[size], min(seconds, BASE_S))
        write_repeated(video, base, said, seconds)
    return Clip(f"made {size}, {seconds} s", size, video, said)


def repeated(folder: Path, clip: Clip, seconds: int) -> Clip:
    """A real clip played again and again, its pictures as they are stored, for so many seconds."""
    video = folder / f"{clip.name}-{seconds}s.mp4"
    said = made_speech(folder, seconds)
    if not video.exists():
        write_repeated(video, clip.video, said, seconds)
    return Clip(f"{clip.name}, {seconds} s", clip.size, video, said, real=True)


def made_speech(folder: Path, seconds: int) -> Path:
    """Speech that fits between the leads of a clip of so many seconds. Made once and kept in `folder`."""
    path = folder / f"speech-{seconds}s.wav"
    return path if path.exists() else write_speech(path, seconds * 1000 - 2 * LEAD_MS)


def write_speech(path: Path, duration_ms: int) -> Path:
    """The demo's sentence, spoken again and again with pauses, exactly as long as asked for, as mono WAV.

    Raises `ValueError` for no length.
    """
    if duration_ms <= 0:
        raise ValueError(f"no speech fits into {duration_ms} ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    sentence = speech.speak(path.with_suffix(".sentence.wav"))
    samples, rate = read_wave(sentence)
    sentence.unlink()
    spoken = np.concatenate([samples, np.zeros(round(PAUSE_S * rate), samples.dtype)])
    wanted = duration_ms * rate // 1000
    return write_wave(path, np.resize(spoken, wanted), rate)


def write_portrait(path: Path, width: int, height: int, seconds: int) -> Path:
    """The demo's portrait for so many seconds, silent; where the picture is wide, before its own blurred copy."""
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w", format="mp4") as file:
        stream = file.add_stream(
            "libx264", rate=Fraction(portrait.RATE), options={"crf": portrait.CRF, "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in portrait.frames(seconds * 1000):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(_fitted(image, width, height), format="bgr24")))
        file.mux(stream.encode())
    return part.replace(path)


def _fitted(image: Image, width: int, height: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    small = cv2.resize(image, (width // 16, height // 16), interpolation=cv2.INTER_AREA)
    page = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    inner = cv2.resize(image, (image.shape[1] * height // image.shape[0], height), interpolation=cv2.INTER_AREA)
    left = (width - inner.shape[1]) // 2
    page[:, left : left + inner.shape[1]] = inner
    return page.astype(np.uint8)


def write_repeated(path: Path, base: Path, said: Path, seconds: int) -> Path:
    """The encoded pictures of `base` again and again for so many seconds, with `said` as the sound of the clip."""
    part = path.with_suffix(".part.mp4")
    samples, rate = read_wave(said)
    with av.open(str(base)) as source, av.open(str(part), "w", format="mp4") as file:
        pictures = source.streams.video[0]
        video, audio = file.add_stream_from_template(pictures), file.add_stream("aac", rate=rate, layout="mono")
        stored = [_Stored.of(packet) for packet in source.demux(pictures) if packet.pts is not None]
        sound, base_of_time = _aac_frames(samples, rate), Fraction(pictures.time_base or 1)
        first, end = min(one.pts for one in stored), int(seconds / base_of_time)
        for shift in range(-first, end - first, pictures.duration or 1):
            for one in stored:
                if one.pts + shift < end:
                    file.mux(one.packet(video, base_of_time, shift))
            for frame in sound:  # in step with the pictures, so that the muxer keeps little in memory
                file.mux(audio.encode(frame))
                if frame.time is not None and frame.time > (shift + first + (pictures.duration or 1)) * base_of_time:
                    break
        for frame in sound:
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))
    return part.replace(path)


@dataclass(frozen=True)
class _Stored:
    """An encoded picture."""

    content: bytes
    pts: int
    dts: int
    duration: int
    key: bool

    @classmethod
    def of(cls, packet: av.Packet[VideoStream]) -> Self:
        pts, dts = packet.pts or 0, packet.dts
        return cls(bytes(packet), pts, pts if dts is None else dts, packet.duration or 0, packet.is_keyframe)

    def packet(self, stream: VideoStream, time_base: Fraction, shift: int) -> av.Packet[Stream]:
        """The picture as a packet, `shift` ticks later."""
        made = av.Packet(self.content)
        made.pts, made.dts, made.duration = self.pts + shift, self.dts + shift, self.duration
        made.is_keyframe, made.time_base, made.stream = self.key, time_base, stream
        return made


def _aac_frames(samples: Float32Array, rate: int) -> Iterator[AudioFrame]:
    for start in range(0, len(samples), _AAC_FRAME):
        frame = AudioFrame.from_ndarray(samples[None, start : start + _AAC_FRAME], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame
