"""Score the rules alone against measured mouths with known phones: `python -m training.known_phones [FOLDER]`.

A recogniser finds the words and the time of each phone (PocketSphinx, Huggins-Daines et al. 2006; the sentences of the
GRID corpus by its grammar, Cooke et al. 2006, other English by a general language model, with mistakes). The rules of
`training/targets.py` turn them into curves, which are scored like the network's: the score the network could reach if
it heard every phone. Used for scoring and for the timing of the rules; needs `training/requirements.txt`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from pocketsphinx import Config, Decoder

from duikou.arrays import Float32Array
from duikou.speech.articulation import LIP_LEAD_S
from duikou.speech.features import FRAME_RATE, RATE, resample
from duikou.speech.motion import MouthMotion
from training import score
from training.speech import Event
from training.synthesizers import american
from training.targets import curves

GRID_GRAMMAR = """#JSGF V1.0; grammar grid;
public <sentence> = (bin|lay|place|set) (blue|green|red|white) (at|by|in|with) <letter> <digit> (again|now|please|soon);
<letter> = a.|b.|c.|d.|e.|f.|g.|h.|i.|j.|k.|l.|m.|n.|o.|p.|q.|r.|s.|t.|u.|v.|x.|y.|z.|zed;
<digit> = zero|one|two|three|four|five|six|seven|eight|nine;"""
SETS = ("grid", "mead_lrs3", "talkvid")  # all or mostly in English
PHONES_PER_S = 100  # time unit of the aligner


def phones(samples: Float32Array, grammar: str = "") -> list[Event]:
    """The phones in audio (n,) at 16 kHz, by `grammar` (JSGF) or in general English; empty if unclear."""
    # A new decoder for each clip: it adapts to earlier audio, and a failed alignment spoils the next.
    decoder = Decoder(Config(loglevel="FATAL", samprate=float(RATE), beam=1e-80, wbeam=1e-40, bestpath=False))
    if grammar:
        decoder.add_jsgf_string("grammar", grammar)
        decoder.activate_search("grammar")
    peak = float(np.abs(samples).max(initial=1e-9))
    raw = (samples * (0.7 * 32767 / peak)).astype("<i2").tobytes()
    try:
        _hear(decoder, raw)
        if not (heard := decoder.hyp()):
            return []
        decoder.set_align_text(heard.hypstr)
        _hear(decoder, raw)
        decoder.set_alignment()
        _hear(decoder, raw)
    except RuntimeError:  # the words do not fit the audio
        return []
    return [
        Event(phone.start / PHONES_PER_S, (phone.start + phone.duration) / PHONES_PER_S, _ipa(phone.name))
        for word in decoder.get_alignment()
        for phone in word
    ]


def _hear(decoder: Decoder, raw: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(raw, full_utt=True)
    decoder.end_utt()


def _ipa(phone: str) -> str:
    return "" if phone == "SIL" or phone.startswith("+") else american.ipa(phone.lower())


def main() -> None:
    """Print r by set and lag, on top of the lips' lead, of the rules with known phones and of the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=score.TRACKS)
    heard = []
    ruled = []
    for clip in score.read(parser.parse_args().folder, SETS):
        sound = resample(clip.samples, clip.rate)
        events = phones(sound, GRID_GRAMMAR if clip.group == "grid" else "")
        if events:
            rows = 1 + len(sound) * FRAME_RATE // RATE
            heard.append(clip)
            ruled.append(replace(clip, motion=MouthMotion(curves(events, rows), float(FRAME_RATE), -LIP_LEAD_S)))
    for curve in ("gap", "width"):
        print(f"{curve}, lag   " + "".join(f"{name + ' ' + who:>19}" for name in SETS for who in ("rules", "network")))
        for lag in score.LAGS_S:
            print(f"{lag * 1000:>+8.0f}   " + "".join(
                f"{score.mean_r(clips, name, curve, float(lag)):19.3f}" for name in SETS for clips in (ruled, heard)
            ))  # fmt: skip
    print("clips      " + "".join(f"{sum(clip.group == name for clip in heard):>38}" for name in SETS))


if __name__ == "__main__":
    main()
