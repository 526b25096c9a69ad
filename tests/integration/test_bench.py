"""The benchmark's own parts: its clock, its memory reading, its clips."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench
from duikou.media.video import probe_video
from duikou.progress import silent


def fill(mib: int) -> int:
    block = np.ones(mib * bench.MIB, np.uint8)
    del block
    return bench.peak_mib()


def test_the_peak_is_the_childs_own() -> None:
    parents = np.ones(300 * bench.MIB, np.uint8)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        small = pool.apply(fill, (1,))
        large = pool.apply(fill, (200,))
    assert 180 <= large - small <= 260
    assert small < 300 <= bench.peak_mib()
    assert parents[-1] == 1


def test_time_is_booked_on_the_stage_that_reports() -> None:
    clock = bench.StageClock()
    for stage, pause in (("a", 0.02), ("b", 0.06), ("a", 0.02)):
        time.sleep(pause)
        clock(stage, 0.5)
    assert list(clock.seconds) == ["a", "b"]
    assert clock.seconds["a"] >= 0.04
    assert clock.seconds["b"] >= 0.06


def test_a_clip_is_compared_with_its_own_floor_and_has_its_own_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench.CASES, "small", bench.Case((640, 360), ("decode", "identify"), "decode", 3))
    decode, identify = bench.bench("small", 99, 1, tmp_path, silent)
    assert (decode.clip, decode.stage, decode.to_floor) == ("small", "decode", 1)
    assert identify.to_floor == identify.work_s / decode.work_s
    assert probe_video(tmp_path / "small.mp4").duration_ms == 3_000


def test_clip_and_speech_have_the_length_asked_for(tmp_path: Path) -> None:
    info = probe_video(bench.make_clip(tmp_path / "clip.mp4", 640, 360, 1))
    assert (info.width, info.height, info.frames, info.duration_ms) == (640, 360, 25, 1_000)
    sound = bench.make_speech(tmp_path, 4)
    assert 1_500 <= bench.probe_audio(sound).duration_ms <= 3_000
