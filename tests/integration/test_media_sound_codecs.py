"""Every codec of sound, in every container that takes it, is read as FFmpeg decodes it, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.packet import Packet
from media_maker import tone
from sound_maker import amr, decoded, encode, layer_one

from duikou.media import demux, probe
from duikou.media.audio import read_audio

LITTLE = ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"]
BIG = ["pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be"]
ENCODED = {
    "wav": [
        "pcm_u8",
        "pcm_alaw",
        "pcm_mulaw",
        *LITTLE,
        "adpcm_ms",
        "adpcm_ima_wav",
        "libmp3lame",
        "mp2",
        "ac3",
        "flac",
    ],
    "mov": ["pcm_s8", "pcm_u8", "pcm_alaw", *LITTLE, *BIG, "adpcm_ima_qt", "alac", "aac", "libmp3lame", "mp2", "eac3"],
    "mp4": ["aac", "alac", "libmp3lame", "mp2", "ac3", "eac3", "flac", "libopus", "pcm_s16le", "pcm_f32be"],
    "m4a": ["aac", "alac", "ac3"],
    "mp3": ["libmp3lame", "mp2"],
    "aac": ["aac"],
}
NAMES = {"libmp3lame": "mp3", "libopus": "opus"}
BY_HAND = {"mp1", "amr_nb", "amr_wb"}
TRIMMED = {"aac", "mp3", "opus"}  # the encoder's padding is cut at the end of a track
WAVE = tone(300, 400) * np.linspace(0.2, 1, 19_200, dtype=np.float32)[:, None]


def made(folder: Path, codec: str, suffix: str) -> Path:
    if codec == "mp1":
        path = folder / "sound.mp3"
        path.write_bytes(layer_one(60))
        return path
    if codec.startswith("amr"):
        return amr(folder / "sound.mov", 30, wide=codec == "amr_wb")
    container = "mp2" if (codec, suffix) == ("mp2", "mp3") else ""
    return encode(folder / f"sound.{suffix}", np.repeat(WAVE, 2, 1), 48_000, codec, container=container)


def test_every_codec_is_tried() -> None:
    tried = {NAMES.get(codec, codec) for codecs in ENCODED.values() for codec in codecs} | BY_HAND
    assert tried == {
        name.removesuffix("float").replace("amr", "amr_").replace("__", "_") for name in demux.AUDIO_CODECS
    }


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [(codec, suffix) for suffix, codecs in ENCODED.items() for codec in codecs]
    + [(codec, "") for codec in sorted(BY_HAND)],
)
def test_a_sound_is_read_as_ffmpeg_decodes_it(tmp_path: Path, codec: str, suffix: str) -> None:
    path = made(tmp_path, codec, suffix)
    name, wanted = decoded(path)
    info, found = probe.probe_audio(path), read_audio(path)
    padding = len(wanted) - len(found.samples)
    assert 0 <= padding < (1_500 if name in TRIMMED else 1)
    np.testing.assert_array_equal(found.samples, wanted[: len(found.samples)])
    assert np.abs(wanted).max() > 0.4
    assert (info.codec, info.sample_rate, info.channels) == (name, found.rate, found.channels)
    assert info.duration_ms == found.duration_ms


@pytest.mark.parametrize("kept", ["nothing", "only dts", "all but the first"])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("adpcm_ms", "wav"), ("libmp3lame", "mp3"), ("alac", "mov"), ("mp1", "")]
)
def test_packets_without_a_time_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, suffix: str, kept: str
) -> None:
    path = made(tmp_path, codec, suffix)
    wanted = read_audio(path)
    whole = probe.sound_packets

    def without(*what: Any, **more: Any) -> Iterator[Packet[AudioStream]]:
        for number, packet in enumerate(whole(*what, **more)):
            if kept != "all but the first" or not number:
                packet.pts = None
            if kept == "nothing":
                packet.dts = None
            yield packet

    for module in ("audio", "probe"):
        monkeypatch.setattr(f"duikou.media.{module}.sound_packets", without)
    found = read_audio(path)
    padding = len(found.samples) - len(wanted.samples)
    assert 0 <= padding < (1_152 if suffix == "mp3" else 1)
    np.testing.assert_array_equal(found.samples[: len(wanted.samples)], wanted.samples)
    assert probe.probe_audio(path).duration_ms == found.duration_ms
