"""Speech with phone times from espeak-ng's library (as carried by `espeakng-loader`), in voices drawn at random.

The library is called through ctypes (its `speak_lib.h`): it is one global engine per process. Random voices are
voice variant files (formant shifts, breath, flutter, tone, Klatt synthesis) in a private copy of its data folder.
"""

from __future__ import annotations

import ctypes
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import espeakng_loader
import numpy as np

from duikou.arrays import Float32Array
from training import texts
from training.phones import VOICELESS_PLOSIVES, sounds
from training.speech import Event, Spoken

RANDOM_VOICES = 160
HELD_OUT_RANDOM = 24  # the last of them
NAMED = (
    "", "m1", "m2", "m4", "m5", "m6", "m8", "f1", "f2", "f4", "f5", "klatt", "klatt2", "klatt4", "Andrea", "Alex",
    "Denis", "Lee", "Michael", "Mario", "belinda", "linda", "steph", "anika", "victor", "zac",
)  # fmt: skip
HELD_OUT_NAMED = ("m3", "m7", "f3", "klatt3", "Annie", "Reed")
RANDOM_SHARE = 0.65  # of the takes, in random voices; the rest in espeak-ng's own

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_PHONEME_EVENTS, _PHONEME_IPA = 1, 2  # espeakINITIALIZE_...
_EVENT_END, _EVENT_PHONEME = 0, 7  # espeakEVENT_LIST_TERMINATED, espeakEVENT_PHONEME
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeakRATE (words per minute), espeakPITCH, espeakRANGE (0 to 100)
_UTF8 = 1
SILENT = 0.004  # of full scale: below it the synthesizer is silent
LONGEST_HOLD_S = 0.12  # longest hold of a voiceless stop


def available() -> bool:
    """Always true: it comes with the `demo` extra."""
    return True


@dataclass(frozen=True)
class Prosody:
    """How a text is spoken. words_per_minute: tempo. pitch, pitch_range: 0 to 100."""

    words_per_minute: int = 170
    pitch: int = 50
    pitch_range: int = 50


class Voices:
    """Random voices and espeak-ng's named voices, in every language of `texts`."""

    def __init__(self, scratch: Path) -> None:
        data = scratch / "espeak-ng-data"
        self._drawn = random_voices(data, RANDOM_VOICES, seed=0, keep=NAMED + HELD_OUT_NAMED)
        self._engine = Espeak(data)

    def speaker(self, rng: random.Random, *, held_out: bool) -> Callable[[], Spoken]:
        """One voice in one language, at about one tempo and pitch."""
        drawn = self._drawn[-HELD_OUT_RANDOM:] if held_out else self._drawn[:-HELD_OUT_RANDOM]
        variant = rng.choice(drawn if rng.random() < RANDOM_SHARE else HELD_OUT_NAMED if held_out else NAMED)
        language = rng.choice(texts.languages())
        voice = rng.choice(texts.ACCENTS.get(language, (language,)))
        speed, pitch, spread = rng.randint(105, 250), rng.randint(15, 90), rng.randint(10, 90)

        def say() -> Spoken:
            text = texts.draw(language, rng)
            prosody = Prosody(speed + rng.randint(-15, 15), pitch, spread)
            return self._engine.speak(text, voice, variant, prosody=prosody, seed=rng.randint(1, 1 << 30))

        return say


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@lru_cache(maxsize=1)
def _start(folder: Path) -> tuple[ctypes.CDLL, int]:
    """The library, started on a data folder, and its samples per second.

    It is global to the process and started once: a library that was ended and started again crashed.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    options = _PHONEME_EVENTS | _PHONEME_IPA
    rate: int = library.espeak_Initialize(_SYNCHRONOUS, 0, str(folder.parent).encode(), options)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng does not start on the data in {folder}")
    return library, rate


class Espeak:
    """The engine. All instances in a process share one library, with the data folder of the latest instance."""

    def __init__(self, data: Path | None = None) -> None:
        """data: the data folder (`espeak-ng-data`); by default that of the wheel."""
        folder = data or Path(espeakng_loader.get_data_path())
        self._variants = folder / "voices" / "!v"
        self._library, self.rate = _start(folder)
        self._sound = bytearray()
        self._marks: list[tuple[int, str]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds only its address

    def speak(
        self, text: str, language: str, variant: str = "", *, prosody: Prosody | None = None, seed: int = 0
    ) -> Spoken:
        """Speak `text`, by default with the prosody `Prosody()`. Raises `ValueError` for an unknown voice."""
        prosody = prosody or Prosody()
        voice = f"{language}+{variant}" if variant else language
        # espeak-ng would silently ignore an unknown variant.
        known = not variant or (self._variants / variant).is_file()
        if not known or self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in (
            (_RATE, prosody.words_per_minute),
            (_PITCH, prosody.pitch),
            (_RANGE, prosody.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._library.espeak_SetSynthCallback(self._callback)  # set here, because other code may use the library too
        self._sound.clear()
        self._marks.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.frombuffer(bytes(self._sound), np.int16).astype(np.float32) / 32768.0
        return Spoken(samples, self.rate, _events(self._marks, samples, self.rate))

    def _receive(self, wave: object, count: int, events: Sequence[_Event]) -> int:
        if wave:
            self._sound.extend(ctypes.string_at(wave, count * 2))  # type: ignore[arg-type]
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                self._marks.append((event.sample, event.id.string.decode("utf-8", "ignore")))
            index += 1
        return 0


def _events(marks: list[tuple[int, str]], samples: Float32Array, rate: int) -> list[Event]:
    """Marks as events that fill the audio.

    espeak-ng marks a voiceless stop at its burst and a voiced stop at its closure. Here both begin at the closure, so
    the silence before a burst belongs to the stop.
    """
    starts = [min(sample, len(samples)) for sample, _ in marks]
    for index, (_, ipa) in enumerate(marks):
        spoken = sounds(ipa)
        if spoken and spoken[0].symbol in VOICELESS_PLOSIVES:
            earliest = max(starts[index] - int(LONGEST_HOLD_S * rate), starts[index - 1] if index else 0)
            loud = np.flatnonzero(np.abs(samples[earliest : starts[index]]) > SILENT)
            starts[index] = earliest + int(loud[-1]) + 1 if len(loud) else earliest
    ends = [*starts[1:], len(samples)]
    times = [(0, starts[0], "")] if starts and starts[0] else []
    times += [(start, end, ipa) for start, end, (_, ipa) in zip(starts, ends, marks, strict=True)]
    return [Event(start / rate, end / rate, ipa) for start, end, ipa in times if end > start]


def random_voices(folder: Path, count: int, seed: int, keep: Sequence[str] = ()) -> list[str]:
    """Copy the data folder to `folder`, add `count` random voice variants, and return their names in order.

    Of espeak-ng's variants only those in `keep` are copied, because it supports at most 350 voices in all.
    """
    shutil.copytree(espeakng_loader.get_data_path(), folder, dirs_exist_ok=True)
    for file in (folder / "voices" / "!v").iterdir():
        if file.name not in keep:
            file.unlink()
    rng = random.Random(seed)
    names = [f"random{number:03}" for number in range(count)]
    for name in names:
        (folder / "voices" / "!v" / name).write_text(_variant(name, rng), encoding="utf-8")
    return names


def _variant(name: str, rng: random.Random) -> str:
    """One voice variant file (espeak-ng `docs/voices.md`): throat length first, then everything else about a voice."""
    scale = rng.choice((rng.uniform(88, 104), rng.uniform(104, 122), rng.uniform(115, 132)))  # men, women, children
    base = rng.uniform(70, 130) if scale < 104 else rng.uniform(130, 240)
    lines = ["language variant", f"name {name}", f"gender {'male' if scale < 104 else 'female'}"]
    lines.append(f"pitch {base:.0f} {base * rng.uniform(1.15, 1.8):.0f}")
    for formant in range(9):
        frequency = scale * rng.uniform(0.93, 1.07)
        lines.append(f"formant {formant} {frequency:.0f} {rng.uniform(60, 130):.0f} {rng.uniform(70, 180):.0f}")
    lines.append(f"flutter {rng.randint(0, 6)}")
    lines.append(f"roughness {rng.randint(0, 4)}")
    lines.append(f"voicing {rng.randint(70, 150)}")
    lines.append(f"consonants {rng.randint(60, 140)} {rng.randint(70, 140)}")
    if rng.random() < 0.4:
        lines.append("breath " + " ".join(str(rng.randint(0, 6)) for _ in range(8)))
    if rng.random() < 0.5:
        lines.append(f"tone {rng.randint(400, 900)} {rng.randint(150, 255)} {rng.randint(1500, 3500)} "
                     f"{rng.randint(60, 255)}")  # fmt: skip
    if rng.random() < 0.4:
        lines.append(f"klatt {rng.randint(1, 5)}")
    return "\n".join(lines) + "\n"
