"""The benchmark's own parts: its clock, its memory reading, its clips, and a small run of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_portrait import small_portrait

from benchmarks.performance import clips, jobs, parts, processes, serving
from benchmarks.performance.orders import Order
from demo import portrait
from duikou.media import decode
from duikou.media.probe import probe_audio
from duikou.media.video import probe_video
from duikou.progress import silent
from duikou.units import MIB

FILL = "import sys, time; block = b'x' * (int(sys.argv[1]) << 20); time.sleep(0.6)"
SHARED = "import os, time; block = bytearray(b'x') * (100 << 20); os.fork(); time.sleep(0.6)"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_the_peak_is_that_of_the_command() -> None:
    parents = np.ones(300 * MIB, np.uint8)
    small, large = (processes.run(python(FILL, str(mib)), watched=True).peak_mib for mib in (1, 200))
    assert 190 <= large - small <= 210
    assert small < 100
    assert parents[-1] == 1


def test_what_processes_share_counts_once_and_children_count() -> None:
    alone = processes.run(python(FILL, "100"), watched=True).peak_mib
    assert abs(processes.run(python(SHARED), watched=True).peak_mib - alone) < 20
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FILL!r}, '100'])"
    assert processes.run(python(child), watched=True).peak_mib >= 100


def test_what_a_process_shared_does_not_count_twice_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = "import os, time; block = bytearray(b'x') * (100 << 20); os.fork(); print(flush=True); time.sleep(60)"
    measured = processes.pss_mib
    with subprocess.Popen(python(shared), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == parent.stdout.readline() == b"\n"
        (child,) = set(processes.descendants(parent.pid)) - {parent.pid}
        assert 100 <= processes.together_mib(parent.pid) < 130

        def ending(pid: int) -> float:
            mib = measured(pid)
            if pid == parent.pid and parent.poll() is None:
                parent.kill()
                parent.wait()
            return mib

        monkeypatch.setattr(processes, "pss_mib", ending)
        try:
            assert 100 <= processes.together_mib(parent.pid) < 130
        finally:
            os.kill(child, signal.SIGKILL)


def test_processor_time_is_that_of_all_processes() -> None:
    work = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    both = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {0!r}])\n{0}"
    ran, begun = (processes.run(python(both.format(code))) for code in (work, "import time"))
    assert ran.cpu_s >= 0.6
    assert ran.cpu_s - begun.cpu_s < 0.85, "each process counts once"
    assert ran.seconds >= 0.3


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"status 3(.|\n)*no such thing"):
        processes.run(python("import sys; print('no such thing', file=sys.stderr); sys.exit(3)"))


def test_time_is_booked_on_the_stage_that_reports() -> None:
    clock = jobs.StageClock()
    for stage, pause in (("a", 0.02), ("b", 0.06), ("a", 0.02)):
        time.sleep(pause)
        clock(stage, 0.5)
    assert list(clock.seconds) == ["a", "b"]
    assert clock.seconds["a"] >= 0.04
    assert clock.seconds["b"] >= 0.06


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """The portrait in fewer pixels."""
    with small_portrait(0.5):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def test_jobs_take_turns_and_are_compared_with_their_own_floor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clips.SIZES, "small", (portrait.WIDTH, portrait.HEIGHT))
    clip = clips.made(folder, "small", 2)
    began: list[str] = []
    names = ("decode", "decode and encode", "whole job", "known session")
    order = Order(clip.video, clip.speech, folder / "out.mp4")
    done = jobs.rounds(names, order, 1, lambda name, _share: began.append(name))
    assert began == list(names)
    assert next(iter(done["whole job"][0].stages)) == "finding faces"
    assert "finding faces" not in done["known session"][0].stages
    assert all(one.seconds > 0 and one.cpu_s > 0 for found in done.values() for one in found)
    assert not list(folder.glob("*.session"))
    made = parts.Rows.of("made", clip).row("decode", done["decode"], done["decode and encode"])
    assert made.to_floor == done["decode"][0].seconds / done["decode and encode"][0].seconds
    assert made.median == done["decode"][0].seconds / 2


def test_a_clip_has_its_length_its_sound_and_speech_that_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clips.SIZES, "tiny", (640, 360))
    clip = clips.made(folder, "tiny", 2)
    info = probe_video(clip.video)
    assert (info.width, info.height, info.frames, info.duration_ms) == (640, 360, 50, 2_000)
    assert info.audio is not None and probe_audio(clip.speech).duration_ms == 1_000
    with pytest.raises(ValueError, match="fits"):
        clips.made(folder, "tiny", 1)


def test_a_long_clip_repeats_a_short_one_picture_by_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clips.SIZES, "tiny", (640, 360))
    monkeypatch.setattr(clips, "BASE_S", 2)
    clip = clips.made(folder, "tiny", 5)
    info = probe_video(clip.video)
    assert (info.frames, info.duration_ms) == (125, 5_000)
    assert probe_audio(clip.speech).duration_ms == 4_000
    shown = [frame.image for frame in decode.frames(clip.video)]
    assert np.array_equal(shown[3], shown[53])
    assert np.array_equal(shown[20], shown[120])
    assert not np.array_equal(shown[3], shown[20])
    before = clip.video.stat().st_mtime_ns
    assert clips.made(folder, "tiny", 5).video.stat().st_mtime_ns == before  # it is kept


def test_the_command_is_measured_on_clips_of_growing_length(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = processes.Ran(6.0, 9.0, ((0.0, 100.0), (1.0, 320.0)))
    asked: list[str] = []

    def run(command: list[str], **_: object) -> processes.Ran:
        asked.append(command[4])
        return ran

    monkeypatch.setattr(processes, "run", run)
    monkeypatch.setattr(clips, "made", lambda _, size, length: clips.Clip(f"{length}", size, Path(f"{length}"), Path()))
    monkeypatch.setattr(clips, "real", list)
    rows = list(parts.growth(parts.Plan(folder, 2, 10), silent))
    assert asked == ["5", "5", "20", "20", "60", "60", "600", "5", "5"]
    assert [row.median for row in rows if row.what == "duikou sync"] == [1.2, 0.3, 0.1, 0.01]
    memory = [row for row in rows if row.unit == "MiB"]
    assert [row.verdicts for row in memory] == [[], [], ["met"], ["met"]]
    assert [row.what for row in rows[-2:]] == ["time for a second, against 5 s", "memory, against 60 s"]
    assert rows[-1].verdicts == ["met"]
    asked.clear()
    rows = list(parts.hour(parts.Plan(folder, 2, 10), silent))
    assert asked == ["60", "60", "3600", "60", "60"] and {row.part for row in rows} == {"hour"}
    assert rows[-2].what == "time for a second, against 60 s"
    asked.clear()
    assert not list(parts.growth_real(parts.Plan(folder, 2, 10), silent)) and not asked  # there are no real clips
    list(parts.growth(parts.Plan(folder, 1, 10, quick=True), silent))
    assert asked == ["5", "12", "24", "5"]


def test_what_slows_the_machine_meanwhile_is_no_growth(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine takes a third longer from half of the hour on."""
    seconds = iter([60.0, 60.0, 4_200.0, 80.0, 80.0])
    monkeypatch.setattr(processes, "run", lambda *_, **__: processes.Ran(next(seconds), 9.0, ((0.0, 100.0),)))
    monkeypatch.setattr(clips, "made", lambda _, size, length: clips.Clip(f"{length}", size, Path(f"{length}"), Path()))
    monkeypatch.setattr(clips, "real", list)
    rows = list(parts.hour(parts.Plan(folder, 2, 10), silent))
    assert [row.median for row in rows if row.what == "duikou sync, after 3600 s"] == [pytest.approx(80 / 60)]
    (grown,) = (row for row in rows if row.what == "time for a second, against 60 s")
    assert grown.median == pytest.approx(1.0)
    assert grown.verdicts == ["met"]


def test_a_server_is_measured(folder: Path) -> None:
    with serving.server() as server:
        assert server.ready_s > 0
        took = serving.asked(server.url, "/healthz", 0.2, callers=2)
        assert took and all(0 < one < 10 for one in took)
        with pytest.raises(RuntimeError, match="404"):
            serving.asked(server.url, serving.QUERY + "1", 5.0)


def test_a_copy_for_a_second_job_is_another_file_with_the_same_pictures(folder: Path) -> None:
    video = clips.write_portrait(folder / "once.mp4", 320, 180, 1)
    copies = [serving.another(video, folder / f"{number}.mp4", number) for number in range(2)]
    contents = {path.read_bytes() for path in (video, *copies)}
    assert len(contents) == 3
    assert {probe_video(path).frames for path in copies} == {25}
