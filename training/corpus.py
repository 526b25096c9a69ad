"""The corpus: mel power and target curves of hours of synthetic speech, in training voices and in held-out ones.

It is made from fixed seeds in a few processes and cached in `training/cache`, since speaking it takes longer than
reading it. Speech comes in takes: one voice says several things with pauses between them.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duikou.speech.features import FRAME_RATE, RATE, mel_power, resample
from training import flite, texts
from training.espeak import Espeak, Spoken, random_voices
from training.targets import Event, curves

FloatArray = npt.NDArray[np.float32]
HalfArray = npt.NDArray[np.float16]

CACHE = Path(__file__).parent / "cache"
RANDOM_VOICES = 160
HELD_OUT_RANDOM = 24  # the last of them
NAMED_VOICES = (
    "", "m1", "m2", "m4", "m5", "m6", "m8", "f1", "f2", "f4", "f5", "klatt", "klatt2", "klatt4", "Andrea", "Alex",
    "Denis", "Lee", "Michael", "Mario", "belinda", "linda", "steph", "anika", "victor", "zac",
)  # fmt: skip
HELD_OUT_NAMED = ("m3", "m7", "f3", "klatt3", "Annie", "Reed")
HELD_OUT_FLITE = "slt"
RANDOM_SHARE = 0.65  # of espeak-ng's takes, in random voices; the rest in its own
TAKE_S = 20.0  # speech in one take
SHARDS = 4  # independent parts, each with its own seed
PAUSE_CHOICES_S = ((0.02, 0.15), (0.15, 0.5), (0.5, 1.6))
EDGE_PAUSE_S = 0.4
LOG_FLOOR = 1e-9  # of power; keeps digital silence finite


@dataclass(frozen=True)
class Corpus:
    """Takes of speech.

    log_power: (N, 80) float16 natural log of mel power, takes one after the other.
    targets: (N, len(CURVES)) float16.
    """

    log_power: HalfArray
    targets: HalfArray

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return len(self.targets) / FRAME_RATE / 60


def load(synthesizer: str, minutes: float, *, held_out: bool, seed: int) -> Corpus:
    """So many minutes of `espeak` or `flite`, in training voices or in held-out ones; made where the cache has none."""
    CACHE.mkdir(exist_ok=True)
    part_of = "held-out" if held_out else "train"
    path = CACHE / f"{synthesizer}-{part_of}-{_key(minutes, seed)}.npz"
    if not path.exists():
        context = get_context("spawn")  # espeak-ng is one global engine per process
        jobs = [(synthesizer, minutes / SHARDS, held_out, seed * SHARDS + shard) for shard in range(SHARDS)]
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            shards = list(pool.map(_shard, jobs))
        unfinished = path.with_suffix(".part.npz")
        np.savez(
            unfinished,
            log_power=np.concatenate([power for power, _ in shards]),
            targets=np.concatenate([target for _, target in shards]),
        )
        unfinished.replace(path)
    with np.load(path) as file:
        return Corpus(file["log_power"], file["targets"])


def join(parts: Sequence[Corpus]) -> Corpus:
    """One corpus of several."""
    return Corpus(np.concatenate([part.log_power for part in parts]), np.concatenate([part.targets for part in parts]))


def _key(*choices: object) -> str:
    """Changes with the choices and with every source file that the corpus depends on."""
    digest = hashlib.sha256(repr(choices).encode())
    here = Path(__file__).parent
    for name in ("corpus.py", "espeak.py", "flite.py", "phones.py", "targets.py", "texts.py"):
        digest.update((here / name).read_bytes())
    return digest.hexdigest()[:12]


def _shard(job: tuple[str, float, bool, int]) -> tuple[HalfArray, HalfArray]:
    synthesizer, minutes, held_out, seed = job
    rng = random.Random(seed)
    powers: list[HalfArray] = []
    targets: list[HalfArray] = []
    rows = 0
    with tempfile.TemporaryDirectory() as scratch:
        if synthesizer == "espeak":
            data = Path(scratch) / "espeak-ng-data"
            drawn = random_voices(data, RANDOM_VOICES, seed=0, keep=NAMED_VOICES + HELD_OUT_NAMED)
            engine = Espeak(data)
        while rows < minutes * 60 * FRAME_RATE:
            if synthesizer == "espeak":
                say = _espeak_voice(engine, drawn, held_out, rng)
            else:
                say = _flite_voice(held_out, Path(scratch) / "flite.wav", rng)
            power, target = take(say, rng)
            powers.append(np.log(power + LOG_FLOOR).astype(np.float16))
            targets.append(target.astype(np.float16))
            rows += len(target)
    return np.concatenate(powers), np.concatenate(targets)


def _espeak_voice(engine: Espeak, drawn: list[str], held_out: bool, rng: random.Random) -> Callable[[], Spoken]:
    pool = drawn[-HELD_OUT_RANDOM:] if held_out else drawn[:-HELD_OUT_RANDOM]
    named = HELD_OUT_NAMED if held_out else NAMED_VOICES
    variant = rng.choice(pool if rng.random() < RANDOM_SHARE else named)
    language = rng.choice(texts.languages())
    voice = rng.choice(texts.ACCENTS.get(language, (language,)))
    speed, pitch, spread = rng.randint(105, 250), rng.randint(15, 90), rng.randint(10, 90)

    def say() -> Spoken:
        text = texts.draw(language, rng)
        return engine.speak(text, voice, variant, words_per_minute=speed + rng.randint(-15, 15), pitch=pitch,
                            pitch_range=spread, seed=rng.randint(1, 1 << 30))  # fmt: skip

    return say


def _flite_voice(held_out: bool, scratch: Path, rng: random.Random) -> Callable[[], Spoken]:
    voice = HELD_OUT_FLITE if held_out else rng.choice([name for name in flite.VOICES if name != HELD_OUT_FLITE])
    stretch = rng.uniform(0.75, 1.3)
    return lambda: flite.speak(texts.draw("en", rng), voice, stretch, scratch)


def take(say: Callable[[], Spoken], rng: random.Random) -> tuple[FloatArray, FloatArray]:
    """Mel power (N, 80) and curves (N, len(CURVES)) of about `TAKE_S` of one voice, pauses between what it says."""
    sound = [np.zeros(round(EDGE_PAUSE_S * RATE), np.float32)]
    events, now = [Event(0.0, EDGE_PAUSE_S, "")], EDGE_PAUSE_S
    while now < TAKE_S:
        spoken = say()
        samples = resample(spoken.samples, spoken.rate)
        peak = float(np.abs(samples).max(initial=0.0))
        if peak <= 0.0:
            continue
        sound.append(samples * (0.7 * 10 ** (rng.uniform(-4, 0) / 20) / peak))  # people vary from phrase to phrase
        events += [Event(now + event.start_s, now + event.end_s, event.ipa) for event in spoken.events]
        now = sum(map(len, sound)) / RATE
        pause = rng.uniform(*rng.choice(PAUSE_CHOICES_S)) if now < TAKE_S else EDGE_PAUSE_S
        sound.append(np.zeros(round(pause * RATE), np.float32))
        events.append(Event(now, now + pause, ""))
        now = sum(map(len, sound)) / RATE
    power = mel_power(np.concatenate(sound))
    return power, curves(events, len(power))
