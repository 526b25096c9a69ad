"""The comparison of the encoder's settings: what is measured, kept and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from media_maker import make_video
from spliced import moving

from benchmarks.performance import clips, encoders
from benchmarks.performance.encoders import BASE, CHOSEN, Encoded
from duikou.media.encode import DELIVERY
from duikou.media.video import Video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("encoders") / "moving.mp4", frames=12, paint=moving, size=(320, 240))


def test_more_bytes_are_more_like_the_source(video: Path) -> None:
    few, chosen = (encoders.measure("x", {**BASE, "crf": crf}, "clip", video, 1) for crf in ("35", BASE["crf"]))
    assert few.frame_bytes < chosen.frame_bytes
    assert 0 < few.ssim < chosen.ssim <= 1
    assert few.xpsnr < chosen.xpsnr


def test_a_part_of_a_video_is_encoded_and_every_picture_comes_back(video: Path) -> None:
    source = Video.open(video)
    given = [frame.stored for frame in source.frames(0, 7) if frame.stored is not None]
    content = encoders.encode(given, BASE, source)
    assert len(encoders.decoded(content)) == 7
    with pytest.raises(ValueError, match="6 pictures were encoded and 7 came out"):
        encoders.likeness(given[:6], content)


def test_the_chosen_setting_is_that_of_results() -> None:
    found = encoders.settings()
    assert found[CHOSEN] == {"preset": DELIVERY.preset, "crf": str(DELIVERY.crf), "bf": "0"}
    assert all(options["preset"] in encoders.PRESETS for options in found.values())
    assert found["bf 3"] == {**BASE, "bf": "3"}


def encoded(name: str, clip: str, frame_bytes: float, cpu_ms: float, ssim: float) -> Encoded:
    return Encoded(name, clip, frame_bytes, cpu_ms, ssim, 40.0, 100.0)


def test_settings_are_compared_with_the_chosen_one_on_each_clip() -> None:
    found = [
        encoded(CHOSEN, "a", 100, 10, 0.99),
        encoded(CHOSEN, "b", 1_000, 20, 0.98),
        encoded("other", "a", 150, 5, 0.991),
        encoded("other", "b", 1_300, 12, 0.978),
        encoded("not done", "a", 1, 1, 0.5),
    ]
    made = encoders.table(found)
    assert made.rows == [
        [CHOSEN, "1.00", "1.00", "+0.00", "+0.00", "+0.00", "100"],
        ["other", "1.40", "0.55", "-0.50", "-2.00", "+0.00", "100"],
    ]
    assert "15.0 ms of processor time a frame at an SSIM of 0.9850" in made.note
    assert "medians of 2 clips" in made.note


def test_what_is_kept_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[str, str]] = []

    def measured(_: Callable[..., Encoded], name: str, _options: object, clip: str, *_more: object) -> Encoded:
        if done and name == "bf 3":
            raise KeyboardInterrupt
        done.append((name, clip))
        return encoded(name, clip, 100, 10, 0.99)

    monkeypatch.setattr(encoders, "OUTPUT", tmp_path / "out/encoders.json")
    monkeypatch.setattr(encoders, "in_a_process", measured)
    monkeypatch.setattr(clips, "real", list)
    monkeypatch.setattr(clips, "made", lambda *_: clips.Clip("made", "1080p", tmp_path / "a.mp4", tmp_path / "b.wav"))
    with pytest.raises(KeyboardInterrupt):
        encoders.main(["--only", "aq-mode 0", "bf 3"])
    assert done == [(CHOSEN, "made"), ("aq-mode 0", "made")]
    done.clear()
    assert encoders.main(["--only", "aq-mode 0", "bf 3"]) == 0
    assert done == [("bf 3", "made")]
    assert [one.name for one in encoders.stored()] == [CHOSEN, "aq-mode 0", "bf 3"]
    assert "aq-mode 0" in capsys.readouterr().out
    done.clear()
    encoders.main(["--only", "aq-mode 0", "--again"])
    assert done == [(CHOSEN, "made"), ("aq-mode 0", "made")]
    assert {one.name for one in encoders.stored()} == {CHOSEN, "aq-mode 0", "bf 3"}
