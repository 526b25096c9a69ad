"""How long a sound is: its packets say so, whatever its header says, and the probe and the reader agree."""

from __future__ import annotations

import struct
from pathlib import Path

import boxes
import numpy as np
import pytest
from media_maker import make_video, tone
from sound_maker import encode

from duikou.media.audio import read_audio
from duikou.media.probe import probe_audio
from duikou.media.video import probe_video

RATE = 48_000
WAVE = tone(300, 600) * np.linspace(0.2, 1, 28_800, dtype=np.float32)[:, None]
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"


def same(path: Path, wanted: np.ndarray, duration_ms: int) -> None:
    """Check that a file's samples are these, and that every length of it is that one."""
    found = read_audio(path)
    assert (probe_audio(path).duration_ms, found.duration_ms) == (duration_ms, duration_ms)
    count = min(len(wanted), len(found.samples))
    np.testing.assert_array_equal(found.samples[:count], wanted[:count])


@pytest.mark.parametrize("value", [0, 1, 94, 600, 900_000_000, 0xFFFFFFFF])
@pytest.mark.parametrize(("kind", "offset"), [("mdhd", 16), ("mvhd", 16), ("tkhd", 20)])
def test_the_durations_in_the_header_of_an_m4a(tmp_path: Path, kind: str, offset: int, value: int) -> None:
    path = encode(tmp_path / "a.m4a", WAVE, RATE, "aac")
    wanted = read_audio(path).samples
    path.write_bytes(boxes.patched(path.read_bytes(), kind, offset, struct.pack(">I", value)))
    same(path, wanted, 600)


@pytest.mark.parametrize("last", [0, 1_024, 480_000, 0x7FFFFFFF])
def test_the_duration_of_the_last_packet(tmp_path: Path, last: int) -> None:
    path = encode(tmp_path / "a.m4a", WAVE, RATE, "aac")
    data, wanted = path.read_bytes(), read_audio(path).samples
    end = len(boxes.content(data, "stts")) - 4
    path.write_bytes(boxes.patched(data, "stts", end, struct.pack(">I", last)))
    same(path, wanted, 600)


def test_an_edit_list_still_cuts(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", WAVE, RATE, "aac")
    wanted = read_audio(path).samples
    path.write_bytes(boxes.patched(path.read_bytes(), "elst", 8, struct.pack(">I", 333)))
    same(path, wanted, 333)
    path.write_bytes(boxes.patched(path.read_bytes(), "mdhd", 16, struct.pack(">I", 94)))
    same(path, wanted, 341)  # FFmpeg then cuts at the end of a packet


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.mov", "aac"), ("a.mp4", "libopus"), ("a.mp4", "libmp3lame"), ("a.mp3", "libmp3lame")],
)
def test_the_padding_of_an_encoder_still_goes(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, tone(300, 640), RATE, codec)
    # Edit lists are in ms, rounded down, so that a padding of less than 1 ms cannot be told from their rounding.
    assert 640 <= probe_audio(path).duration_ms == read_audio(path).duration_ms <= 641


@pytest.mark.parametrize("flags", [FRAGMENTS, "frag_keyframe+empty_moov+delay_moov", "cmaf"])
def test_fragments_whose_header_has_no_duration(tmp_path: Path, flags: str) -> None:
    options = {"movflags": flags, "frag_duration": "100000"}
    path = encode(tmp_path / "a.mp4", WAVE, RATE, "aac", options=options)
    assert abs(probe_audio(path).duration_ms - 600) <= 22
    assert read_audio(path).duration_ms == probe_audio(path).duration_ms


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_alaw", "adpcm_ms", "libmp3lame", "flac"])
def test_the_size_in_the_header_of_a_wav(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / "a.wav", WAVE, RATE, codec)
    data, wanted = path.read_bytes(), read_audio(path)
    at = data.index(b"data") + 4
    for size in (0, 0xFFFFFFFF, 0x7FFFFFFF, 2 * len(data), 3_000):
        path.write_bytes(data[:4] + struct.pack("<I", size) + data[8:at] + struct.pack("<I", size) + data[at + 4 :])
        same(path, wanted.samples, wanted.duration_ms)


@pytest.mark.parametrize("behind", [b"LIST\4\0\0\0INFO", b"ID3\3\0\0\0\0\0\0", b"TAG" + bytes(125), bytes(700), b""])
def test_what_stands_behind_the_sound_of_a_wav_is_no_sound(tmp_path: Path, behind: bytes) -> None:
    path = encode(tmp_path / "a.wav", WAVE, RATE, "pcm_s16le")
    wanted = read_audio(path).samples
    path.write_bytes(path.read_bytes() + behind)
    same(path, wanted, 600)


def test_a_wav_of_more_than_4_gib_by_its_header(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", WAVE, RATE, "pcm_s16le", options={"rf64": "always"})
    data, wanted = path.read_bytes(), read_audio(path).samples
    assert data[:4] == b"RF64"
    same(path, wanted, 600)
    at = data.index(b"ds64") + 16
    path.write_bytes(data[:at] + struct.pack("<Q", 3_000) + data[at + 8 :])
    same(path, wanted, 600)


@pytest.mark.parametrize(("frames", "size"), [(4, None), (1_000_000, None), (0, None), (None, 500), (None, 10**8)])
def test_the_count_in_the_header_of_an_mp3(tmp_path: Path, frames: int | None, size: int | None) -> None:
    path = encode(tmp_path / "a.mp3", WAVE, RATE, "libmp3lame")
    data, wanted = bytearray(path.read_bytes()), read_audio(path).samples
    at = max(data.find(b"Info"), data.find(b"Xing"))
    for offset, value in ((8, frames), (12, size)):
        if value is not None:
            struct.pack_into(">I", data, at + offset, value)
    path.write_bytes(data)
    found = read_audio(path)
    assert 600 <= found.duration_ms == probe_audio(path).duration_ms < 624  # the padding at the end may stay
    np.testing.assert_array_equal(found.samples[: len(wanted)], wanted)


def test_an_mp3_without_a_count_and_one_behind_another(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp3", WAVE, RATE, "libmp3lame", options={"write_xing": "0"})
    assert 600 < probe_audio(path).duration_ms == read_audio(path).duration_ms < 660
    path = encode(tmp_path / "b.mp3", WAVE, RATE, "libmp3lame")
    path.write_bytes(path.read_bytes() * 2)
    assert 1_200 < probe_audio(path).duration_ms == read_audio(path).duration_ms < 1_300


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.aac", "aac"), ("a.wav", "adpcm_ms")])
def test_a_file_that_was_cut_off(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, WAVE, RATE, codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    found = read_audio(path)
    assert 300 < found.duration_ms == probe_audio(path).duration_ms < 460


def test_the_sound_of_a_video_whose_header_is_wrong(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", size=(64, 48), frames=15, sound=WAVE)
    wanted = read_audio(path).samples
    path.write_bytes(boxes.patched(path.read_bytes(), "mdhd", 16, struct.pack(">I", 94), number=1))
    info = probe_video(path).audio
    assert info is not None
    assert info.duration_ms == read_audio(path).duration_ms == 600
    np.testing.assert_array_equal(read_audio(path).samples, wanted)
