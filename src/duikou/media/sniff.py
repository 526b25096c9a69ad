"""Detects the container of a file by its first bytes. The file name and the declared type are ignored.

FFmpeg guesses formats from content and name, and some of its formats are text that refers to other files (`ffconcat`,
HLS playlists). Those must never reach it, so only files recognised here are opened, each with its demuxer pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from duikou.errors import MediaError

DEMUXERS: Final = {"mp4": "mov", "mov": "mov", "m4a": "mov", "mp3": "mp3", "wav": "wav", "aac": "aac"}
"""FFmpeg's demuxer for each container; `mov` reads the whole ISO base media family."""

VIDEO_FORMATS: Final = ("mp4", "mov")
AUDIO_FORMATS: Final = ("mp3", "wav", "m4a", "aac")
FORMATS: Final = VIDEO_FORMATS + AUDIO_FORMATS

PHOTO_DEMUXERS: Final = {"jpeg": "jpeg_pipe", "png": "png_pipe", "webp": "webp_pipe"}
"""FFmpeg's demuxer for each kind of photo."""

_FOREIGN: Final = (
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"GIF8", "a picture"),
    (b"fLaC", "FLAC audio"),
    (b"OggS", "Ogg audio"),
)
"""How well-known files begin that are not read, and what to call them."""
_PHOTO_HEAD_BYTES: Final = 12
_HEAD_BYTES: Final = 64 * 1024  # holds any ISO brand, any RIFF header and the first two frames of an elementary stream
_ID3_HEAD_BYTES: Final = 10  # "ID3", version, flags and size
_QUICKTIME_ATOMS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})  # files from before `ftyp`
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P "})
_PICTURE_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"jp2 ", b"jpx ", b"crx "}
)  # still images in the same box format

# MPEG audio layer III, ISO 11172-3 and 13818-3: kbit/s by index, and samples per second.
_MP3_KBITS_V1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBITS_V2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_AAC_RATE_INDEXES: Final = 13  # ISO 14496-3, table 1.18: 13 known sampling frequencies


class Content(NamedTuple):
    """What a file is. container: as of `container`; `None` for files that are not read. words: for people."""

    container: str | None
    words: str


def container(path: Path, *, field: str = "file", formats: Sequence[str] = FORMATS) -> str:
    """Name of the container of `path`: `mp4`, `mov`, `mp3`, `wav`, `m4a` or `aac`.

    formats: what the caller takes, for the text of the error; a container that is not among them is no error here.
    Raises `MediaError` that names `field` for any other content and for a file that cannot be read.
    """
    head, body = _heads(path, field)
    name = _name(head, body)
    if name is not None:
        return name
    foreign, wanted = _foreign(head), f"{', '.join(formats[:-1])} or {formats[-1]}"
    if not head:
        reason = "the content is empty."
    elif foreign is None:
        reason = f"the content is not {'a' if wanted.startswith('j') else 'an'} {wanted} file."
    else:
        reason = f"the file is {foreign}; it must be {wanted}."
    raise MediaError(reason, field=field)


def describe(path: Path, *, field: str = "file") -> Content:
    """What a file is by its first bytes. Raises `MediaError` that names `field` for a file that cannot be read."""
    head, body = _heads(path, field)
    name = _name(head, body)
    if name is None:
        return Content(None, _foreign(head) or ("of an unknown kind" if head else "empty"))
    return Content(name, f"{name} audio" if name in AUDIO_FORMATS else "a video")


def _heads(path: Path, field: str) -> tuple[bytes, bytes]:
    """The first bytes of a file, and its first bytes after an ID3 tag."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
            audio_start = _after_id3(head)
            if audio_start:
                file.seek(audio_start)
            return head, file.read(_HEAD_BYTES) if audio_start else head
    except OSError as error:
        raise _unreadable(error, field) from error


def _foreign(head: bytes) -> str | None:
    """What to call a well-known file that is not read."""
    if _photo_kind(head) or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS):
        return "a picture"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "an AVI video"
    return next((what for start, what in _FOREIGN if head.startswith(start)), None)


def photo(path: Path, *, field: str = "file") -> str | None:
    """Kind of the photo in `path`, `jpeg`, `png` or `webp`; `None` for any other content.

    Raises `MediaError` that names `field` for a file that cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(_PHOTO_HEAD_BYTES)
    except OSError as error:
        raise _unreadable(error, field) from error
    return _photo_kind(head)


def _photo_kind(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def tag_bytes(path: Path) -> int:
    """Size in bytes of the ID3v2 tag at the start of a file. Decoding does not need it."""
    with Path(path).open("rb") as file:
        return _after_id3(file.read(_ID3_HEAD_BYTES))


def _unreadable(error: OSError, field: str) -> MediaError:
    return MediaError(f"the file cannot be read ({error.strerror or error}).", field=field)


def _name(head: bytes, body: bytes) -> str | None:
    kind = head[4:8]
    if kind == b"ftyp":
        return _iso_name(head[8:12])
    if kind in _QUICKTIME_ATOMS:
        return "mov"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    body = body.lstrip(b"\0")
    if _two_frames(body, _mp3_frame_bytes):
        return "mp3"
    if _two_frames(body, _aac_frame_bytes):
        return "aac"
    return None


def _iso_name(brand: bytes) -> str | None:
    if brand in _PICTURE_BRANDS:
        return None
    if brand == b"qt  ":
        return "mov"
    return "m4a" if brand in _AUDIO_BRANDS else "mp4"


def _after_id3(head: bytes) -> int:
    """Offset of the end of an ID3v2 tag (its size field uses 7 bits per byte), 0 where there is none."""
    if head[:3] != b"ID3" or len(head) < _ID3_HEAD_BYTES:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return _ID3_HEAD_BYTES + size


def _two_frames(data: bytes, frame_bytes: Callable[[bytes], int]) -> bool:
    """Whether `data` starts with a frame that is followed by another one or by the end of the data."""
    size = frame_bytes(data)
    if not size:
        return False
    following = data[size:]
    return bool(frame_bytes(following)) or len(data) == size


def _mp3_frame_bytes(header: bytes) -> int:
    """Length in bytes of the layer III frame at the start of `header`, 0 where there is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, padding = header[1] >> 3 & 3, header[2] >> 1 & 1
    kbits, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbits in (0, 15) or rate == 3:
        return 0
    table, frame_samples = (_MP3_KBITS_V1, 1152) if version == 3 else (_MP3_KBITS_V2, 576)
    return frame_samples // 8 * table[kbits] * 1000 // _MP3_RATES[version][rate] + padding


def _aac_frame_bytes(header: bytes) -> int:
    """Length in bytes of the ADTS frame at the start of `header`, 0 where there is none."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    if header[2] >> 2 & 15 >= _AAC_RATE_INDEXES:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0
