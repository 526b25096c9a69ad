"""Every clip of the test folder through decoder and encoder: nothing of its shape or time may change."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_maker import make_video

from duikou.media import decode, probe
from duikou.media.audio import read_audio
from duikou.media.decode import Frame
from duikou.media.encode import Quality, VideoWriter
from duikou.media.fields import Fields
from duikou.media.mix import Insert, mix
from duikou.media.sound import Audio
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
        old, new = (next(decode.frames(one, start=start)).image for one in (path, output))
        assert np.abs(np.subtract(cv2.mean(new), cv2.mean(old))).max() < 0.6
        assert max(cv2.mean(cv2.absdiff(new, old))) < 3
    if sound is not None:
        again = read_audio(output)
        # The track's end is written in the picture's ticks, of which one lasts up to four samples.
        assert abs(len(again.samples) - len(sound.samples)) <= 4
        # AAC adds no delay: copy and source correlate best at lag 0.
        assert _lag(sound.samples[:, 0], again.samples[:, 0]) == 0


@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.stem)
def test_no_clip_is_taken_for_interlaced(path: Path) -> None:
    assert Video.open(path).fields is None


def test_fields_made_of_a_clip_become_its_progressive_frames(tmp_path: Path) -> None:
    frames = [frame.image for frame in decode.frames(CLIPS / "video" / "talking_glasses.mp4", stop=48)]

    def woven(number: int, width: int, height: int) -> np.ndarray:
        image = frames[2 * number].copy()
        image[1::2] = frames[2 * number + 1][1::2]
        return image

    height, width = frames[0].shape[:2]
    made = make_video(tmp_path / "woven.mp4", size=(width, height), frames=24, paint=woven, options={"crf": "4"})
    video = Video.open(made)
    assert video.fields == Fields("tff")
    noise = []
    for shown in (video.frames(), decode.frames(made)):
        images = [frame.image.astype(float) for frame in shown]
        noise.append(np.mean([((one - frames[2 * n]) ** 2).mean() for n, one in enumerate(images)][1:-1]))
    assert 10 * np.log10(255**2 / noise[0]) > 42
    assert noise[1] > 10 * noise[0]


def test_the_interlaced_case_is_smooth() -> None:
    path = CLIPS.parent / "cases" / "video_interlaced_tff.mp4"
    if not path.is_file():
        pytest.skip("../shared/cases is not there")
    video = Video.open(path)
    assert video.fields == Fields("tff")
    assert len(list(video.frames())) == video.info.frames == 150
    assert combed(video.frames(40, 80)) < 0.06
    assert combed(decode.frames(path, start=40, stop=80)) > 0.2


def combed(frames: Iterable[Frame]) -> float:
    """Median share, among pixels that move, of those brighter or darker than both lines beside them."""
    lumas = [cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY).astype(np.int32) for frame in frames]
    shares = []
    for before, now, after in zip(lumas, lumas[1:], lumas[2:], strict=False):
        moves = np.abs(before - after)[1:-1] > 10
        shares.append((((now[1:-1] - now[:-2]) * (now[1:-1] - now[2:]) > 36) & moves).sum() / max(moves.sum(), 1))
    return float(np.median(shares))


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
