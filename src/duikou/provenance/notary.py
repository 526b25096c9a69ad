"""Signs for a process that must not have the private key: one claim of duikou for each of its files, and nothing else.

A server's results were written by a process that a file may have taken over, and C2PA also reads the caller's own
video, so both are read in a second caged process, which sees nothing but those files and asks for the signature. What
it asks for is checked here. Should it be taken over as well, it gains one claim of that title, and neither the key nor
any other signature.

The bytes to sign are a `Sig_structure` (RFC 9052, 4.4) whose payload is a claim (C2PA 2.x, "Claims"), both in CBOR
(RFC 8949).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from duikou.errors import InputError
from duikou.provenance.certificates import Certificate

MAX_CLAIM: Final = 32 << 10  # bytes; a claim takes 600, the certificates above it up to some thousand each
_GENERATOR: Final = "duikou"
_ASSERTIONS: Final = re.compile(
    r"self#jumbf=(/c2pa/[\w:-]+/)?c2pa\.assertions/c2pa\."
    r"((hash\.bmff|ingredient|actions)(\.v[0-9]+)?|thumbnail\.ingredient[\w.-]*)(__[0-9]+)?"
)
"""What of a claim duikou makes: digests of the file, the edited video with its thumbnail, and the steps of the edit."""
_DEPTH: Final = 8


class Notary:
    """Signs with a certificate. titles: of the files, each of which is signed once."""

    def __init__(self, certificate: Certificate, titles: Iterable[str]) -> None:
        self._certificate, self._left = certificate, set(titles)

    def sign(self, content: bytes) -> bytes:
        """The signature of a claim. Raises `InputError` for anything but a claim of one of the files, and for it again.

        Also raises as `Certificate.load`.
        """
        title = _title(content)
        if title not in self._left:
            raise InputError("the claim is of no file that is left to sign.", field="claim")
        self._left.remove(title)
        return self._certificate.signature(content)


def _title(content: bytes) -> str:
    """The title of a claim of duikou."""
    try:
        context, _, more, payload = _decoded(content)
        claim = _decoded(payload)
        listed = [one["url"] for name in claim if name.endswith("assertions") for one in claim[name]]
        named = claim["claim_generator_info"]["name"]
        ours = context == "Signature1" and more == b"" and named == _GENERATOR and len(listed) > 0
        if ours and all(_ASSERTIONS.fullmatch(url) for url in listed):
            return str(claim["dc:title"])
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise InputError("what is to be signed is no claim of duikou.", field="claim")


def _decoded(content: bytes) -> Any:
    """The one value that these bytes are in CBOR, made of what claims have. Raises `ValueError`."""
    if len(content) > MAX_CLAIM:
        raise ValueError("too long")
    value, end = _value(content, 0, 0)
    if end != len(content):
        raise ValueError("more than one value")
    return value


def _value(content: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""
    if depth > _DEPTH:
        raise ValueError("too deep")
    major, number, at = _head(content, at)
    match major:
        case 0 | 1:
            return (number if major == 0 else -1 - number), at
        case 2 | 3:
            text = content[at : at + number]
            return (text if major == 2 else text.decode()), at + number
        case 4:
            return _items(content, at, depth + 1, number)
        case 5:
            names_and_values, at = _items(content, at, depth + 1, 2 * number)
            pairs = dict(zip(names_and_values[::2], names_and_values[1::2], strict=True))
            if len(pairs) < number:
                raise ValueError("a name stands twice")
            return pairs, at
    raise ValueError("of a kind that claims do not have")


def _items(content: bytes, at: int, depth: int, count: int) -> tuple[list[Any], int]:
    """So many values that follow each other from `at` on, and where they end."""
    items = []
    for _ in range(count):
        item, at = _value(content, at, depth)
        items.append(item)
    return items, at


def _head(content: bytes, at: int) -> tuple[int, int, int]:
    """The kind of the value that begins at `at`, its number or length, and where its content begins."""
    if at >= len(content):
        raise ValueError("cut")
    major, number, at = content[at] >> 5, content[at] & 31, at + 1
    if number >= 24:
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(number, 0)
        if not size or at + size > len(content):
            raise ValueError("of no known length")
        number, at = int.from_bytes(content[at : at + size]), at + size
    if major > 1 and number > len(content) - at:  # every item takes a byte
        raise ValueError("cut")
    return major, number, at
