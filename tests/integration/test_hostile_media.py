"""Files made to hurt: each is one clear sentence or sane values, soon and in little memory."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import boxes
import mutants
import numpy as np
import pytest
from boxes import box, content, patched, replaced
from media_maker import make_sound, make_video, tone
from tagged import id3

from duikou.errors import MediaError
from duikou.media import decode, iso, limits, probe
from duikou.media.audio import read_audio
from duikou.media.video import probe_video
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import Limits

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # no file may take longer, on the busiest machine

NO_VIDEO = "the content is not an mp4 or mov file."
NO_AUDIO = "the content is not an mp3, wav, m4a or aac file."
DAMAGED = "the file is damaged and cannot be read (Invalid data found when processing input)."


def as_video(path: Path) -> str:
    """All that is read of a video, as its values in short or as the sentence that refuses it."""
    try:
        info = probe_video(path)
        found = list(islice(decode.frames(path), 1_000))
        said = f"{info.codec} {info.width} x {info.height}, {len(found)} of {info.frames} frames, {info.duration_ms} ms"
        assert found[0].image.shape == (info.height, info.width, 3)
        return said if info.audio is None else f"{said}; {as_sound(path, info.audio)}"
    except MediaError as error:
        return sentence(error)


def as_sound(path: Path, info: probe.AudioInfo | None = None) -> str:
    """The same of a sound."""
    try:
        info = info or probe.probe_audio(path, field="video")
        sound = read_audio(path, field="video")
        return (
            f"{info.codec} {info.sample_rate} Hz {info.channels} ch {info.duration_ms} ms, read {sound.duration_ms} ms"
        )
    except MediaError as error:
        return sentence(error)


def sentence(error: MediaError) -> str:
    assert error.field == "video"
    text = str(error)
    assert text.startswith("video: ")
    return text.removeprefix("video: ")


def field(kind: str, offset: int, value: int, width: int = 4, number: int = 0, of: str = "mp4") -> Callable[[], bytes]:
    return lambda: patched(mutants.seed(of), kind, offset, value.to_bytes(width, "big"), number)


def streams(count: int) -> bytes:
    data = mutants.seed("mp4")
    moov = content(data, "moov")
    trak = boxes.find(data, "trak", 1)
    return replaced(data, "moov", moov + data[trak.start : trak.end] * (count - 2))


class Bits:
    """Exponential Golomb codes, as H.264 writes its headers (ITU-T H.264, 9.1)."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, width: int) -> Bits:
        self.text += f"{value:0{width}b}"
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            self.text += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def bytes(self) -> bytes:
        text = self.text + "1"
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def sps(width: int, height: int) -> bytes:
    """A sequence parameter set of the baseline profile for pictures of that size."""
    bits = Bits().ue(0, 0, 2, 1).put(0, 1).ue(width // 16 - 1, height // 16 - 1).put(0b1100, 4)
    raw = bytes([0x67, 66, 0, 62]) + bits.bytes()
    return raw.replace(b"\0\0\0", b"\0\0\3\0")


def avcc(width: int, height: int) -> bytes:
    """The decoder's configuration in an mp4: that set, and a picture parameter set."""
    one, pps = sps(width, height), b"\x68\xce\x3c\x80"
    return (
        bytes([1, 66, 0, 62, 0xFF, 0xE1])
        + struct.pack(">H", len(one))
        + one
        + b"\1"
        + struct.pack(">H", len(pps))
        + pps
    )


def with_avcc(new: bytes) -> bytes:
    """The mp4 with another decoder configuration; `stsd` is no plain parent, so it is rebuilt."""
    data = mutants.seed("mp4")
    stsd = content(data, "stsd")
    at = stsd.index(b"avcC") - 4
    old = struct.unpack_from(">I", stsd, at)[0]
    entry = bytearray(stsd[:at] + box("avcC", new) + stsd[at + old :])
    struct.pack_into(">I", entry, 8, len(entry) - 8)
    return replaced(data, "stsd", bytes(entry))


def samples(count: int, track: int) -> bytes:
    """An index of a few bytes that stands for `count` samples of one byte each."""
    data = replaced(mutants.seed("mp4"), "stsz", struct.pack(">3I", 0, 1, count), track)
    data = replaced(data, "stsc", struct.pack(">5I", 0, 1, 1, count, 1), track)
    return replaced(data, "stts", struct.pack(">4I", 0, 1, count, 512), track)


def edits(*entries: tuple[int, int], track: int = 0) -> bytes:
    """The mp4 with edits of that duration (1/12,800 s) and media time."""
    table = b"".join(struct.pack(">qqI", *entry, 1 << 16) for entry in entries)
    return replaced(mutants.seed("mp4"), "elst", struct.pack(">II", 1 << 24, len(entries)) + table, track)


def shifts(*offsets: int) -> bytes:
    """The mp4 with frames that show so much later than they are decoded, each offset in turn."""
    table = b"".join(struct.pack(">Ii", 1, offsets[number % len(offsets)]) for number in range(mutants.FRAMES))
    return replaced(mutants.seed("mp4"), "ctts", struct.pack(">II", 1 << 24, mutants.FRAMES) + table)


def begins(at: int) -> bytes:
    """The fragmented mp4 whose first fragment starts at that time stamp."""
    return patched(mutants.seed("parts"), "tfdt", 4, struct.pack(">Q", at))


def named(count: int) -> bytes:
    """The mp4 with that many names of metadata, each with a value."""
    names = b"".join(box("mdta", b"%08d" % number) for number in range(count))
    values = b"".join(struct.pack(">3I4s2I", 24, one + 1, 16, b"data", 1, 0) for one in range(count))
    handler = box("hdlr", bytes(8) + b"mdta" + bytes(13))
    meta = box("meta", handler + box("keys", struct.pack(">2I", 0, count) + names) + box("ilst", values))
    return replaced(mutants.seed("mp4"), "moov", content(mutants.seed("mp4"), "moov") + meta)


def outside(kind: str, name: bytes) -> bytes:
    """The mp4 whose picture lies in another file, as its index says."""
    if kind == "url ":
        entry = box(kind, bytes(4) + name + b"\0")
    else:  # a Macintosh alias: volume, folder and file name, then the whole path
        alias = bytearray(150)
        alias[10:12], alias[50], alias[51 : 51 + len(name)] = b"\1\1", len(name), name
        tail = struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + b"\xff\xff\0\0"
        entry = box(kind, bytes(4) + bytes(alias) + tail)
    return replaced(mutants.seed("mp4"), "dref", struct.pack(">II", 0, 1) + entry)


def relabelled(handler: bytes, kind: bytes) -> bytes:
    """The mp4 whose sound is now called something else: subtitles, time code, data."""
    return patched(patched(mutants.seed("mp4"), "hdlr", 8, handler, 1), "stsd", 12, kind, 1)


def as_picture() -> bytes:
    """The mp4 whose sound has the index of its picture, and says only then that it is sound: it has no sample rate."""
    data = mutants.seed("mp4")
    parts = [boxes.find(data, kind, number) for kind, number in (("mdhd", 1), ("stbl", 0), ("hdlr", 1))]
    return replaced(data, "mdia", b"".join(data[part.start : part.end] for part in parts), 1)


@cache
def coded(codec: str, pixel_format: str) -> bytes:
    """A good mov of another codec."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.mov"
        return make_video(path, size=(64, 64), frames=3, codec=codec, pixel_format=pixel_format).read_bytes()


def wav(offset: int, value: int, width: int = 4) -> Callable[[], bytes]:
    """The wav with another number at that place of its header."""
    return lambda: changed(mutants.seed("wav"), offset, value.to_bytes(width, "little"))


def changed(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def pcm(rate: int, channels: int, frames: int = 480) -> bytes:
    """A good wav of silence."""
    step = 2 * channels
    header = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, channels, rate, rate * step, step, 16, b"data", frames * step)
    return b"RIFF" + struct.pack("<I", 36 + frames * step) + b"WAVE" + header + bytes(frames * step)


@cache
def sound(suffix: str, rate: int, channels: int) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{suffix}"
        return make_sound(path, tone(300, 500, rate, channels), rate).read_bytes()


@cache
def indexed_first() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        return make_video(path, size=mutants.SIZE, sound=tone(300, 1_000), faststart=True).read_bytes()


def without_tag(data: bytes) -> bytes:
    return data[data.index(b"\xff\xfb") :]


def png(side: int) -> bytes:
    """A black picture of a thousandth of the bytes that it unpacks to."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = zlib.compress(bytes((side + 1) * side), 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def minimal_frames(size: int) -> bytes:
    """Silence in the shortest frames that the encoder makes: hours of it in that many bytes."""
    data, frames = sound_of_nothing(), []
    while data:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frames.append(data[:length])
        data = data[length:]
    return min(frames, key=len) * (size // len(min(frames, key=len)))


def sound_of_nothing() -> bytes:
    with TemporaryDirectory() as folder:
        return make_sound(Path(folder) / "sound.aac", np.zeros((48_000, 1), np.float32)).read_bytes()


def only_index() -> tuple[bytes, bytes]:
    """The mp4 without its pictures and sound; what its index points to is not there."""
    data = mutants.seed("mp4")
    return data[:32], data[boxes.find(data, "moov").start :]


GOOD = "h264 64 x 48, 25 of 25 frames, 1000 ms"
HEARD = "aac 48000 Hz 1 ch 1000 ms, read 1000 ms"
NO_FRAMES = "the video has no frames."
NONE_DECODED = "none of the frames can be decoded."
MANY = 1 << 31

VIDEOS: dict[str, tuple[Callable[[], bytes], str]] = {
    "64 streams": (lambda: streams(64), f"{GOOD}; {HEARD}"),
    "100 streams": (lambda: streams(100), "the file has 100 streams; at most 64 are accepted."),
    "900 streams": (lambda: streams(900), "the file needs more streams or memory than is allowed."),
    "16,384 pixels a side in its own header": (lambda: with_avcc(avcc(16_384, 16_384)), NONE_DECODED),
    "100,000 frames per second": (
        field("mdhd", 12, 51_200_000),
        "the video has 100000 frames per second; at most 480 are accepted.",
    ),
    "no time scale": (field("mdhd", 12, 0), f"h264 64 x 48, 1 of 1 frames, 1000 ms; {HEARD}"),
    "no time scale of the movie": (field("mvhd", 12, 0), f"{GOOD}; {HEARD}"),
    "negative time scale": (field("mdhd", 12, MANY), f"h264 64 x 48, 1 of 1 frames, 1000 ms; {HEARD}"),
    "longest movie": (field("mvhd", 16, 2 * MANY - 1), f"{GOOD}; {HEARD}"),
    "longest track": (field("tkhd", 20, 2 * MANY - 1), f"{GOOD}; {HEARD}"),
    "longest media": (field("mdhd", 16, 2 * MANY - 1), f"{GOOD}; {HEARD}"),
    "largest track": (field("tkhd", 76, 0xFFFF0000), f"{GOOD}; {HEARD}"),
    "largest picture": (field("stsd", 40, 0xFFFFFFFF), f"{GOOD}; {HEARD}"),
    "frames that last for hours": (field("stts", 12, MANY - 1), f"h264 64 x 48, 1 of 1 frames, 1000 ms; {HEARD}"),
    "frames that last for nothing": (field("stts", 12, 0), f"h264 64 x 48, 2 of 2 frames, 80 ms; {HEARD}"),
    "frames that go backwards": (field("stts", 12, 2 * MANY - 1), f"h264 64 x 48, 11 of 11 frames, 82 ms; {HEARD}"),
    "time stamps that wrap": (
        lambda: replaced(mutants.seed("mp4"), "stts", struct.pack(">II", 0, 25) + struct.pack(">II", 1, MANY - 1) * 25),
        f"h264 64 x 48, 1 of 1 frames, 1000 ms; {HEARD}",
    ),
    "more times than frames": (field("stts", 8, 2 * MANY - 1), f"{GOOD}; {HEARD}"),
    "2,147,483,648 frames": (lambda: samples(MANY, 0), NO_FRAMES),
    "5,000,000 frames": (lambda: samples(5_000_000, 0), NONE_DECODED),
    "2,147,483,648 pieces of sound": (lambda: samples(MANY, 1), GOOD),
    "5,000,000 pieces of sound": (lambda: samples(5_000_000, 1), f"{GOOD}; the file has no audio that can be decoded."),
    "shown before 0": (lambda: shifts(-(1 << 31)), NO_FRAMES),
    "shown far later": (lambda: shifts(MANY - 1), NO_FRAMES),
    "shown far earlier and far later": (lambda: shifts(MANY - 1, -MANY), NO_FRAMES),
    "cut at the end of time": (lambda: edits((12_800, (1 << 63) - 1)), NO_FRAMES),
    "cut before all time": (lambda: edits((12_800, -(1 << 63))), NO_FRAMES),
    "endless cut": (lambda: edits(((1 << 62), 1_024)), f"{GOOD}; {HEARD}"),
    "cut of negative length": (lambda: edits((-1, 1_024)), DAMAGED),
    "cut into 1,000": (lambda: edits(*[(40, 0)] * 1_000), NO_FRAMES),
    "sound after 70 minutes of nothing": (
        lambda: edits((70 * 60 * 12_800, -1), (12_800, 1_024), track=1),
        f"{GOOD}; the audio is longer than 60 minutes.",
    ),
    "sound after 30,000 years of nothing": (
        lambda: edits((10**12 * 12_800, -1), (12_800, 1_024), track=1),
        "the audio extends to 1000000000001 s; at most 86400 s are accepted.",
    ),
    "begins at the end of time": (lambda: begins((1 << 63) - 1), DAMAGED),
    "begins where time wraps": (
        lambda: begins(1 << 63),
        "the video extends to 720575940379280 s; at most 86400 s are accepted.",
    ),
    "begins a tick before 0": (
        lambda: begins((1 << 64) - 1),
        f"{GOOD}; {HEARD}",
    ),
    "4,294,967,295 frames in a fragment": (
        lambda: replaced(mutants.seed("parts"), "trun", struct.pack(">III", 1, 2 * MANY - 1, 100)),
        DAMAGED,
    ),
    "a track of a negative number": (
        lambda: patched(mutants.seed("parts"), "tkhd", 12, struct.pack(">I", 0xFFFF0002), 1),
        "the file has track number 4294901762; at most 2147483647 is accepted.",
    ),
    "100,000 names of metadata": (
        lambda: named(100_000),
        "the file has 100000 metadata keys; at most 1000 are accepted.",
    ),
    "a frame larger than memory": (field("stsz", 12, MANY - 1), NO_FRAMES),
    "no index": (lambda: mutants.seed("mp4")[: boxes.find(mutants.seed("mp4"), "moov").start], DAMAGED),
    "nothing but an index": (lambda: b"".join(only_index()), NONE_DECODED),
    "picture in another file by address": (lambda: outside("url ", b"file:canary.mp4"), f"{GOOD}; {HEARD}"),
    "picture in another file by alias": (lambda: outside("alis", b"canary.mp4"), NO_FRAMES),
    "sound relabelled as subtitles": (lambda: relabelled(b"sbtl", b"tx3g"), GOOD),
    "sound relabelled as time code": (lambda: relabelled(b"tmcd", b"tmcd"), GOOD),
    "sound that is a picture": (as_picture, "the audio codec h264 is not supported."),
    "sound relabelled as data": (lambda: relabelled(b"meta", b"mett"), GOOD),
    "pictures of a codec that nobody sends": (
        lambda: coded("qtrle", "rgb24"),
        "the video codec qtrle is not supported.",
    ),
    "stills as video": (lambda: coded("png", "rgb24"), "the video codec png is not supported."),
    "mp3 as video": (lambda: mutants.seed("mp3"), "the file is mp3; a video must be mp4 or mov."),
    "wav as video": (lambda: mutants.seed("wav"), "the file is wav; a video must be mp4 or mov."),
    "m4a as video": (lambda: mutants.seed("m4a"), "the file is m4a; a video must be mp4 or mov."),
    "sound branded as video": (lambda: changed(mutants.seed("m4a"), 8, b"isom"), "the file has no video track."),
}
SOUNDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "video as sound": (lambda: mutants.seed("mp4"), "the file is a video; audio must be mp3, wav, m4a or aac."),
    "no channels": (wav(22, 0, 2), "the audio declares no sample rate or no channels."),
    "32 channels without places": (lambda: pcm(48_000, 32), "audio of 32 channels cannot be mixed to stereo."),
    "24 channels": (lambda: pcm(48_000, 24), "pcm_s16le 48000 Hz 24 ch 10 ms, read 10 ms"),
    "33 channels": (wav(22, 33, 2), "the audio has 33 channels; at most 32 are accepted."),
    "65,535 channels": (wav(22, 65_535, 2), "the audio declares no sample rate or no channels."),
    "rate 0": (wav(24, 0), DAMAGED),
    "rate 999": (wav(24, 999), "the audio has 999 samples per second; 1000 to 384000 are accepted."),
    "rate 384,001": (wav(24, 384_001), "the audio has 384001 samples per second; 1000 to 384000 are accepted."),
    "rate 384,000": (lambda: pcm(384_000, 1, 3_840), "pcm_s16le 384000 Hz 1 ch 10 ms, read 10 ms"),
    "rate 2,147,483,648": (wav(24, MANY), DAMAGED),
    "block of 0": (wav(32, 0, 2), "pcm_s16le 48000 Hz 1 ch 500 ms, read 500 ms"),
    "block of 65,535": (wav(32, 65_535, 2), "pcm_s16le 48000 Hz 1 ch 500 ms, read 500 ms"),
    "samples of 0 bits": (wav(34, 0, 2), "the wav file has no audio that can be read."),
    "a codec that nobody sends": (wav(20, 0x270, 2), "the audio codec atrac3 is not supported."),
    "mp3 of another rate midway": (
        lambda: sound("mp3", 44_100, 2) + sound("mp3", 48_000, 2),
        "the sample rate of the audio changes from 48000 to 44100.",
    ),
    "mp3 of another layout midway": (
        lambda: sound("mp3", 44_100, 2) + sound("mp3", 44_100, 1),
        "mp3 44100 Hz 1 ch 1098 ms, read 1098 ms",
    ),
    "aac of another rate midway": (
        lambda: sound("aac", 48_000, 1) + sound("aac", 44_100, 1),
        "the sample rate of the audio changes from 48000 to 44100.",
    ),
    "aac of another layout midway": (
        lambda: sound("aac", 48_000, 1) + sound("aac", 48_000, 2),
        "aac 48000 Hz 1 ch 1067 ms, read 1067 ms",
    ),
    "cover of 64 million pixels": (
        lambda: id3((b"APIC", b"\0image/png\0\3\0" + png(8_000))) + without_tag(mutants.seed("mp3")),
        "mp3 44100 Hz 2 ch 1000 ms, read 1000 ms",
    ),
    "100,000 names and values": (
        lambda: id3(*[(b"TXXX", b"\0%07d\0x" % n) for n in range(100_000)]) + without_tag(mutants.seed("mp3")),
        "mp3 44100 Hz 2 ch 1000 ms, read 1000 ms",
    ),
    "tag longer than the file": (
        lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + without_tag(mutants.seed("mp3")),
        "mp3 44100 Hz 2 ch 1000 ms, read 1000 ms",
    ),
}
TEXTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{canary}'\n",
    "concat without its header": "file '{canary}'\nduration 3\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{canary}\n#EXT-X-ENDLIST\n",
    "HLS after a byte order mark": "\ufeff#EXTM3U\n#EXTINF:5,\n{canary}\n",
    "DASH": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{canary}</BaseURL></MPD>',
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "SMIL": '<smil><body><video src="{canary}"/></body></smil>',
    "Smooth Streaming": "<SmoothStreamingMedia MajorVersion='2'><StreamIndex Url='{canary}'/></SmoothStreamingMedia>",
    "SubRip": "1\n00:00:00,000 --> 00:00:05,000\n{canary}\n",
    "WebVTT": "WEBVTT\n\n00:00.000 --> 00:05.000\n{canary}\n",
    "ASS": "[Script Info]\nVideo File: {canary}\n",
    "cue sheet": 'FILE "{canary}" MP3\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "file list": "[playlist]\nFile1={canary}\nNumberOfEntries=1\n",
    "FFmpeg metadata": ";FFMETADATA1\ntitle={canary}\n",
    "filter graph": "movie={canary}[out]",
    "AviSynth": 'FFVideoSource("{canary}")\n',
    "address": "file://{canary}\n",
    "RTSP text": "RTSPtext\nrtsp://127.0.0.1/x\n",
    "alternative protocol": "concat:{canary}|{canary}",
    "SVG": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{canary}"/></svg>',
}
OTHERS = [
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"RIFF\xff\0\0\0AVI LIST",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"OggS\0\2",
    b"FLV\1\5\0\0\0\t",
    b"GIF89a",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0\0\x10JFIF",
    b"PK\3\4",
    b"\x7fELF\2\1\1",
    b"fLaC",
    b"\0\0\1\xba",  # MPEG program stream
    b"G@\0\x10",  # MPEG transport stream
    b"\0\0\0\1\x67",  # H.264 without a container
    b"FORM\0\0\0\x20AIFF",
    b".snd",
    b"caff\0\1",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # Windows Media
    b"%PDF-1.7",
    b"\x1f\x8b\x08",
]


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_made_to_hurt(tmp_path: Path, name: str) -> None:
    make, said = VIDEOS[name]
    make_video(tmp_path / "canary.mp4", size=(96, 80), frames=3)
    path = tmp_path / "video.mp4"
    path.write_bytes(make())
    assert as_video(path) == said


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_made_to_hurt(tmp_path: Path, name: str) -> None:
    make, said = SOUNDS[name]
    path = tmp_path / "sound.mp3"
    path.write_bytes(make())
    assert as_sound(path) == said


@pytest.mark.parametrize("suffix", ["mp4", "mp3", "m4a"])
@pytest.mark.parametrize("text", TEXTS)
def test_no_text_names_another_file(tmp_path: Path, text: str, suffix: str) -> None:
    make_video(tmp_path / "canary.mp4", frames=3)
    path = tmp_path / f"upload.{suffix}"
    path.write_text(TEXTS[text].format(canary=tmp_path / "canary.mp4"))
    assert_not_taken(path)


@pytest.mark.parametrize("magic", OTHERS)
def test_other_kinds_of_file_are_not_opened(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "upload.mp4"
    path.write_bytes(magic + bytes(range(256)) * 40)
    assert_not_taken(path)


def assert_not_taken(path: Path) -> None:
    for told, no, formats in (
        (as_video(path), NO_VIDEO, "mp4 or mov"),
        (as_sound(path), NO_AUDIO, "mp3, wav, m4a or aac"),
    ):
        assert told == no or told.endswith(f"; it must be {formats}.")


def test_a_name_is_no_pattern_of_names(tmp_path: Path) -> None:
    for name in ("canary1.mp4", "canary2.mp4"):
        make_video(tmp_path / name, frames=3)
    (tmp_path / "canary%d.mp4").write_bytes(mutants.seed("mp4"))
    assert as_video(tmp_path / "canary%d.mp4") == f"{GOOD}; {HEARD}"


@pytest.mark.parametrize("tenths", range(10))
def test_what_is_there_of_a_file_cut_off(tmp_path: Path, tenths: int) -> None:
    whole = indexed_first()
    path = tmp_path / "video.mp4"
    path.write_bytes(whole[: len(whole) * tenths // 10])
    said = as_video(path)
    if tenths < 3:
        assert said == ("the content is empty.", NO_FRAMES, NONE_DECODED)[tenths]
    else:
        shown = probe_video(path).frames
        assert 2 * (tenths - 3) < shown < 25
        assert said.startswith(f"h264 64 x 48, {shown} of {shown} frames, ")


@pytest.mark.parametrize(
    "name", ["2,147,483,648 frames", "5,000,000 frames", "5,000,000 pieces of sound", "64 streams"]
)
def test_an_index_that_unfolds_takes_no_more_memory_than_a_probe_may(tmp_path: Path, name: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(VIDEOS[name][0]())
    worker = SandboxProcess(Limits(wall_s=30, memory_mb=1024), threading.Event(), preload=mutants.__name__)
    try:
        assert worker.run(mutants.peak_mb, path) < 512
    finally:
        worker.stop()


def test_opening_takes_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPEN_S", 0.0)
    path = tmp_path / "video.mp4"
    path.write_bytes(mutants.seed("mp4"))
    assert as_video(path) == "the file takes longer than 0 s to open."


def test_an_index_that_outweighs_its_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iso, "MAX_INDEX_BYTES", 1 << 20)
    path = tmp_path / "video.mp4"
    path.write_bytes(mutants.seed("mp4") + box("moof", bytes(1 << 20)))
    assert as_video(path) == "the index of the file is larger than 1 MiB."


def test_hours_of_silence_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "sound.aac"
    path.write_bytes(minimal_frames(5_000_000))
    info = probe.probe_audio(path)
    assert info.duration_ms > 2 * limits.MAX_AUDIO_MS
    assert read_audio(path, end_ms=1_000).duration_ms == 1_000


def test_a_sound_that_outgrows_its_limits_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_sound(tmp_path / "sound.wav", tone(300, 500))
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_AUDIO_SAMPLES", 20_000)
        assert as_sound(path) == "the audio is longer than 0 minutes."
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_PACKETS", 2)
        assert as_sound(path) == "a stream of the file has more than 2 packets."


def test_a_picture_that_outgrows_its_file_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The file's own header says 64 x 48, its stream 96 x 80.
    data = make_video(tmp_path / "a.mp4", size=(96, 80), frames=3).read_bytes()
    path = tmp_path / "video.mp4"
    path.write_bytes(patched(data, "stsd", 40, struct.pack(">2H", 64, 48)))
    assert as_video(path) == "h264 96 x 80, 3 of 3 frames, 120 ms"
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 48)
    assert as_video(path) == "the picture is 96 x 80 pixels; at most 3072 in total are accepted."
