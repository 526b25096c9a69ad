"""The measures of quality on a made clip: the whole way from a portrait to tables, sheets and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from repeats import FULL
from small_portrait import small_portrait

from benchmarks.quality import __main__ as quality
from benchmarks.quality import clips, mouths, report, told_apart
from duikou.progress import silent

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow_repeats,
    pytest.mark.timeout(1_800),  # four short jobs
    pytest.mark.skipif(not FULL, reason="`make test-repeats` has the whole run of `make quality`"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, report.Measured]:
    """A quick run where there are no clips of real people, on a portrait of half the usual size."""
    folder = tmp_path_factory.mktemp("quality")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "MEDIA", folder / "absent")
        with small_portrait(0.5):
            return folder, quality.measured(folder, folder / "sheets", [], silent, quick=True)


def test_a_made_mouth_follows_its_speech(found: tuple[Path, report.Measured]) -> None:
    _, measured = found
    talking, idle = measured.faces
    assert (talking.name, idle.name) == ("made_talking", "made_idle")
    assert talking.rows["real"].r_gap > 0.99
    assert talking.rows["ours"].r_gap > 0.5
    assert talking.rows["ours"].r_gap > 1.3 * talking.rows["loudness only"].r_gap
    assert abs(talking.rows["ours"].lag_ms) <= talking.frame_ms
    assert talking.rows["ours"].distance < talking.rows["no change"].distance
    assert talking.rows["ours"].met == talking.rows["ours"].closures > 0
    assert not idle.rows
    assert idle.calm["ours"].pauses < idle.calm["ours"].speech


def test_a_turned_head_speaks_too(found: tuple[Path, report.Measured]) -> None:
    _, measured = found
    (turned,) = measured.hard
    assert not turned.mouths
    assert turned.name == "made_talking_turned"
    assert turned.shown > 0.8
    assert abs(turned.behind_ms) <= turned.frame_ms
    assert turned.picture is not None
    assert turned.picture.slide < 1.5 and turned.picture.seam < report.SEAM
    assert 25 < turned.yaw[0] < turned.yaw[1] < 50


def test_nothing_outside_the_face_is_touched(found: tuple[Path, report.Measured]) -> None:
    _, measured = found
    for face in (*measured.faces, *measured.hard):
        assert face.picture is not None
        assert face.picture.frames > 40
        assert face.picture.outside == 0


def test_each_face_has_a_sheet(found: tuple[Path, report.Measured]) -> None:
    folder, measured = found
    for face in measured.faces:
        page = cv2.imread(str(folder / "sheets" / f"{face.name}.png"))
        assert page is not None
        assert min(page.shape[:2]) > 500


def test_single_mouths_are_kept_and_shown(found: tuple[Path, report.Measured]) -> None:
    folder, measured = found
    talking, idle = (face.mouths for face in measured.faces)
    ours, real = ([mouth for mouth in talking if mouth.ours is kind] for kind in (True, False))
    assert len(ours) == len(real) > 20
    gaps = np.sort([[mouth.gap for mouth in kind] for kind in (ours, real)])
    assert np.abs(gaps[0] - gaps[1]).max() < mouths.SAME_GAP
    assert sum(mouth.ours for mouth in idle) > 20 > sum(not mouth.ours for mouth in idle) - 1 > 10
    assert [one.name for one in measured.edges][:2] == ["made_talking", "made_idle"]
    for path in ("contact/made_idle.png", "told_apart/talking_1.png", "told_apart/idle_1.png"):
        page = cv2.imread(str(folder / "sheets" / path))
        assert page is not None
        assert max(page.shape[:2]) > 900
    key = told_apart.read_key(folder / "sheets" / "told_apart" / "idle_key.json")
    assert sum(key.values()) == len(key) / 2 > 0


def test_withheld_openings_are_painted_as_wide(found: tuple[Path, report.Measured]) -> None:
    _, measured = found
    (wide,) = measured.wider
    assert wide.name == "made_talking"
    assert wide.mouths >= 6
    assert 0 < wide.ours < 30


def test_the_report_is_whole(found: tuple[Path, report.Measured]) -> None:
    folder, measured = found
    titles = [table.title.partition(".")[0] for table in report.tables(measured)]
    assert titles == ["Bounds", "1", "1a", "2", "3", "3a", "3b", "3c", "3d", "4a", "4b", "5", "5a", "Left out"]
    report.write_json(folder / "quality.json", measured, {})
    kept = json.loads((folder / "quality.json").read_text())
    assert [face["name"] for face in kept["faces"]] == ["made_talking", "made_idle"]
    assert {verdict["met"] for verdict in kept["verdicts"]} <= {True, False}
