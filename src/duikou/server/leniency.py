"""Values as clients spell them: numbers in quotes, addresses with blanks around them, base64 in each of its alphabets.

What means the same is read as the same. What only resembles a number is refused: booleans, NaN, hexadecimal, exponents
in quotes, digits with blanks or underscores.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import reprlib
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal
from urllib.parse import unquote_to_bytes

from pydantic_core import PydanticKnownError

from duikou.errors import InputError

MAX_REPR = 40  # characters of a wrong value that a message repeats
MAX_DIGITS = 40  # characters of a number in quotes: more than any client writes
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_Refused = Literal["int_type", "float_type"]  # pydantic's types of error
_URL_SAFE = str.maketrans("-_", "+/")  # RFC 4648, section 5


# Numbers


def whole(low: int, high: int, *, rounds: bool = False) -> Callable[[object], object]:
    """A validator of whole numbers from `low` to `high`, which may come as 3000, 3000.0 or "3000".

    rounds: whether a fraction is rounded, half up; else it is refused. Raises `PydanticKnownError`.
    """
    refused: _Refused = "float_type" if rounds else "int_type"

    def read(value: object) -> object:
        number = _decimal(value, refused)
        rounded = number.quantize(Decimal(1), ROUND_HALF_UP) if abs(number) <= abs(high) + 1 else number
        if not rounds and rounded != number:
            raise PydanticKnownError(refused)
        _require_within(number, low, high)
        return int(rounded)

    return read


def number(low: float, high: float) -> Callable[[object], object]:
    """A validator of numbers from `low` to `high`, which may come in quotes. Raises `PydanticKnownError`."""

    def read(value: object) -> object:
        found = _decimal(value, "float_type")
        _require_within(found, low, high)
        return float(found)

    return read


def whole_as_text(value: object) -> object:
    """A whole number as the text of its digits; any other value as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(int(value)) if math.isfinite(value) and value == int(value) else value


def _decimal(value: object, refused: _Refused) -> Decimal:
    """The number that a JSON value means. Raises `PydanticKnownError` of the type `refused`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    if isinstance(value, str) and len(value) <= MAX_DIGITS and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise PydanticKnownError(refused)


def _require_within(number: Decimal, low: float, high: float) -> None:
    if number < low:
        raise PydanticKnownError("greater_than_equal", {"ge": low})
    if number > high:
        raise PydanticKnownError("less_than_equal", {"le": high})


# Text


def without_blanks(value: object) -> object:
    """Text without blanks and line breaks around it, as files, shells and forms leave them."""
    return value.strip(" \t\r\n") if isinstance(value, str) else value


class _Repr(reprlib.Repr):
    """Python's text of a value, with the JSON words for null, true and false."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxlong = self.maxother = 10 * MAX_REPR

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 - reprlib finds it by the type's name
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"


_REPR = _Repr()


def short_repr(value: object) -> str:
    """A wrong value as a message repeats it."""
    text = _REPR.repr(value)
    return text if len(text) <= MAX_REPR else f"{text[:MAX_REPR]}..."


# Audio


def is_url(text: str) -> bool:
    """Whether an audio field holds a URL and not the audio itself."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def decode_audio(text: str, field: str, max_bytes: int) -> bytes:
    """The audio file in plain or URL-safe base64 or a `data:` URI. Raises `InputError`."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or head.lower().rpartition(";")[2].strip() != "base64":
            raise InputError("a data: URI must be in base64, as in data:audio/mpeg;base64,....", field=field)
        text = unquote_to_bytes(text).decode("latin-1") if "%" in text else text
    packed = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    if (size := len(packed) * 3 // 4) > max_bytes:
        raise InputError(f"the audio has {size} bytes, more than the {max_bytes} allowed.", field=field)
    try:
        audio = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the value is neither an http(s) URL nor base64.", field=field) from error
    if not audio:
        raise InputError("the audio is empty.", field=field)
    return audio
