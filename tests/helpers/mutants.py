"""Damaged copies of small good files. A seed's name and a number make the same damage again, whenever and wherever.

`bytes_of("mp4", 17)` is the mutant itself; `try_all` is what a worker does with many of them.
"""

from __future__ import annotations

import gc
import os
import resource
import struct
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import av
from boxes import PARENTS, box, walk
from media_maker import make_sound, make_video, tone

from duikou.errors import InputError
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.media.video import probe_video
from duikou.progress import Progress
from duikou.tasks.models import VIDEO_SUFFIXES
from duikou.workers.work import probe_upload

SIZE = (64, 48)  # so small that a mutant takes milliseconds
HEVC_SIZE = (128, 128)  # libx265 writes past its memory for pictures smaller than its blocks of 64
FRAMES = 25
DECODED = 100  # frames looked at of a mutant that claims to have many
PICTURES = 3  # of them as pixels
COUNTS = (1, 1, 1, 1, 2, 2, 3, 6)  # how many damages a mutant has: most have one, so that it is damage that counts
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 255, 256, 1_000, 32_767, 32_768, 65_535, 100_000, 1 << 24, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 2, (1 << 32) - 1, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
KINDS = (b"moov", b"trak", b"mdat", b"stsd", b"stts", b"ctts", b"stss", b"stsz", b"stz2", b"stsc", b"stco", b"co64",
         b"elst", b"mdhd", b"tkhd", b"dref", b"avc1", b"mp4a", b"esds", b"avcC", b"wave", b"cmov", b"moof", b"trun",
         b"keys", b"ilst", b"meta", b"sidx", b"pssh", b"sgpd", b"chpl", b"covr", b"udta", b"free")  # fmt: skip
COUNTED = frozenset({"stts", "ctts", "stss", "stsz", "stsc", "stco", "elst", "stsd", "dref"})

Mutator = Callable[[bytearray, Random], bytearray]


def _fragmented(path: Path) -> Path:
    make_video(path, size=SIZE, frames=FRAMES, options={"g": "8"}, sound=tone(300, 1_000))
    output = path.with_name("fragmented.mp4")
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(path)) as old, av.open(str(output), "w", format="mp4", container_options=options) as new:
        pairs = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = pairs[packet.stream.index]
                new.mux(packet)
    return output


SEEDS: dict[str, Callable[[Path], Path]] = {
    "mp4": lambda folder: make_video(
        folder / "a.mp4", size=SIZE, frames=FRAMES, options={"g": "10", "bf": "2"}, sound=tone(300, 1_000)
    ),
    "mov": lambda folder: make_video(
        folder / "a.mov", size=SIZE, frames=FRAMES, codec="mpeg4", sound=tone(300, 1_000), sound_codec="pcm_s16le"
    ),
    "hevc": lambda folder: make_video(folder / "a.mp4", size=HEVC_SIZE, frames=8, codec="libx265", rotation=90),
    "parts": lambda folder: _fragmented(folder / "a.mp4"),
    "vp9": lambda folder: make_video(
        folder / "a.mp4", size=SIZE, frames=8, codec="libvpx-vp9", pts=[90 * n * n for n in range(8)],
        time_base=Fraction(1, 9_000),
    ),
    "mjpeg": lambda folder: make_video(
        folder / "a.mov", size=SIZE, frames=4, codec="mjpeg", pixel_format="yuvj420p", faststart=True
    ),
    "mp3": lambda folder: make_sound(folder / "a.mp3", tone(300, 1_000, 44_100, 2), 44_100),
    "wav": lambda folder: make_sound(folder / "a.wav", tone(300, 500)),
    "adpcm": lambda folder: make_sound(folder / "a.wav", tone(300, 500, 8_000), 8_000, codec="adpcm_ima_wav"),
    "m4a": lambda folder: make_sound(folder / "a.m4a", tone(300, 1_000)),
    "alac": lambda folder: make_sound(folder / "a.m4a", tone(300, 300), codec="alac"),
    "aac": lambda folder: make_sound(folder / "a.aac", tone(300, 1_000)),
}  # fmt: skip


@cache
def seed(name: str) -> bytes:
    """The good file of that name."""
    with TemporaryDirectory() as folder:
        return SEEDS[name](Path(folder)).read_bytes()


def bytes_of(name: str, number: int) -> bytes:
    """The mutant of a seed with that number."""
    random = Random(f"{name}:{number}")
    data = bytearray(seed(name))
    mutators = PLAIN + STRUCTURED[_family(name)] * 2
    for _ in range(random.choice(COUNTS)):
        data = random.choice(mutators)(data, random)
    return bytes(data)


def _family(name: str) -> str:
    head = seed(name)[:8]
    if head[4:] in (b"ftyp", b"wide", b"moov"):
        return "iso"
    return "riff" if head[:4] == b"RIFF" else "frames"


def _span(data: bytearray, random: Random, most: int = 512) -> tuple[int, int]:
    """Start and end of a few bytes, more often a small number of them."""
    start = random.randrange(max(len(data), 1))
    return start, min(start + 1 + int(most ** random.random()), len(data))


def _flip(data: bytearray, random: Random) -> bytearray:
    for _ in range(random.choice((1, 1, 4, 30))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return data


def _run(data: bytearray, random: Random) -> bytearray:
    start, end = _span(data, random)
    data[start:end] = bytes([random.choice((0, 255, random.randrange(256)))]) * (end - start)
    return data


def _noise(data: bytearray, random: Random) -> bytearray:
    start, end = _span(data, random)
    data[start:end] = random.randbytes(end - start)
    return data


def _delete(data: bytearray, random: Random) -> bytearray:
    start, end = _span(data, random)
    del data[start:end]
    return data


def _double(data: bytearray, random: Random) -> bytearray:
    start, end = _span(data, random)
    data[start:start] = data[start:end] * random.choice((1, 1, 50))
    return data


def _swap(data: bytearray, random: Random) -> bytearray:
    (start, end), (other, _) = _span(data, random), _span(data, random)
    data[start:end], data[other : other + end - start] = data[other : other + end - start], data[start:end]
    return data


def _cut(data: bytearray, random: Random) -> bytearray:
    del data[random.randrange(max(len(data), 1)) :]
    return data


def _splice(data: bytearray, random: Random) -> bytearray:
    other = seed(random.choice(sorted(SEEDS)))
    return data[: random.randrange(max(len(data), 1))] + other[random.randrange(len(other)) :]


def _number(data: bytearray, random: Random, at: int, width: int, order: str) -> None:
    """Put a number that borders on something into a field of that many bytes."""
    if 0 <= at <= len(data) - width:
        value = random.choice(NUMBERS) & (1 << 8 * width) - 1
        code = {2: "H", 4: "I", 8: "Q"}[width]
        struct.pack_into(order + code, data, at, value)


def _box_size(data: bytearray, random: Random) -> bytearray:
    if boxes := list(walk(data)):
        _number(data, random, random.choice(boxes).start, 4, ">")
    return data


def _box_field(data: bytearray, random: Random) -> bytearray:
    leaves = [one for one in walk(data) if one.path[-4:].encode("latin-1") not in PARENTS | {b"mdat", b"free"}]
    if leaves:
        one = random.choice(leaves)
        width = random.choice((2, 4, 4, 4, 8))
        _number(data, random, random.randrange(one.body, max(one.end, one.body + 1), 2), width, ">")
    return data


def _box_count(data: bytearray, random: Random) -> bytearray:
    if tables := [one for one in walk(data) if one.path[-4:] in COUNTED]:
        _number(data, random, random.choice(tables).body + random.choice((4, 4, 8, 12, 16)), 4, ">")
    return data


def _box_kind(data: bytearray, random: Random) -> bytearray:
    if boxes := list(walk(data)):
        one = random.choice(boxes)
        data[one.start + 4 : one.start + 8] = random.choice(KINDS)
    return data


def _box_move(data: bytearray, random: Random) -> bytearray:
    """A box, whole, once more or away or behind another one; the sizes of its parents stay what they were or not."""
    boxes = list(walk(data))
    if len(boxes) < 2:
        return data
    one, place = random.choice(boxes), random.choice(boxes)
    piece = (
        data[one.start : one.end] if random.random() < 0.7 else box(random.choice(KINDS).decode(), random.randbytes(40))
    )
    if random.random() < 0.5 and one.end - one.start < 2_000:
        del data[one.start : one.end]
    else:
        data[place.end : place.end] = piece
    moov = next((outer for outer in boxes if outer.path == "moov"), None)
    if moov is not None and random.random() < 0.7:
        _resize(data, moov.start, len(data))
    return data


def _resize(data: bytearray, start: int, end: int) -> None:
    if start + 4 <= len(data) and end > start:
        struct.pack_into(">I", data, start, end - start)


def _riff_field(data: bytearray, random: Random) -> bytearray:
    _number(data, random, random.choice((4, 16, 20, 22, 24, 28, 32, 34, 36, 38, 40)), random.choice((2, 4)), "<")
    return data


def _riff_chunk(data: bytearray, random: Random) -> bytearray:
    kind = random.choice((b"LIST", b"id3 ", b"fact", b"fmt ", b"data", b"ds64", b"bext", b"SMV0", b"cue "))
    size = random.choice((*NUMBERS[:-4], 40))
    data[12:12] = kind + struct.pack("<I", size & 0xFFFFFFFF) + random.randbytes(40)
    return data


def _frame_header(data: bytearray, random: Random) -> bytearray:
    """Another rate, layout, length or layer in the header of one frame, or of all from there on."""
    at = random.randrange(max(len(data), 1))
    mask, place = 1 << random.randrange(8), random.choice((1, 2, 3, 3, 4, 5))
    for _ in range(random.choice((1, 1, 1_000))):
        at = next((found for found in (data.find(b"\xff\xfb", at), data.find(b"\xff\xf1", at)) if found >= 0), -1)
        if not 0 <= at < len(data) - place:
            break
        data[at + place] ^= mask
        at += 7
    return data


def _id3(data: bytearray, random: Random) -> bytearray:
    kind = random.choice((b"APIC", b"TXXX", b"CHAP", b"GEOB", b"PRIV", b"TIT2"))
    size = random.choice((4, 20, 100, 1 << 20, (1 << 28) - 1))
    flags = bytes([0, random.choice((0, 0, 0x0F, 0xFF))])
    frame = kind + struct.pack(">I", size) + flags + random.randbytes(20) * random.choice((1, 5))
    whole = len(frame) if random.random() < 0.7 else random.randrange(1 << 28)
    lengths = bytes([whole >> 21 & 127, whole >> 14 & 127, whole >> 7 & 127, whole & 127])
    tag = b"ID3" + bytes([random.choice((2, 3, 4)), 0, random.choice((0, 0x80, 0x40))]) + lengths + frame
    at = random.choice((0, 0, random.randrange(max(len(data), 1))))
    data[at:at] = tag
    return data


PLAIN: list[Mutator] = [_flip, _run, _noise, _delete, _double, _swap, _cut, _splice]
STRUCTURED: dict[str, list[Mutator]] = {
    "iso": [_box_size, _box_field, _box_field, _box_field, _box_count, _box_count, _box_kind, _box_move],
    "riff": [_riff_field, _riff_field, _riff_field, _riff_chunk],
    "frames": [_frame_header, _frame_header, _id3],
}


@dataclass(frozen=True)
class Outcome:
    """What came of one mutant, named "seed:number".

    accepted: whether the probe took it for a media file. bug: a traceback where anything but a clear sentence came out.
    seconds: how long it took. peak_mb: the most memory the process had so far. open_files: what it has open now.
    """

    mutant: str
    accepted: bool
    bug: str
    seconds: float
    peak_mb: int
    open_files: int


def try_all(batch: Sequence[tuple[str, int]], folder: Path, progress: Progress) -> list[Outcome]:
    """Read each mutant as an upload and a piece of work would. Tells the place in the batch of the one in hand."""
    gc.freeze()  # what was imported need not be looked through after every mutant
    outcomes = []
    for place, (name, number) in enumerate(batch):
        progress(str(place), 0.0)
        outcomes.append(attempt(name, number, folder, progress))
    return outcomes


def attempt(name: str, number: int, folder: Path, progress: Progress) -> Outcome:
    """Read one mutant."""
    path = folder / f"{name}-{number}-{os.getpid()}"
    path.write_bytes(bytes_of(name, number))
    began = time.monotonic()
    accepted, bug = False, ""
    try:
        accepted = read(path, progress)
    except Exception:
        bug = traceback.format_exc()
    seconds = time.monotonic() - began
    path.unlink()
    gc.collect()  # PyAV keeps a file that was opened until cycles are next collected
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Outcome(f"{name}:{number}", accepted, bug, seconds, peak_mb, len(list(Path("/proc/self/fd").iterdir())))


def read(path: Path, progress: Progress) -> bool:
    """Whether a file is accepted as an upload; if so all is read of it that work would read."""
    try:
        received = probe_upload(path, "file", progress)
        is_video = received.suffix in VIDEO_SUFFIXES
        has_sound = not is_video or probe_video(path).audio is not None
    except InputError as error:
        _assert_clear(error)
        return False
    for part in (_see if is_video else None, read_audio if has_sound else None):
        try:
            if part is not None:
                part(path)
        except InputError as error:
            _assert_clear(error)
    return True


def peak_mb(path: Path, progress: Progress) -> int:
    """The most memory that the process ever had, in MB, after reading a file of any kind."""
    read(path, progress)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _see(path: Path) -> None:
    """Look at the first frames of a video, and at the last ones as they are played backwards."""
    times = decode.times(path)
    for frame in islice(decode.frames(path), DECODED):
        assert frame.time_ms == times[frame.index]
        if frame.index < PICTURES:
            assert frame.image.shape[2] == 3
    start = max(len(times) - PICTURES, 0)
    last = [frame.index for frame in decode.backwards(path, start=start, stop=len(times))]
    assert last == list(range(len(times) - 1, start - 1, -1))


def _assert_clear(error: InputError) -> None:
    """One sentence that names the field."""
    text = str(error)
    assert error.field, text
    assert text.startswith(f"{error.field}: "), text
    assert text.endswith("."), text
    assert "\n" not in text, text
