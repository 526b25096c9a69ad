"""Festival (Debian's packages `festival` and `festvox-*`): recorded diphones, units and HTS voices in six languages."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training import texts
from training.speech import Event, Spoken, read_wave
from training.synthesizers import american

VOICE_FOLDER = Path("/usr/share/festival/voices")
BATCH = 8  # texts per run of the program
LIMIT_S = 120  # seconds for a batch: a word that a voice cannot read may hang the program

_ITALIAN = {
    **dict(zip("ieEaoOu", "ieɛaoɔu", strict=True)),
    **{f"{vowel}1": "ˈ" + ipa for vowel, ipa in zip("ieEaoOu", "ieɛaoɔu", strict=True)},
    **{same: same for same in "jwptkbdgfsvzmnlr"},
    "S": "ʃ", "Z": "ʒ", "ts": "ts", "tS": "tʃ", "dz": "dz", "dZ": "dʒ", "J": "ɲ", "ng": "ŋ", "nf": "ɱ", "L": "ʎ",
    "#": "",
}  # fmt: skip
_FINNISH_SHORT = {
    **{same: same for same in "eiouyptkbdgfshmnlrjw"},
    "a": "ɑ", "@": "æ", "7": "ø", "&": "ə", "v": "ʋ", "T": "θ", "D": "ð", "S": "ʃ", "z": "z", "Z": "ʒ", "N": "ŋ",
    "L": "ʎ",
}  # fmt: skip
_FINNISH = {
    **_FINNISH_SHORT,
    **{f"{phone}:": ipa + "ː" for phone, ipa in _FINNISH_SHORT.items()},
    "#": "",
    "##": "",
}
_CZECH = {
    **{same: same for same in "abefgijklmnoprstuvz"},
    "a:": "ˈaː", "e:": "ˈɛː", "i:": "ˈiː", "o:": "ˈoː", "u:": "ˈuː", "e": "ɛ", "i": "ɪ", "c": "ts", "c~": "tʃ",
    "ch": "x", "d": "d", "d~": "ɟ", "dz": "dz", "dz~": "dʒ", "h": "ɦ", "n*": "ŋ", "n~": "ɲ", "r~": "rʒ", "r~*": "rʃ",
    "s~": "ʃ", "t~": "c", "z~": "ʒ", "_": "", "#": "",
}  # fmt: skip
_RUSSIAN = {
    "pau": "", "ii": "ˈi", "yy": "ˈɨ", "uu": "ˈu", "ee": "ˈɛ", "oo": "ˈo", "aa": "ˈa", "a": "ɐ", "e": "ɪ", "i": "i",
    "y": "ɨ", "u": "ʊ", "ae": "ɪ", "ay": "ə", "ur": "ʊ", "c": "ts", "ch": "tɕ", "sh": "ʂ", "sch": "ɕ", "zh": "ʐ",
    "h": "x", "hh": "x", "j": "j",
    **{same: same for same in "pbtdkgfvszmnlr"},
    **{same * 2: same for same in "pbtdkgfvszmnlr"},
}  # fmt: skip
_CATALAN = {
    "ax": "ə", "a": "a", "a1": "ˈa", "e": "e", "e1": "ˈe", "E": "ɛ", "E1": "ˈɛ", "i": "i", "i1": "ˈi",
    "o": "o", "o1": "ˈo", "O": "ɔ", "O1": "ˈɔ", "u": "u", "u1": "ˈu",
    "J": "ɲ", "L": "ʎ", "r": "ɾ", "rr": "r", "S": "ʃ", "Z": "ʒ", **{same: same for same in "bdfgjklmnpstwz"},
    "pau": "", "_": "", "#": "",
}  # fmt: skip
_AMERICAN = {phone: american.ipa(phone) for phone in american.IPA}


@dataclass(frozen=True)
class Voice:
    """One voice: what it speaks, how its texts are encoded, and its phones in IPA."""

    language: str
    encoding: str
    phones: dict[str, str]


VOICES = {
    "kal_diphone": Voice("en", "ascii", _AMERICAN),
    "ked_diphone": Voice("en", "ascii", _AMERICAN),
    "cmu_us_slt_arctic_hts": Voice("en", "ascii", _AMERICAN),
    "lp_diphone": Voice("it", "iso-8859-1", _ITALIAN),
    "pc_diphone": Voice("it", "iso-8859-1", _ITALIAN),
    "hy_fi_mv_diphone": Voice("fi", "iso-8859-1", _FINNISH),
    "suo_fi_lj_diphone": Voice("fi", "iso-8859-1", _FINNISH),
    "czech_dita": Voice("cs", "iso-8859-2", _CZECH),
    "czech_krb": Voice("cs", "iso-8859-2", _CZECH),
    "czech_machac": Voice("cs", "iso-8859-2", _CZECH),
    "czech_ph": Voice("cs", "iso-8859-2", _CZECH),
    "msu_ru_nsh_clunits": Voice("ru", "utf-8", _RUSSIAN),
    "upc_ca_ona_hts": Voice("ca", "iso-8859-1", _CATALAN),
}
HELD_OUT = ("cmu_us_slt_arctic_hts", "lp_diphone", "czech_machac")  # slt is flite's held-out speaker too

_SAY = """
(define (say text name)
  (set! utterance (eval (list 'Utterance 'Text text)))
  (utt.synth utterance)
  (utt.save.wave utterance (string-append name ".wav"))
  (utt.save.segs utterance (string-append name ".lab")))
"""


def available() -> bool:
    """Whether festival is installed with voices of ours, held-out ones among them."""
    there = _installed()
    return shutil.which("festival") is not None and any(v in there for v in HELD_OUT) and not set(HELD_OUT) >= there


def _installed() -> set[str]:
    return {folder.name for folder in VOICE_FOLDER.glob("*/*")} & set(VOICES)


class Voices:
    """Festival's voices."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._there = sorted(_installed())

    def speaker(self, rng: random.Random, *, held_out: bool) -> Callable[[], Spoken]:
        """One voice at one tempo."""
        voice = rng.choice([name for name in self._there if (name in HELD_OUT) == held_out])
        stretch = rng.uniform(0.75, 1.25)
        ready: deque[Spoken] = deque()

        def say() -> Spoken:
            while not ready:
                asked = [texts.draw(VOICES[voice].language, rng) for _ in range(BATCH)]
                ready.extend(speak(asked, voice, stretch, self._scratch))
            return ready.popleft()

        return say


def speak(asked: list[str], voice: str, stretch: float, scratch: Path) -> list[Spoken]:
    """Speak texts; `stretch` lengthens every phone (HTS voices keep their tempo). What cannot be read is left out."""
    spoken = VOICES[voice]
    lines = [_SAY, f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {stretch:.2f})"]
    for number, text in enumerate(asked):
        (scratch / f"{number}.lab").unlink(missing_ok=True)
        lines.append(f'(say "{text.replace(chr(34), " ")}" "{scratch / str(number)}")')
    script = scratch / "say.scm"
    script.write_bytes("\n".join(lines).encode(spoken.encoding, "replace"))
    # A text that a voice cannot read ends the program; what was said before it counts.
    subprocess.run(["festival", "-b", str(script)], capture_output=True, check=False, timeout=LIMIT_S)
    return [
        Spoken(*read_wave(label.with_suffix(".wav")), _events(label.read_text(encoding="utf-8"), spoken.phones))
        for number in range(len(asked))
        if (label := scratch / f"{number}.lab").is_file()
    ]


def _events(label: str, phones: dict[str, str]) -> list[Event]:
    """Events of an xlabel file: after `#`, lines of end time, a number and the phone."""
    events, start = [], 0.0
    for line in label.partition("#\n")[2].splitlines():
        end, _, phone = line.split(maxsplit=2)
        events.append(Event(start, float(end), phones[phone.strip()]))
        start = float(end)
    return events
