"""IPA of the phones of American English as named by flite and festival (the `radio` phone set)."""

IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b", "brth": "",
    "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɝ", "ey": "eɪ",
    "f": "f", "g": "g", "h#": "", "hh": "h", "hv": "ɦ", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m",
    "n": "n", "ng": "ŋ", "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "pau": "", "r": "ɹ", "s": "s", "sh": "ʃ",
    "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip

REDUCED = frozenset({"ax", "axr", "ih", "el", "em", "en"})
"""Neither program reports stress; these phones are mostly unstressed."""


def ipa(phone: str) -> str:
    """IPA of a phone, with a stress mark where it is likely. Raises `KeyError` for what is no such phone."""
    symbol = IPA[phone]
    return symbol if phone in REDUCED or not symbol else "ˈ" + symbol
