"""The corpus: mel power and phones of hours of synthetic speech, in training voices and in held-out ones.

It is generated from fixed seeds in several processes and cached in `training/cache`, because synthesis takes longer
than reading. Speech is organised in takes: one voice says several texts with pauses between them. The targets of the
mouth (`training/targets.py`) are computed when the corpus is loaded.
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
from training.speech import Event, Spoken
from training.synthesizers import ALL
from training.targets import curves

HalfArray = npt.NDArray[np.float16]

CACHE = Path(__file__).parent / "cache"
TAKE_S = 20.0  # speech in one take
SHARDS = 4  # independent parts, each with its own seed
PROCESSES = 2
PAUSE_CHOICES_S = ((0.02, 0.15), (0.15, 0.5), (0.5, 1.6))
EDGE_PAUSE_S = 0.4
LOG_FLOOR = 1e-9  # of power; keeps the log of digital silence finite


@dataclass(frozen=True)
class Take:
    """Some speech of one voice. log_power: (N, 80) float16, natural log of mel power. events: the spoken phones."""

    log_power: HalfArray
    events: list[Event]


@dataclass(frozen=True)
class Corpus:
    """Concatenated takes: log_power (N, 80) float16 and targets (N, len(CURVES)) float16."""

    log_power: HalfArray
    targets: HalfArray

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return len(self.targets) / FRAME_RATE / 60


def load(synthesizer: str, minutes: float, *, held_out: bool, seed: int) -> Corpus:
    """Speech of one synthesizer, in training or held-out voices, from the cache or generated now."""
    return of(takes(synthesizer, minutes, held_out=held_out, seed=seed))


def of(spoken: Sequence[Take]) -> Corpus:
    """A corpus of takes with the targets of the mouth."""
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        targets = list(pool.map(_targets, spoken, chunksize=8))
    return Corpus(np.concatenate([take.log_power for take in spoken]), np.concatenate(targets))


def join(parts: Sequence[Corpus]) -> Corpus:
    """One corpus of several."""
    return Corpus(np.concatenate([part.log_power for part in parts]), np.concatenate([part.targets for part in parts]))


def takes(synthesizer: str, minutes: float, *, held_out: bool, seed: int) -> list[Take]:
    """The takes of a corpus, from the cache or generated now."""
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"{synthesizer}-{'held-out' if held_out else 'train'}-{_key(synthesizer, minutes, seed)}.npz"
    if not path.exists():
        jobs = [(synthesizer, minutes / SHARDS, held_out, seed * SHARDS + shard) for shard in range(SHARDS)]
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:  # some engines are global
            spoken = [take for shard in pool.map(_shard, jobs) for take in shard]
        events = [event for take in spoken for event in take.events]
        unfinished = path.with_suffix(".part.npz")
        np.savez(
            unfinished,
            log_power=np.concatenate([take.log_power for take in spoken]),
            rows=[len(take.log_power) for take in spoken],
            events=[len(take.events) for take in spoken],
            times=[(event.start_s, event.end_s) for event in events],
            ipa=[event.ipa for event in events],
        )
        unfinished.replace(path)
    return _read(path)


def _read(path: Path) -> list[Take]:
    with np.load(path) as file:
        powers = np.split(file["log_power"], np.cumsum(file["rows"])[:-1])
        events = [
            Event(float(start), float(end), str(ipa))
            for (start, end), ipa in zip(file["times"], file["ipa"], strict=True)
        ]
        ends = np.cumsum(file["events"])
        counts = file["events"]
    return [
        Take(power, events[end - count : end]) for power, end, count in zip(powers, ends, counts, strict=True)
    ]  # fmt: skip


def _targets(take: Take) -> HalfArray:
    return curves(take.events, len(take.log_power)).astype(np.float16)


def _key(synthesizer: str, *choices: object) -> str:
    """A cache key that changes with the choices and with every source file that the speech depends on."""
    digest = hashlib.sha256(repr(choices).encode())
    here = Path(__file__).parent
    for name in ("corpus.py", "texts.py", f"synthesizers/{synthesizer}.py"):
        digest.update((here / name).read_bytes())
    return digest.hexdigest()[:12]


def _shard(job: tuple[str, float, bool, int]) -> list[Take]:
    synthesizer, minutes, held_out, seed = job
    rng = random.Random(seed)
    spoken: list[Take] = []
    with tempfile.TemporaryDirectory() as scratch:
        voices = ALL[synthesizer][1](Path(scratch))
        while sum(len(take.log_power) for take in spoken) < minutes * 60 * FRAME_RATE:
            spoken.append(take_of(voices.speaker(rng, held_out=held_out), rng))
    return spoken


def take_of(say: Callable[[], Spoken], rng: random.Random) -> Take:
    """About `TAKE_S` of one voice, with pauses between its texts."""
    sound = [np.zeros(round(EDGE_PAUSE_S * RATE), np.float32)]
    events, now = [Event(0.0, EDGE_PAUSE_S, "")], EDGE_PAUSE_S
    while now < TAKE_S:
        spoken = say()
        samples = resample(spoken.samples, spoken.rate)
        peak = float(np.abs(samples).max(initial=0.0))
        if peak <= 0.0:
            continue
        sound.append(
            samples * (0.7 * 10 ** (rng.uniform(-4, 0) / 20) / peak)
        )  # people vary their level from phrase to phrase
        events += [Event(now + event.start_s, now + event.end_s, event.ipa) for event in spoken.events]
        now = sum(map(len, sound)) / RATE
        pause = rng.uniform(*rng.choice(PAUSE_CHOICES_S)) if now < TAKE_S else EDGE_PAUSE_S
        sound.append(np.zeros(round(pause * RATE), np.float32))
        events.append(Event(now, now + pause, ""))
        now = sum(map(len, sound)) / RATE
    power = mel_power(np.concatenate(sound))
    return Take(np.log(power + LOG_FLOOR).astype(np.float16), events)
