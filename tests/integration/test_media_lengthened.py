"""Lengthened videos from real files: the right pictures at the right times, upright, and no file left behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_maker import make_video, tone

from duikou.media import decode
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import LengthenedTimeline, Timeline
from duikou.media.video import Video

MODES = (SyncMode.LOOP, SyncMode.BOUNCE, SyncMode.SILENCE)
SOURCES: dict[str, dict[str, Any]] = {
    "plain": {"frames": 30},
    "variable": {
        "pts": [90, 900, 2_300, 3_000, 9_000, 9_100, 12_000],
        "time_base": Fraction(1, 9_000),
        "last_duration": 500,
    },
    "late": {"frames": 7, "pts": [900 + 360 * number for number in range(7)], "time_base": Fraction(1, 9_000)}
    | {"sound": tone(300, 400)},
    "turned": {"frames": 12, "rotation": 90},
    "upside_down": {"frames": 12, "rotation": 180},
    "hevc_10_bit": {"frames": 12, "codec": "libx265", "pixel_format": "yuv420p10le", "matrix": 9},
    "odd": {"frames": 12, "size": (193, 129), "pixel_format": "yuv444p"},
}


def longer(source: Video, mode: SyncMode, times: float = 3.4) -> LengthenedTimeline:
    made = Timeline.of(source.frame_times, mode, round(source.info.duration_ms * times))
    assert isinstance(made, LengthenedTimeline)
    return made


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Video:
    return Video.open(make_video(tmp_path / "source.mp4", **SOURCES[request.param]))


@pytest.mark.parametrize("mode", MODES)
def test_every_picture_is_the_right_one(
    source: Video, mode: SyncMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "BLOCK_BYTES", 0)
    made = longer(source, mode)
    was = {frame.index: frame.image for frame in source.frames()}
    played = list(made.frames(source))
    assert [frame.index for frame in played] == list(range(len(made)))
    assert [frame.pts for frame in played] == made.times.pts.tolist()
    assert [frame.time_ms for frame in played] == made.times.starts_ms.tolist()
    for frame, number in zip(played, made.order.tolist(), strict=True):
        assert np.array_equal(frame.image, was[number])
