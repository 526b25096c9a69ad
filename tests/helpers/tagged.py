"""Good files with any number of tags, of every kind that FFmpeg reads into lists."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import boxes
import cv2
import mutants
import numpy as np
from boxes import box, content, replaced

ITUNES = box("hdlr", bytes(8) + b"mdirappl" + bytes(9))
LANGUAGES, NAMES = 31_000, (b"nam", b"ART", b"alb", b"cmt", b"gen", b"wrt")


def id3(*frames: tuple[bytes, bytes]) -> bytes:
    """An ID3v2.4 tag."""
    body = b"".join(kind + seven(len(text)) + bytes(2) + text for kind, text in frames)
    return b"ID3\4\0\0" + seven(len(body)) + body


def seven(number: int) -> bytes:
    """A size as ID3 has it, 7 bits a byte."""
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def names(count: int) -> bytes:
    """An ID3 tag of that many names with a value each."""
    return id3(*[(b"TXXX", b"\0%07d\0x" % number) for number in range(count)])


def ape(count: int) -> bytes:
    """An APE tag of that many."""
    items = b"".join(struct.pack("<II", 1, 0) + b"%07d\0x" % number for number in range(min(count, 65_536)))
    return items + b"APETAGEX" + struct.pack("<4I", 2_000, len(items) + 32, min(count, 65_536), 0) + bytes(8)


def riff(kind: bytes, body: bytes) -> bytes:
    """A chunk of a wav."""
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def info(count: int) -> bytes:
    """A chunk of that many names in a wav's own form."""
    entries = [struct.pack(">I", 0x41414141 + n) + struct.pack("<I", 2) + b"x\0" for n in range(count)]
    return riff(b"LIST", b"INFO" + b"".join(entries))


def wav(*, front: bytes = b"", behind: bytes = b"") -> bytes:
    """The wav with chunks before and behind its sound."""
    data = mutants.seed("wav")
    sound = data.index(b"data")
    end = sound + 8 + struct.unpack_from("<I", data, sound + 4)[0]
    return data[:12] + data[12:sound] + front + data[sound:end] + behind


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A grey photo with chunks behind its header."""
    plain = cv2.imencode(".png", np.full((16, 16, 3), 128, np.uint8))[1].tobytes()
    more = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return plain[:33] + b"".join(more) + plain[33:]


def mp4(more: bytes, kind: str = "moov") -> bytes:
    """The mp4 with more boxes in one."""
    return replaced(mutants.seed("mp4"), kind, content(mutants.seed("mp4"), kind) + more)


def languages(count: int) -> bytes:
    """A box of titles and the like, each in another language: so many different names."""
    kinds = (NAMES[number // LANGUAGES % len(NAMES)] for number in range(count))
    return box(
        "udta",
        b"".join(
            struct.pack(">I", 14) + b"\xa9" + kind + struct.pack(">HH", 2, 0x400 + number % LANGUAGES) + b"xx"
            for number, kind in enumerate(kinds)
        ),
    )


def items(count: int) -> bytes:
    """A box of that many titles in iTunes' form."""
    entry = box("\xa9nam", box("data", struct.pack(">II", 1, 0) + b"x"))
    return box("udta", box("meta", bytes(4) + ITUNES + box("ilst", entry * count)))


def elsewhere(make: Callable[[bytes], bytes], more: bytes) -> bytes:
    """The mp4 whose index, with more boxes, stands at the file's end in a form that `make` gives to its content."""
    data = mutants.seed("mp4")
    old = boxes.find(data, "moov")
    gap = box("skip", bytes(old.end - old.start - 8))
    return data[: old.start] + gap + data[old.end :] + make(content(data, "moov") + more)


def packed(index: bytes) -> bytes:
    """An index as QuickTime packed it."""
    moov = box("moov", index)
    inner = box("dcom", b"zlib") + box("cmvd", struct.pack(">I", len(moov)) + zlib.compress(moov))
    return box("moov", box("cmov", inner))


def protection(count: int) -> bytes:
    """Boxes of copy protection, each of another system."""
    return b"".join(box("pssh", bytes(4) + struct.pack(">5I", one, one, one, one, 0)) for one in range(count))


def defaults(count: int) -> bytes:
    """Defaults for fragments of that many tracks."""
    return box("mvex", b"".join(box("trex", struct.pack(">6I", 0, 1_000 + one, 1, 0, 0, 0)) for one in range(count)))
