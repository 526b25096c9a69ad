"""Packets of the source in a result: bit for bit where nothing changes, and a stream that strict decoders take."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import pytest
from h264_rules import AccessUnit, check, read_track
from media_maker import make_video, numbered, tone

from duikou.arrays import BoolArray, Image
from duikou.media import copied
from duikou.media.audio import Audio, read_audio
from duikou.media.encode import PLAIN, Finish, VideoWriter
from duikou.media.groups import LEAST
from duikou.media.video import Video

FRAMES = 150
GROUP = {"g": "50", "preset": "veryfast"}


def moving(number: int, width: int, height: int) -> Image:
    """A picture in which much moves, so that frames refer to each other."""
    image = numbered(number, width, height)
    image[height // 4 :] = np.roll(image[height // 4 :], 3 * number, axis=1)
    return image


QUALIFY: dict[str, dict[str, Any]] = {
    "medium": {"options": {"preset": "medium"}},
    "one_key_frame": {"options": {"g": "1000", "bf": "3"}},
    "many_references": {"options": {"preset": "slower", "bf": "8", "refs": "8"}},
    "no_b_pyramid": {"options": {"bf": "2", "x264-params": "b-pyramid=none"}},
    "strict_b_pyramid": {"options": {"bf": "4", "x264-params": "b-pyramid=strict"}},
    "ultrafast": {"options": {"preset": "ultrafast"}},
    "baseline": {"options": {"profile": "baseline"}},
    "main": {"options": {"profile": "main", "bf": "2"}},
    "cavlc": {"options": {"x264-params": "cabac=0"}},
    "slices": {"options": {"x264-params": "slices=4"}},
    "delimiters": {"options": {"x264-params": "aud=1"}},
    "buffer_model": {"options": {"x264-params": "nal-hrd=vbr:vbv-maxrate=2000:vbv-bufsize=2000"}},
    "other_ids": {"options": {"x264-params": "sps-id=1"}},
    "open_groups": {"options": {"bf": "3", "x264-params": "open-gop=1"}},
    "intra_refresh": {"options": {"x264-params": "intra-refresh=1"}},
    "flat_matrices": {"options": {"x264-params": "cqm=jvt"}},
    "cropped": {"size": (190, 122)},
    "full_range": {"full_range": True, "matrix": 5},
    "untagged": {"tagged": False},
    "ntsc": {"fps": Fraction(30_000, 1_001), "time_base": Fraction(1, 30_000)},
    "uneven": {"pts": [100 * number + 37 * (number % 3) for number in range(FRAMES)], "time_base": Fraction(1, 3_000)},
    "late": {"pts": [507 + 512 * number for number in range(FRAMES)], "sound": tone(440, 6_000)},
}
"""Sources of which something is copied."""


def made(path: Path, **what: Any) -> Video:
    options = GROUP | (what.pop("options", None) or {})
    return Video.open(make_video(path, paint=moving, options=options, **({"frames": FRAMES} | what)))


def write(
    source: Video, changed: BoolArray, output: Path, *, audio: Audio | None = None, finish: Finish = PLAIN
) -> VideoWriter:
    """The source with the `changed` frames inverted."""
    with VideoWriter(output, source, audio, changed=changed, finish=finish) as writer:
        for stretch in writer.stretches:
            if stretch.copied:
                writer.keep(stretch)
                continue
            for frame in source.frames(stretch.start, stretch.stop):
                if changed[frame.index]:
                    writer.paint(frame, 255 - frame.image)
                else:
                    writer.copy(frame)
    return writer


def frames(*parts: tuple[int, int]) -> BoolArray:
    changed = np.zeros(FRAMES, bool)
    for start, stop in parts:
        changed[start:stop] = True
    return changed


def decoded(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every frame that a decoder which stands no error returns: its time and its pixels."""
    with av.logging.Capture() as logs, av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode+crccheck+bitstream+buffer"}
        for frame in file.decode(stream):
            assert frame.pts is not None
            yield frame.pts, frame.to_ndarray().tobytes()
    assert [line for line in logs if line[0] <= av.logging.WARNING] == []


@pytest.mark.parametrize("name", QUALIFY)
def test_the_rest_is_the_source_bit_for_bit(name: str, tmp_path: Path) -> None:
    source = made(tmp_path / "source.mp4", **QUALIFY[name])
    changed, output = frames((70, 80)), tmp_path / "result.mp4"
    audio = read_audio(source.path) if source.info.audio else None
    stretches = write(source, changed, output, audio=audio).stretches
    kept = np.concatenate([np.arange(one.start, one.stop) for one in stretches if one.copied])
    assert len(kept) >= LEAST
    assert not changed[kept].any()
    before, after = read_track(source.path), read_track(output)
    check(after)
    origin = source.frame_times.origin
    by_time = {unit.pts: unit for unit in after.units}
    numbers = dict(zip((source.frame_times.pts + origin).tolist(), range(FRAMES), strict=True))
    assert sum(is_copied(unit, by_time[unit.pts - origin]) for unit in before.units) == len(kept)
    assert all(is_copied(unit, by_time[unit.pts - origin]) for unit in before.units if numbers[unit.pts] in kept)
    result = Video.open(output)
    np.testing.assert_array_equal(result.frame_times.pts, source.frame_times.pts)
    assert result.frame_times.last_duration == source.frame_times.last_duration
    assert result.picture.alike(source.picture)
    was, now = dict(decoded(source.path)), dict(decoded(output))
    assert len(now) == FRAMES
    for number in kept:
        pts = int(source.frame_times.pts[number])
        assert now[pts] == was[pts + origin]
    for frame in result.frames(70, 80):
        original = next(source.frames(frame.index, frame.index + 1)).image
        assert np.abs(frame.image.astype(int) - (255 - original)).mean() < 4


def is_copied(source: AccessUnit, result: AccessUnit) -> bool:
    return source.data == result.data
