"""Every clip of the test folder through decoder and encoder: nothing of its shape or time may change."""

from pathlib import Path

import numpy as np
import pytest

from duikou.media import decode, probe
from duikou.media.audio import Audio, Insert, mix, read_audio
from duikou.media.encode import Quality, VideoWriter
from duikou.media.video import Video, probe_video

CLIPS = Path(__file__).parents[3] / "shared" / "media"
VIDEOS = sorted((CLIPS / "video").glob("*.mp4"))
FASTEST = Quality(17, "ultrafast")
SPEECH = sorted((CLIPS / "speech").glob("*.*"))

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not VIDEOS, reason="the folder of clips ../shared/media is not there"),
]


@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.stem)
def test_copying_keeps_count_times_size_and_audio(path: Path, tmp_path: Path) -> None:
    info = probe_video(path)
    sound = read_audio(path) if info.audio else None
    output = tmp_path / "copy.mp4"
    count = 0
    with VideoWriter(output, Video.open(path), sound, quality=FASTEST) as writer:
        for frame in decode.frames(path):
            count += 1
            if frame.index % 5:
                writer.copy(frame)
            else:
                writer.write(frame.image, frame.pts)
    copied = probe_video(output)
    assert count == info.frames == copied.frames
    assert (copied.width, copied.height, copied.duration_ms) == (info.width, info.height, info.duration_ms)
    np.testing.assert_array_equal(decode.read_frame_times(output).pts, decode.read_frame_times(path).pts)
    for start in (0, info.frames // 2):
        old = next(decode.frames(path, start=start)).image.astype(int)
        difference = next(decode.frames(output, start=start)).image - old
        assert np.abs(difference.mean(axis=(0, 1))).max() < 0.6
        assert np.abs(difference).mean(axis=(0, 1)).max() < 3
    if sound is not None:
        again = read_audio(output)
        # The track's end is written in the picture's ticks, of which one lasts up to four samples.
        assert abs(len(again.samples) - len(sound.samples)) <= 4
        # AAC adds no delay: copy and source correlate best at lag 0.
        assert _lag(sound.samples[:, 0], again.samples[:, 0]) == 0


def _lag(one: np.ndarray, other: np.ndarray) -> int:
    """Samples that `other` comes later, by the peak of their correlation."""
    size = 1 << (2 * max(len(one), len(other)) - 1).bit_length()
    spectrum = np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size))
    peak = int(np.argmax(np.fft.irfft(spectrum, size)))
    return peak if peak < size // 2 else peak - size


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.name)
def test_speech_is_read_as_long_as_it_says(path: Path) -> None:
    info, sound = probe.probe_audio(path), read_audio(path, rate=16_000, channels=1)
    assert abs(info.duration_ms - sound.duration_ms) <= 1
    assert 0.01 < np.abs(sound.samples).max() < 2


def test_speech_in_a_clip_lies_where_it_was_put(tmp_path: Path) -> None:
    source = CLIPS / "video" / "talking_zh.mp4"
    burst = np.zeros((4_410, 1), np.float32)
    burst[:44] = 0.9
    original = read_audio(source)
    sound = mix(original, [Insert(Audio(burst, 44_100), 1_500, 1.0, 0.0)], probe_video(source).duration_ms)
    output = tmp_path / "copy.mp4"
    with VideoWriter(output, Video.open(source), sound) as writer:
        for frame in decode.frames(source):
            writer.copy(frame)
    found = read_audio(output).samples[:, 0]
    around = found[1_450 * 44_100 // 1000 : 1_590 * 44_100 // 1000]
    onset = 1_450 + np.flatnonzero(np.abs(around) > 0.5)[0] * 1000 / 44_100
    assert abs(onset - 1_500) < 1
