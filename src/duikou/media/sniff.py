"""Detects the container of a file by its first bytes. The file name and the declared type are ignored.

FFmpeg guesses formats from content and name, and some of its formats are text that refers to other files (`ffconcat`,
HLS playlists). Those must never reach it, so only files recognised here are opened, each with its demuxer pinned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from duikou.errors import MediaError
from duikou.media import elementary, tags
from duikou.units import MIB

DEMUXERS: Final = {"mp4": "mov", "mov": "mov", "m4a": "mov", "mp3": "mp3", "wav": "wav", "aac": "aac"}
"""FFmpeg's demuxer for each container; `mov` reads the whole ISO base media family."""

VIDEO_FORMATS: Final = ("mp4", "mov")
AUDIO_FORMATS: Final = ("mp3", "wav", "m4a", "aac")
FORMATS: Final = VIDEO_FORMATS + AUDIO_FORMATS

PHOTO_DEMUXERS: Final = {"jpeg": "jpeg_pipe", "png": "png_pipe", "webp": "webp_pipe"}
"""FFmpeg's demuxer for each kind of photo."""

_FOREIGN: Final = (
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "a Flash video"),
    (b".RMF", "a RealMedia video"),
    (b"\0\0\1\xba", "an MPEG program stream video"),
    (b"\0\0\1\xb3", "an MPEG video"),
    (b"\0\0\1\x67", "an H.264 video"),
    (b"\0\0\0\1\x67", "an H.264 video"),
    (b"\0\0\0\1\x40", "an H.265 video"),
    (b"0&\xb2u\x8ef\xcf\x11", "Windows Media audio or video"),
    (b"GIF8", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"8BPS", "a picture"),
    (b"fLaC", "FLAC audio"),
    (b"OggS", "Ogg audio"),
    (b"caff", "CAF audio"),
    (b".snd", "AU audio"),
    (b"#!AMR", "AMR audio"),
    (b"ADIF", "ADIF AAC audio"),
    (b"riff\x2e\x91\xcf\x11", "Wave64 audio"),
    (b"wvpk", "WavPack audio"),
    (b"MAC ", "Monkey's Audio audio"),
    (b"MPCK", "Musepack audio"),
    (b"DSD ", "DSD audio"),
    (b"MThd", "a list of MIDI notes"),
    (b"PK\x03\x04", "a zip archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an office document"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
)
"""How well-known files begin that are not read, and what to call them."""
_EMPTY, _UNKNOWN = "empty", "of an unknown kind"
_WORDED: Final = (
    (re.compile(rb"ffconcat|#ext(m3u|inf|-x-)|\[playlist\]|<(smil|mpd|asx|playlist)\b"), "a playlist"),
    (re.compile(rb"<(!doctype|html|script|svg|body|iframe)\b"), "a web page"),
    (re.compile(rb"<\?xml"), "a text file"),
    (re.compile(rb"pk\x03\x04"), "a zip archive"),
    (re.compile(rb"%pdf-"), "a PDF document"),
)
"""What must not stand in front of sound, in small letters and without zero bytes, and what to call the file."""
_TEXT: Final = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?=[\t\n\r\x20-\x7e]{16})[\x21-\x7e]+[\s:=<>/\"|;({]")
"""How a text begins. Encoders fill frames with letters of their name, which no blank or punctuation divides."""
_UNREAD: Final = {
    "latm": "LATM AAC audio",
    "free": "MPEG audio of free format, which states no bit rate",
}
"""What to call sound whose frames are known and not read."""
_ELEMENTARY: Final = {"mp3": "mp3", "mp2": "mp3", "mp1": "mp3", "aac": "aac"}
"""The container of each kind of elementary sound: FFmpeg's demuxer for mp3 reads all three layers."""
_PHOTO_HEAD_BYTES: Final = 12
_HEAD_BYTES: Final = 64 * 1024  # holds any ISO brand, any RIFF header and the first frames of an elementary stream
SEARCHED_BYTES: Final = MIB
"""How far behind the tags the first frame of elementary sound may be: behind the rest of a picture, at most."""
_QUICKTIME_ATOMS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})  # files from before `ftyp`
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P "})
_PICTURE_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"jp2 ", b"jpx ", b"crx "}
)  # still images in the same box format
_WAVES: Final = frozenset({b"RIFF", b"RIFX", b"RF64", b"BW64"})  # little-endian, big-endian, two for more than 4 GiB


_SOUND_FORMS: Final = frozenset({b"WAVE", b"RMP3"})  # of RIFF; RMP3 is a header of 20 bytes before an mp3
_SKIPPED: Final = (0, 2, 3)  # zeros with which a kind of file may begin, so that they look like padding behind a tag
_TRANSPORT: Final = ((0, 188), (4, 192))  # offset and distance of the packets' first byte, the letter G


class Content(NamedTuple):
    """What a file is. container: as of `container`; `None` for files that are not read. words: for people.

    start: offset in bytes at which its demuxer is to start, behind tags and whatever else stands before sound.
    """

    container: str | None
    words: str
    start: int = 0


def container(path: Path, *, field: str = "file", formats: Sequence[str] = FORMATS) -> str:
    """Name of the container of `path`. See `recognised`."""
    name = recognised(path, field=field, formats=formats).container
    assert name is not None
    return name


def recognised(path: Path, *, field: str = "file", formats: Sequence[str] = FORMATS) -> Content:
    """What a file is whose container is known: `mp4`, `mov`, `mp3`, `wav`, `m4a` or `aac`.

    formats: what the caller takes, for the text of the error; a container that is not among them is no error here.
    Raises `MediaError` that names `field` for any other content and for a file that cannot be read.
    """
    content = describe(path, field=field)
    if content.container is not None:
        return content
    wanted = f"{', '.join(formats[:-1])} or {formats[-1]}"
    if content.words == _EMPTY:
        reason = "the content is empty."
    elif content.words == _UNKNOWN:
        large = "mp3" in formats and Path(path).stat().st_size > SEARCHED_BYTES
        searched = f": no sound begins in its first {SEARCHED_BYTES // MIB} MiB" if large else ""
        reason = f"the content is not {'a' if wanted.startswith('j') else 'an'} {wanted} file{searched}."
    else:
        reason = f"the file is {content.words}; it must be {wanted}."
    raise MediaError(reason, field=field)


def describe(path: Path, *, field: str = "file") -> Content:
    """What a file is by its first bytes. Raises `MediaError` that names `field` for a file that cannot be read.

    Tags before the content are skipped, and before sound without a container also up to `SEARCHED_BYTES` of anything
    that does not look like another kind of file.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return _iso(head) or _behind_tags(file, head)
    except OSError as error:
        raise _unreadable(error, field) from error


def _iso(head: bytes) -> Content | None:
    """What an mp4 or a file of its family is; `None` for any other file."""
    kind, brand = head[4:8], head[8:12]
    if kind == b"ftyp" and brand not in _PICTURE_BRANDS:
        name = "mov" if brand == b"qt  " else "m4a" if brand in _AUDIO_BRANDS else "mp4"
    elif kind in _QUICKTIME_ATOMS:
        name = "mov"
    else:
        return None
    return _content(name)


def _content(name: str, start: int = 0) -> Content:
    return Content(name, f"{name} audio" if name in AUDIO_FORMATS else "a video", start)


def _behind_tags(file: BinaryIO, head: bytes) -> Content:
    """What a file is that may begin with tags. head: its first bytes."""
    start = tags.content_start(file)
    file.seek(start)
    body = file.read(_HEAD_BYTES)
    if body[:4] in _WAVES and body[8:12] == b"WAVE":
        return _content("wav", start)
    foreign = _foreign(head) or next(filter(None, (_foreign(bytes(zeros) + body) for zeros in _SKIPPED)), None)
    if foreign is not None:
        return Content(None, foreign)
    kind = elementary.begins(body, 2) or elementary.whole(body)
    found = elementary.Found(kind, 0) if kind else None
    if found is None:
        if elementary.is_free_format(body):
            return Content(None, _UNREAD["free"])
        body += file.read(SEARCHED_BYTES + elementary.REACH - len(body))
        found = elementary.find(body, SEARCHED_BYTES)
    if found is None:
        return Content(None, _worded(body) or (_UNKNOWN if head else _EMPTY))
    before = _worded(body[: found.at])
    if before is not None:
        return Content(None, f"{before} with sound behind it")
    if found.kind in _UNREAD:
        return Content(None, _UNREAD[found.kind])
    return _content(_ELEMENTARY[found.kind], start + found.at)


def _foreign(head: bytes) -> str | None:
    """What to call a well-known file that is not read."""
    if _photo_kind(head) or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS):
        return "a picture"
    if _iso(head) is not None:
        return "an mp4 or mov behind a tag that it must not have"
    if head[:4] in _WAVES and head[8:12] not in _SOUND_FORMS:
        return "an AVI video" if head[8:12] == b"AVI " else "a RIFF file, but no wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF audio"
    if any(head[at::size].startswith(b"GGG") for at, size in _TRANSPORT):
        return "an MPEG transport stream video"
    return next((what for start, what in _FOREIGN if head.startswith(start)), None)


def _worded(content: bytes) -> str | None:
    """What to call bytes that begin as a text, or hold the words of another kind of file, also in UTF-16."""
    plain = content.replace(b"\0", b"").lower()
    named = next((what for words, what in _WORDED if words.search(plain)), None)
    return named or ("a text file" if _TEXT.match(content) else None)


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


def _unreadable(error: OSError, field: str) -> MediaError:
    return MediaError(f"the file cannot be read ({error.strerror or error}).", field=field)
