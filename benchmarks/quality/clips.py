"""The measured clips: real people if available, else generated ones; and their preparation for a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.quality.engines import Driven
from demo import portrait
from duikou import FaceChoice, identify, lip_sync
from duikou.arrays import Float32Array, Image, IntArray
from duikou.errors import MediaError
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.media.encode import Quality, VideoWriter
from duikou.media.sound import Audio
from duikou.media.video import Video
from duikou.speech.articulation import LIP_LEAD_S
from duikou.speech.features import FRAME_RATE
from duikou.speech.motion import MouthMotion
from training.speech import write_wave
from training.synthesizers.espeak import Espeak
from training.targets import curves

MEDIA = Path(__file__).parents[3] / "shared" / "media"
"""Real people, kept outside the repository; see its own README."""

DISPLACED = Quality(8, "veryfast")
"""x264 quality of the displaced clip, high enough to stand in for the original."""

BLOCK = 24
"""Frames held while a clip is played backwards: a minute of 1080p does not fit into memory."""

LEAD_S, PAUSE_S, PART_S = 0.5, 2.0, 2.5
"""Audio for a silent face: silence, speech, a pause, speech again."""

FADE_S = 0.02
"""Fade at the ends of a part of speech, so that the cut does not click."""

MADE_TEXT = (
    "Papa bought a big map before breakfast. My uncle Bob keeps five brave goats and a purple van, if you please."
)
MADE_VOICE = ("en-us", "m3")
"""A voice that the articulation network was not trained on."""


@dataclass(frozen=True)
class Clip:
    """A clip of a talking or idle person. seconds: how much of it is used; `None` is all. altered: name of the
    alteration (`hard.ALTERATIONS`) that makes it a hard case, if any.
    """

    name: str
    video: Path
    seconds: float | None = None
    altered: str = ""

    def hardened(self, by: str) -> Clip:
        """The same clip with an alteration."""
        return replace(self, name=f"{self.name}_{by}", altered=by)


def _real(name: str, seconds: float | None = None) -> Clip:
    return Clip(name, MEDIA / "video" / f"{name}.mp4", seconds)


TALKING = (
    _real("talking_zh"),
    _real("talking_glasses"),
    _real("talking_en_beard_mic"),
    _real("talking_white_beard_cap"),
    _real("portrait_hevc_small_face"),
    _real("portrait_hevc_gestures", 10),
    _real("square_512"),
    _real("office_700px_22fps"),
    _real("two_people"),
    _real("refuse_256px_60s", 15),
)

HARD = (
    _real("talking_glasses").hardened("turned"),
    _real("talking_zh").hardened("turned"),
    _real("talking_zh").hardened("side_lit"),
    _real("talking_glasses").hardened("tilted"),
    _real("talking_zh").hardened("fast"),
    _real("talking_glasses").hardened("far"),
)

MADE_HARD = "turned"

IDLE = (_real("closed_mouth_silent", 8), _real("idle_silent", 8), _real("idle_drawn_face", 8))

IDLE_SPEECH = MEDIA / "speech" / "en_18s.mp3"


@dataclass(frozen=True)
class Take:
    """A prepared clip. frames: number of its frames that are used.

    real: the clip encoded by the product without changes. given: the input clip, in a re-enactment with its pictures
    displaced in time. sound: the speech as WAV, from time 0.
    """

    clip: Clip
    frames: int
    real: Path
    given: Path
    sound: Path


def displaced(count: int) -> IntArray:
    """The picture shown at each of `count` frames: forwards and backwards without a cut, from the middle on."""
    place = count // 2 + np.arange(count)
    return np.where(place < count, place, 2 * (count - 1) - place)


def reenactment(clip: Clip, folder: Path) -> Take:
    """Write the unchanged clip, the displaced clip, and its audio. Raises `MediaError` for a clip without audio."""
    frames = frame_count(clip)
    real, given = unchanged(clip.video, frames, folder / "real.mp4"), folder / "given.mp4"
    pts = [int(one) for one in decode.read_frame_times(clip.video).pts[:frames]]
    with VideoWriter(given, Video.open(clip.video), quality=DISPLACED) as writer:
        for when, image in zip(pts, _in_order(clip.video, displaced(frames)), strict=True):
            writer.write(image, when)
    return Take(clip, frames, real, given, own_sound(clip, folder))


def with_a_pause(clip: Clip, speech: Path, folder: Path) -> Take:
    """The unchanged clip, and speech with a pause in the middle."""
    frames = frame_count(clip)
    real = unchanged(clip.video, frames, folder / "real.mp4")
    said = read_audio(speech, channels=1)
    part, nothing = round(PART_S * said.rate), np.zeros((round(PAUSE_S * said.rate), 1), np.float32)
    lead = np.zeros((round(LEAD_S * said.rate), 1), np.float32)
    parts = [_faded(said.samples[start : start + part], said.rate) for start in (0, part)]
    whole = np.concatenate([lead, parts[0], nothing, parts[1]])[: _end_ms(clip, frames) * said.rate // 1000]
    return Take(clip, frames, real, real, write_sound(folder / "sound.wav", Audio(whole, said.rate)))


def made(folder: Path, seconds: float) -> tuple[Clip, Clip, Path]:
    """Substitute for real people: the demo's portrait talking by known phones, the idle portrait, and the speech.

    The engine itself paints the talking portrait from the targets of the phones. It therefore measures how well the
    speech is heard and shown, not how real the result looks.
    """
    spoken = Espeak().speak(MADE_TEXT, *MADE_VOICE)
    sound = Audio(spoken.samples[: round(seconds * spoken.rate), None], spoken.rate)
    speech = write_sound(folder / "made.wav", sound)
    idle = portrait.write(folder / "made_idle.mp4", sound.duration_ms + 40)
    rows = 1 + sound.duration_ms * FRAME_RATE // 1000
    motion = MouthMotion(curves(spoken.events, rows), float(FRAME_RATE), -LIP_LEAD_S)
    session = identify(idle)
    talking = folder / "made_talking.mp4"
    lip_sync(session, [FaceChoice(speech, session.faces[0].id)], talking, engine=Driven(motion))
    return Clip("made_talking", talking), Clip("made_idle", idle), speech


def own_sound(clip: Clip, folder: Path) -> Path:
    """Write the clip's own audio as WAV, from time 0, and return its path. Raises `MediaError` if it has none."""
    sound = read_audio(clip.video, end_ms=_end_ms(clip, frame_count(clip)), channels=1)
    return write_sound(folder / "sound.wav", sound)


def write_sound(path: Path, sound: Audio) -> Path:
    """Write mono sound as 16-bit WAV and return `path`."""
    return write_wave(path, sound.samples[:, 0], sound.rate)


def unchanged(video: Path, frames: int, path: Path) -> Path:
    """Write the first frames of a video as the product encodes unchanged frames, and return `path`."""
    with VideoWriter(path, Video.open(video)) as writer:
        for frame in decode.frames(video, stop=frames):
            writer.copy(frame)
    return path


def frame_count(clip: Clip) -> int:
    """Number of frames of a clip that are used."""
    times = decode.times(clip.video)
    return len(times) if clip.seconds is None else int(np.searchsorted(times, clip.seconds * 1000))


def _end_ms(clip: Clip, frames: int) -> int:
    timeline = decode.read_frame_times(clip.video)
    return timeline.ms(int(timeline.pts[frames]) if frames < len(timeline.pts) else int(timeline.end))


def _in_order(video: Path, order: IntArray) -> Iterator[Image]:
    """The pictures in the given order, whose steps are single frames; holds only a few at a time."""
    held: dict[int, Image] = {}
    for place, number in enumerate(order):
        if number not in held:
            falls = place > 0 and number < order[place - 1]
            first = max(int(number) - BLOCK + 1, 0) if falls else int(number)
            held = {frame.index: frame.image for frame in decode.frames(video, start=first, stop=first + BLOCK)}
        if number not in held:
            raise MediaError(f"frame {number} of {video.name} cannot be decoded.", field="video")
        yield held[int(number)]


def _faded(samples: Float32Array, rate: int) -> Float32Array:
    count = round(FADE_S * rate)
    gain = np.ones(len(samples), np.float32)
    gain[:count] = np.linspace(0, 1, count)
    gain[-count:] = np.linspace(1, 0, count)
    return samples * gain[:, None]
