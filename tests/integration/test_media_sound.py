"""Sound is read to the sample, from every container, onto the time line that a player has."""

from pathlib import Path

import numpy as np
import pytest
from media_maker import clicks, make_sound, make_video, onset_ms, tone, trim

from duikou.errors import InputError, MediaError
from duikou.media import probe
from duikou.media.audio import read_audio

RATE = 48_000


@pytest.mark.parametrize(("suffix", "tolerance_ms"), [("wav", 0.02), ("m4a", 0.5), ("mp3", 0.5), ("aac", 22.0)])
def test_time_zero_is_where_a_player_has_it(tmp_path: Path, suffix: str, tolerance_ms: float) -> None:
    # Raw AAC says nothing of its priming, so players have it 1024 samples late too.
    path = make_sound(tmp_path / f"a.{suffix}", clicks([100, 700], 1_000))
    samples = read_audio(path).samples
    assert abs(onset_ms(samples, RATE) - 100) < tolerance_ms
    assert abs(onset_ms(samples, RATE, after_ms=400) - 700) < tolerance_ms


@pytest.mark.parametrize("suffix", ["wav", "m4a", "mp3", "aac"])
def test_the_probed_length_is_that_of_the_samples(tmp_path: Path, suffix: str) -> None:
    path = make_sound(tmp_path / f"a.{suffix}", tone(300, 1_234, 44_100, 2), 44_100)
    info, sound = probe.probe_audio(path), read_audio(path)
    assert abs(info.duration_ms - sound.duration_ms) <= 1
    assert (info.sample_rate, info.channels) == (sound.rate, sound.channels) == (44_100, 2)
    assert abs(info.duration_ms - 1_234) <= (50 if suffix == "aac" else 1)


def test_a_wav_is_read_bit_for_bit(tmp_path: Path) -> None:
    wanted = np.random.default_rng(0).integers(-32_768, 32_767, (5_000, 2)).astype(np.float32) / np.float32(32_768)
    path = make_sound(tmp_path / "a.wav", wanted)
    np.testing.assert_array_equal(read_audio(path).samples, wanted)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_u8", "pcm_f32le"])
def test_every_width_of_wav_samples(tmp_path: Path, codec: str) -> None:
    wave = tone(440, 200)
    found = read_audio(make_sound(tmp_path / "a.wav", wave, codec=codec)).samples
    assert found.shape == wave.shape
    assert np.abs(found - wave).max() < (0.01 if codec == "pcm_u8" else 1e-4)


def test_a_part_is_that_part_of_the_whole(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", tone(313, 1_000))
    whole = read_audio(path).samples
    np.testing.assert_array_equal(read_audio(path, start_ms=123, end_ms=777).samples, whole[123 * 48 : 777 * 48])
    np.testing.assert_array_equal(read_audio(path, start_ms=500).samples, whole[500 * 48 :])
    np.testing.assert_array_equal(read_audio(path, end_ms=5_000).samples, whole)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_resampling_keeps_pitch_place_and_length(tmp_path: Path, rate: int) -> None:
    path = make_sound(tmp_path / "a.wav", tone(1_000, 1_000, 32_000), 32_000)
    sound = read_audio(path, rate=rate)
    assert (sound.rate, len(sound.samples)) == (rate, rate)
    inner = slice(rate // 10, 9 * rate // 10)
    np.testing.assert_allclose(sound.samples[inner], tone(1_000, 1_000, rate)[inner], atol=1e-3)


def test_channels_are_mixed_down_and_up(tmp_path: Path) -> None:
    stereo = np.concatenate([tone(300, 100), np.zeros((4_800, 1), np.float32)], 1)
    path = make_sound(tmp_path / "a.wav", stereo)
    found = read_audio(path).samples
    mono = read_audio(path, channels=1).samples
    np.testing.assert_allclose(mono[:, 0], found.mean(axis=1), atol=1e-6)
    up = read_audio(make_sound(tmp_path / "b.wav", tone(300, 100)), channels=2).samples
    assert up.shape == (4_800, 2)
    np.testing.assert_array_equal(up[:, 0], up[:, 1])


@pytest.mark.parametrize("at_ms", [0, 100, 512])
@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
def test_a_videos_sound_lies_on_its_time_line(tmp_path: Path, at_ms: int, codec: str) -> None:
    path = make_video(tmp_path / "v.mp4", sound=clicks([200], 800), sound_at_ms=at_ms, sound_codec=codec)
    sound = read_audio(path)
    # An mp4 of mp3 carries no word about the encoder's delay of 1105 samples unless an edit list cuts it.
    assert abs(onset_ms(sound.samples, RATE) - (200 + at_ms)) < (1 if codec == "aac" else 25)
    assert not np.abs(sound.samples[: (at_ms + 150) * 48]).max() > 0.05


def test_an_edit_list_cuts_the_sound_with_the_picture(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=50, options={"g": "10"}, sound=clicks([300, 900], 2_000))
    sound = read_audio(trim(whole, tmp_path / "cut.mp4", start_ms=520))
    assert abs(onset_ms(sound.samples, RATE) - 380) < 1
    assert abs(sound.duration_ms - 1_480) <= 22


def test_pcm_in_a_mov(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mov", sound=clicks([250], 1_000), sound_codec="pcm_s16le")
    assert abs(onset_ms(read_audio(path).samples, RATE) - 250) < 0.1
    audio = probe.probe_video(path).audio
    assert audio == probe.AudioInfo("pcm_s16le", RATE, 1, 1_000)


def test_what_has_no_sound_says_so(tmp_path: Path) -> None:
    silent = make_video(tmp_path / "v.mp4", frames=3)
    with pytest.raises(MediaError, match=r"sound: the file has no sound\."):
        read_audio(silent)
    assert probe.probe_video(silent).audio is None


def test_a_video_is_not_taken_for_a_sound_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", frames=3, sound=tone(300, 100))
    with pytest.raises(
        MediaError, match="sound_file: the file is a video, a sound must be mp3, wav, m4a or aac"
    ) as error:
        probe.probe_audio(path, field="sound_file")
    assert error.value.field == "sound_file"


def test_bad_parts_are_refused(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", tone(300, 500))
    for start, end in ((-1, 100), (100, 100), (200, 100)):
        with pytest.raises(InputError, match="is empty"):
            read_audio(path, start_ms=start, end_ms=end)
    with pytest.raises(MediaError, match="no sound between 600 ms and 700 ms"):
        read_audio(path, start_ms=600, end_ms=700)


def test_more_sound_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duikou.media.limits.MAX_SOUND_MS", 400)
    path = make_sound(tmp_path / "a.wav", tone(300, 500))
    with pytest.raises(MediaError, match="longer than"):
        read_audio(path)
    assert read_audio(path, start_ms=100, end_ms=400).duration_ms == 300


def test_damaged_sound_is_one_clear_sentence(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mp3", tone(300, 1_000))
    data = path.read_bytes()
    path.write_bytes(data[:2_000] + np.random.default_rng(1).bytes(1_500) + data[3_500:])
    assert abs(read_audio(path).duration_ms - 1_000) < 200
    empty = tmp_path / "b.wav"
    empty.write_bytes(make_sound(tmp_path / "c.wav", tone(300, 100)).read_bytes()[:44])
    with pytest.raises(MediaError, match=r"^sound: .*\.$"):
        probe.probe_audio(empty)
    with pytest.raises(MediaError, match=r"^sound: .*\.$"):
        read_audio(empty)
