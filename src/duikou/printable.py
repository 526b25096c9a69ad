"""Texts of strangers as they are printed and logged: nothing in them acts on a terminal or reorders what is read.

Names of files, labels, addresses and answers of servers may hold escape sequences (ECMA-48), which move the cursor, set
titles and copy to the clipboard, and controls that show text in another order than it has (Unicode standard annex 9).
"""

from __future__ import annotations

import re
from typing import Final

_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_ACTS: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"  # overrides and isolates of direction
    "\ud800-\udfff"  # surrogates, which no encoding can write
    "]"
)


def printable(text: str, keep: str = "") -> str:
    r"""The text with every character that acts or cannot be written as an escape of JSON, such as `\u001b`.

    keep: characters that stay as they are. All else stays, too, whatever its script.
    """
    return _ACTS.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def cut(text: str, most: int) -> str:
    """The text, or so many of its first characters with a note."""
    return text if len(text) <= most else f"{text[:most]} [cut]"


def _escape(character: str) -> str:
    return _SHORT.get(character) or f"\\u{ord(character):04x}"
