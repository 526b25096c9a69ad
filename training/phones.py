"""Articulatory targets of phones: the positions of jaw, lips and tongue for an IPA symbol, and their firmness.

The figures follow the phonetic classes (vowel height to jaw and lip opening, rounding and spreading to the lips, place
of articulation to closure, teeth and tongue tip). The openings of lips and jaw differ: spread lips part and
show the teeth although the jaw is high, as for i and s; rounded lips leave a small hole although it is low, as for o.
Firmness follows Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993: lips are bound to a
labial, whereas a velar lets them follow the vowels. (Bilabials close by the closure curve and not by their pull, which
would flatten the vowels around them.)
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Phone:
    """Targets as in `duikou.speech.motion.CURVES`; firmness: how strongly lips, jaw and rounding are bound to them."""

    gap: float
    jaw: float
    width: float = 0.0
    round: float = 0.0
    closure: float = 0.0
    dental: float = 0.0
    tongue: float = 0.0
    lips_firm: float = 1.0
    jaw_firm: float = 1.0
    round_firm: float = 1.0
    vowel: bool = False


def _vowel(gap: float, jaw: float, width: float = 0.0, rounding: float = 0.0) -> Phone:
    return Phone(gap, jaw, width, rounding, lips_firm=1.0, jaw_firm=1.0, round_firm=1.0, vowel=True)


VOWELS = {
    "i": _vowel(0.54, 0.20, 0.9), "y": _vowel(0.10, 0.20, -0.5, 0.9), "ɨ": _vowel(0.38, 0.22, 0.4),
    "ʉ": _vowel(0.16, 0.22, -0.5, 0.9), "ɯ": _vowel(0.36, 0.24, 0.3), "u": _vowel(0.06, 0.22, -0.9, 1.0),
    "ɪ": _vowel(0.54, 0.30, 0.6), "ʏ": _vowel(0.18, 0.28, -0.4, 0.8), "ʊ": _vowel(0.22, 0.32, -0.5, 0.7),
    "ᵻ": _vowel(0.40, 0.28, 0.3), "e": _vowel(0.66, 0.42, 0.7), "ø": _vowel(0.26, 0.40, -0.4, 0.8),
    "ɘ": _vowel(0.48, 0.42, 0.3), "ɵ": _vowel(0.30, 0.42, -0.4, 0.6), "ɤ": _vowel(0.50, 0.46, 0.1),
    "o": _vowel(0.26, 0.48, -0.7, 0.8), "ə": _vowel(0.46, 0.40), "ɚ": _vowel(0.30, 0.36, -0.1, 0.3),
    "ɛ": _vowel(0.78, 0.60, 0.5), "ε": _vowel(0.76, 0.60, 0.5),
    "œ": _vowel(0.40, 0.58, -0.3, 0.6), "ɜ": _vowel(0.55, 0.52),
    "ɝ": _vowel(0.32, 0.42, -0.2, 0.4), "ɞ": _vowel(0.38, 0.55, -0.3, 0.5), "ʌ": _vowel(0.72, 0.68),
    "ɔ": _vowel(0.44, 0.70, -0.5, 0.6), "æ": _vowel(1.00, 0.85, 0.5), "ɐ": _vowel(0.82, 0.78, 0.1),
    "a": _vowel(1.00, 0.95, 0.25), "ɶ": _vowel(0.70, 0.85, -0.2, 0.5), "ɑ": _vowel(0.92, 1.00),
    "ɒ": _vowel(0.62, 0.92, -0.3, 0.4),
}  # fmt: skip

_BILABIAL = Phone(0.05, 0.15, closure=1.0, lips_firm=1.2, jaw_firm=0.8, round_firm=0.3)
_LOOSE_BILABIAL = Phone(0.06, 0.15, lips_firm=2.0, jaw_firm=0.8, round_firm=0.5)
_DENTILABIAL = Phone(0.06, 0.12, dental=1.0, lips_firm=2.0, jaw_firm=1.0, round_firm=0.5)
_DENTAL = Phone(0.30, 0.18, tongue=1.0, lips_firm=0.8, jaw_firm=0.8, round_firm=0.2)
_ALVEOLAR = Phone(0.34, 0.16, tongue=1.0, lips_firm=0.6, jaw_firm=0.9, round_firm=0.2)
_LATERAL = Phone(0.40, 0.32, tongue=1.0, lips_firm=0.6, jaw_firm=0.6, round_firm=0.2)
_SIBILANT = Phone(0.34, 0.04, width=0.3, tongue=0.5, lips_firm=0.8, jaw_firm=2.0, round_firm=0.4)
_HUSHER = Phone(0.20, 0.06, width=-0.3, round=0.5, tongue=0.3, lips_firm=1.4, jaw_firm=2.0, round_firm=1.0)
_PALATAL = Phone(0.38, 0.15, width=0.5, lips_firm=0.8, jaw_firm=0.9, round_firm=0.4)
_ALVEOLO_PALATAL = Phone(0.34, 0.06, width=0.5, tongue=0.3, lips_firm=1.2, jaw_firm=1.8, round_firm=0.4)
_VELAR = Phone(0.38, 0.28, lips_firm=0.3, jaw_firm=0.4, round_firm=0.1)
_GLOTTAL = Phone(0.45, 0.42, lips_firm=0.15, jaw_firm=0.15, round_firm=0.05)
_PHARYNGEAL = Phone(0.50, 0.50, lips_firm=0.4, jaw_firm=0.4, round_firm=0.1)
_LABIOVELAR = Phone(0.04, 0.20, width=-0.8, round=1.0, lips_firm=1.6, jaw_firm=0.8, round_firm=1.6)
_RHOTIC = Phone(0.18, 0.22, width=-0.2, round=0.4, tongue=0.3, lips_firm=0.8, jaw_firm=0.7, round_firm=0.7)
_TAP = Phone(0.36, 0.26, tongue=0.9, lips_firm=0.4, jaw_firm=0.5, round_firm=0.2)

CONSONANTS = {
    **dict.fromkeys("pbmɓʙ", _BILABIAL),
    **dict.fromkeys("βɸ", _LOOSE_BILABIAL),
    **dict.fromkeys("fvɱʋⱱ", _DENTILABIAL),
    **dict.fromkeys("θð", _DENTAL),
    **dict.fromkeys("tdnɗʈɖɳ", _ALVEOLAR),
    **dict.fromkeys("lɫɭɬɮɺ", _LATERAL),
    **dict.fromkeys("sz", _SIBILANT),
    **dict.fromkeys("ʃʒʂʐɧ", _HUSHER),
    **dict.fromkeys("ɕʑ", _ALVEOLO_PALATAL),
    **dict.fromkeys("jcɟɲʎʝç", _PALATAL),
    **dict.fromkeys("kgɡŋxɣɠɰqɢɴχʁʀ", _VELAR),
    **dict.fromkeys("hɦʔ", _GLOTTAL),
    **dict.fromkeys("ħʕʢʜ", _PHARYNGEAL),
    **dict.fromkeys("wɥʍ", _LABIOVELAR),
    **dict.fromkeys("ɹɻ", _RHOTIC),
    **dict.fromkeys("rɾɽ", _TAP),
}

PHONES = {**VOWELS, **CONSONANTS}
BILABIALS = frozenset("pbmɓʙ")
VOICELESS_PLOSIVES = frozenset("ptkqcʈ")
_ASPIRABLE = VOICELESS_PLOSIVES | frozenset("bdgɡɖɟsʂɕʃ")
_LENGTH = frozenset("ːˑ")
_REDUCED = frozenset("ˈˌ")
UNSTRESSED = 0.85  # opening of an unstressed vowel, of that of a stressed one (JALI, Edwards et al. 2016, section 4)
VOWEL_WEIGHT = 2.0  # a vowel's share of a shared event's length, against a consonant's 1


@dataclass(frozen=True)
class Sound:
    """One IPA symbol of a spoken event: the symbol, its share of the event's length, and whether it is stressed."""

    symbol: str
    weight: float
    stressed: bool


def sounds(ipa: str) -> tuple[Sound, ...]:
    """The symbols of one IPA event such as `ˈaɪ`, `tʃ` or `pʰ`; diacritics, tones and language marks are dropped.

    An `h` after a stop or an affricate's friction is aspiration, not a separate phone.
    """
    if ipa.startswith("("):
        return ()
    found: list[Sound] = []
    for char in unicodedata.normalize("NFD", ipa):
        if char in _LENGTH and found:
            last = found[-1]
            found[-1] = Sound(last.symbol, last.weight + 1.0, last.stressed)
        elif char == "h" and found and found[-1].symbol in _ASPIRABLE:
            continue
        elif char in PHONES:
            found.append(Sound(char, VOWEL_WEIGHT if char in VOWELS else 1.0, not _REDUCED.isdisjoint(ipa)))
    return tuple(found)


def unknown(ipa: str) -> set[str]:
    """Letters of an IPA event that `PHONES` lacks; there should be none."""
    letters = {char for char in unicodedata.normalize("NFD", ipa) if unicodedata.category(char) in {"Ll", "Lo"}}
    return set() if ipa.startswith("(") else letters - set(PHONES)
