"""Files of a hundred thousand tags, which FFmpeg would compare with each other, and honest ones with large pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mutants
import pytest
import tagged
from boxes import box, replaced
from media_maker import make_sound, tone

from duikou.errors import MediaError
from duikou.media import decode, demux, iso, png, riff, tags
from duikou.sandbox.process import SandboxProcess
from duikou.server import probing
from duikou.workers import work

MANY, SOME = 100_000, 7
PICTURE = bytes(range(256)) * 20_000  # 5 MB
KEYS = "the file has more than 1000 pieces of metadata."

TAGS: dict[str, Callable[[int], bytes]] = {
    "wav, INFO behind the sound": lambda count: tagged.wav(behind=tagged.info(count)),
    "wav, INFO before the sound": lambda count: tagged.wav(front=tagged.info(count)),
    "wav, ID3 behind the sound": lambda count: tagged.wav(behind=tagged.riff(b"id3 ", tagged.names(count))),
    "wav, ID3 before the sound": lambda count: tagged.wav(front=tagged.riff(b"ID3 ", tagged.names(count))),
    "wav, sound of no stated size": lambda count: _endless(tagged.wav(behind=tagged.info(count))),
    "mp3, ID3": lambda count: tagged.names(count) + mutants.seed("mp3") + tagged.names(count),
    "mp3, APE": lambda count: mutants.seed("mp3") + tagged.ape(count),
    "aac, ID3 between frames": lambda count: mutants.seed("aac") + tagged.names(count) + mutants.seed("aac"),
    "aac, APE": lambda count: mutants.seed("aac") + tagged.ape(count),
    "png, texts": lambda count: tagged.png(*[(b"tEXt", b"%07d\0x" % one) for one in range(min(count, 40_000))]),
}
"""Tags that FFmpeg is not shown, in files with so many of them."""
COUNTED: dict[str, tuple[Callable[[int], bytes], str]] = {
    "names in many languages": (lambda count: tagged.mp4(tagged.languages(count)), KEYS),
    "names of one track": (lambda count: tagged.mp4(tagged.languages(count), "trak"), KEYS),
    "iTunes' own": (lambda count: tagged.mp4(tagged.items(count)), KEYS),
    "in a packed index": (lambda count: tagged.elsewhere(tagged.packed, tagged.languages(count)), KEYS),
    "in an index that is called free": (
        lambda count: tagged.elsewhere(lambda index: box("free", index), tagged.languages(count)),
        KEYS,
    ),
    "copy protection": (
        lambda count: tagged.mp4(tagged.protection(count)),
        "the file has 100000 boxes of copy protection; at most 64 are accepted.",
    ),
    "defaults for fragments": (
        lambda count: tagged.mp4(tagged.defaults(count)),
        "the file has 100000 defaults for fragments; at most 128 are accepted.",
    ),
}
"""Boxes of an mp4, in files with so many of them, and the sentence that refuses 100,000."""


def _endless(data: bytes) -> bytes:
    at = data.index(b"data") + 4
    return data[:at] + bytes(4) + data[at + 4 :]


def described(path: Path) -> str:
    """What a probe says, in a child with a fraction of the processor time that it has."""
    worker = SandboxProcess(replace(probing.LIMITS, cpu_s=5), threading.Event(), preload=work.__name__)
    try:
        found = worker.run(work.probe_upload, path, "file")
        return f"{found.suffix} {found.duration_ms}"
    except MediaError as error:
        return error.reason
    finally:
        worker.stop()


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", TAGS)
def test_tags_without_end_change_nothing_and_cost_next_to_nothing(tmp_path: Path, name: str) -> None:
    few, many = (described(written(tmp_path, TAGS[name](count))) for count in (SOME, MANY))
    if name != "wav, sound of no stated size":
        assert many == few
    assert few.startswith(f".{name.partition(',')[0]} ")


@pytest.mark.parametrize("name", COUNTED)
def test_boxes_without_end_are_refused_by_their_number(tmp_path: Path, name: str) -> None:
    make, sentence = COUNTED[name]
    assert described(written(tmp_path, make(SOME))) == ".mp4 1000"
    assert described(written(tmp_path, make(MANY))) == sentence


@pytest.mark.parametrize("name", TAGS)
def test_ffmpeg_is_shown_no_tag(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, TAGS[name](SOME))
    if name.startswith("png"):
        with demux.opened_photo(path, "png", field="file") as (file, stream):
            assert not decode.first_frame(file, stream, field="file").metadata
        return
    with demux.opened(path, field="file") as (file, _):
        for _ in file.demux():
            pass
        assert not file.metadata.keys() - {"encoder"}
        assert not file.streams.audio[0].metadata.keys() - {"encoder"}


def test_files_with_large_pictures_are_taken(tmp_path: Path) -> None:
    cover = tagged.id3((b"APIC", b"\0image/png\0\3\0" + PICTURE))
    itunes = box("ilst", box("covr", box("data", b"\0\0\0\x0e" + bytes(4) + PICTURE)))
    files = {
        ".wav 500": tagged.wav(front=tagged.riff(b"id3 ", cover), behind=tagged.riff(b"id3 ", cover)),
        ".mp3 1000": cover + mutants.seed("mp3")[mutants.seed("mp3").index(b"\xff\xfb") :],
        ".mp4 1000": tagged.mp4(box("udta", box("meta", bytes(4) + tagged.ITUNES + itunes))),
    }
    assert {described(written(tmp_path, data)) for data in files.values()} == set(files)


def test_frames_of_aac_are_read_around_tags_and_hold_their_letters_by_chance(tmp_path: Path) -> None:
    plain = make_sound(tmp_path / "a.aac", tone(300, 2_000)).read_bytes()
    cover = tagged.id3((b"APIC", b"\0image/png\0\3\0" + PICTURE))
    wanted = _packets(written(tmp_path, plain + plain))
    assert _packets(written(tmp_path, cover + plain + cover + cover + plain + cover)) == wanted
    # In place of the end of a frame: what looks like the head of a tag, and reaches into the next frame.
    at = plain.index(b"\xff\xf1", len(plain) // 2) - 20
    chance = plain[:at] + b"ID3\4\0\0\0\0\0\x40" + plain[at + 10 :]
    assert sum(map(len, _packets(written(tmp_path, chance)))) == len(chance)


def _packets(path: Path) -> list[bytes]:
    with demux.opened(path, field="file") as (file, _):
        return [bytes(packet) for packet in file.demux() if packet.size]


def test_far_too_many_pieces_are_refused(tmp_path: Path) -> None:
    none = tagged.riff(b"JUNK", b"")
    files = {
        f"the wav file has more than {riff.MAX_CHUNKS} chunks before its sound.": tagged.wav(front=none * MANY),
        f"at least {tags.MAX_TAGS} tags follow the sound; fewer are accepted.": (
            mutants.seed("aac") + tagged.ape(MANY) + (b"TAG" + bytes(125)) * tags.MAX_TAGS
        ),
        f"the photo has more than {png.MAX_CHUNKS} chunks.": tagged.png(*[(b"tEXt", b"")] * png.MAX_CHUNKS),
        f"the file has more than {iso.MAX_BOXES} boxes.": (
            mutants.seed("mp4")[:32] + box("free") * iso.MAX_BOXES + tagged.mp4(tagged.languages(MANY))[32:]
        ),
        "the file has 1001 tracks; at most 1000 are accepted.": tagged.mp4(b"tkhd" * 999),
        "the file has 9 packed indexes; at most 8 are accepted.": tagged.mp4(box("cmvd", b"x\x9c") * 9),
        "a track of the file has 40000 edits; at most 1000 are accepted.": replaced(
            mutants.seed("mp4"), "elst", bytes(4) + b"\xff" * 4 + bytes(12 * 40_000)
        ),
    }
    assert {described(written(tmp_path, data)) for data in files.values()} == set(files)


def test_an_index_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iso, "MAX_INDEX_BYTES", 1 << 20)
    path = written(tmp_path, tagged.elsewhere(tagged.packed, box("zzzz", bytes(1 << 20))))
    with pytest.raises(MediaError, match="the index of the file is larger than 1 MiB"):
        iso.check(path, field="file")
