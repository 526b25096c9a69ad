"""Numbered sheets of single mouths, and the score of those who look at them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from mouth_maker import Drawn, draw_mouth

from benchmarks.quality import told_apart
from benchmarks.quality.mouths import SAME_GAP, SIDE, Mouth
from benchmarks.quality.sheet import BAND, GAP

REAL, OURS = (0, 200, 0), (0, 0, 200)


def some(clip: str, gaps: list[float], *, ours: bool, unit: float = 100.0) -> list[Mouth]:
    """Mouths whose pictures have one colour each: green real ones, red painted ones."""
    usual = draw_mouth(Drawn(), ours=ours, clip=clip)
    image = np.full((84, 84, 3), OURS if ours else REAL, np.uint8)
    return [replace(usual, gap=gap, time_ms=number, unit=unit, image=image) for number, gap in enumerate(gaps)]


GAPS = [0.01, 0.05, 0.08, 0.11, 0.14, 0.17]
TALKING = [
    mouth
    for clip in "abc"
    for ours in (True, False)
    for mouth in some(clip, GAPS, ours=ours, unit=100.0 if ours else 90.0)
]


def test_the_area_is_the_chance_of_ranking_a_real_mouth_higher() -> None:
    assert told_apart.area([0.9, 0.8], [0.1, 0.2]) == 1
    assert told_apart.area([0.5, 0.5], [0.5]) == 0.5
    assert told_apart.area([0.9, 0.1], [0.5, 0.5]) == 0.5
    assert told_apart.area([0.2], [0.9, 0.1]) == 0.5
    assert told_apart.area([0.1], [0.9, 0.8]) == 0


def test_answers_are_scored() -> None:
    score = told_apart.score({"1": 0.9, "2": 0.4, "3": 0.6, "4": 0.1}, {"1": True, "2": True, "3": False, "4": False})
    assert (score.area, score.real, score.ours, score.taken_real, score.taken_ours) == (0.75, 2, 2, 1, 1)
    assert str(score) == "area under the curve 0.75; taken for real: 1 of 2 of ours, 1 of 2 real ones"


@pytest.mark.parametrize(
    ("answers", "key", "message"),
    [
        ({"1": 0.5}, {"1": True, "10": False, "2": False}, "differ in the numbers 2, 10"),
        ({"1": 0.5, "2": 1.5}, {"1": True, "2": False}, "between 0 and 1"),
        ({"1": 0.5, "2": float("nan")}, {"1": True, "2": False}, "between 0 and 1"),
        ({"1": 0.5, "2": 0.5}, {"1": True, "2": True}, "real mouths and ours"),
    ],
)
def test_answers_must_fit_the_key(answers: dict[str, float], key: dict[str, bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        told_apart.score(answers, key)


def test_talking_mouths_stand_beside_the_same_persons() -> None:
    shown = told_apart.talking(TALKING, 6)
    assert len(shown) == 12
    for ours, real in zip(shown[::2], shown[1::2], strict=True):
        assert (ours.mouth.ours, real.mouth.ours) == (True, False)
        assert ours.mouth.face == real.mouth.face
        assert abs(ours.mouth.gap - real.mouth.gap) < SAME_GAP
        assert ours.unit == real.unit == 90.0
    assert {one.mouth.face for one in shown} == {"a", "b", "c"}
    assert min(one.mouth.gap for one in shown) > 0.04
    assert len({id(one.mouth) for one in shown}) == 12


def test_neither_person_nor_size_gives_an_idle_mouth_away() -> None:
    silent = [*some("idle", [0.005, *GAPS], ours=True, unit=60.0), *some("idle", [0.004] * 5, ours=False, unit=60.0)]
    withheld = some("a", GAPS, ours=True)
    shown = told_apart.idle(silent, withheld, TALKING, count=7)
    mouths = [one.mouth for one in shown]
    assert sum(mouth.ours for mouth in mouths) == sum(not mouth.ours for mouth in mouths) == 7
    own = [mouth for mouth in mouths if mouth.face == "idle"]
    assert sorted(mouth.gap for mouth in own if mouth.ours)[0] == 0.005
    assert [mouth.gap for mouth in own if not mouth.ours] == [0.004]
    strangers = [one for one in shown if not one.mouth.ours and one.unit == 60.0 and one.mouth.face != "idle"]
    assert len({one.mouth.face for one in strangers}) > 1 and len(strangers) == 3
    same = [one for one in shown if one.unit == 90.0]
    assert {one.mouth.face for one in same} == {"a"}
    assert sum(one.mouth.ours for one in same) == len(same) / 2 == 3
    assert len({id(mouth) for mouth in mouths}) == 14


def test_without_other_people_nothing_is_shown() -> None:
    assert told_apart.talking([]) == []
    assert told_apart.idle(some("idle", GAPS, ours=True), [], []) == []


def test_each_number_of_the_key_has_its_mouth_on_a_sheet(tmp_path: Path) -> None:
    shown = told_apart.talking(TALKING, 10)
    *sheets, key = told_apart.write(tmp_path, "talking", shown)
    assert [path.name for path in (*sheets, key)] == ["talking_1.png", "talking_2.png", "talking_key.json"]
    truth = told_apart.read_key(key)
    assert list(truth) == [str(number) for number in range(1, 21)]
    assert list(truth.values()) != [place % 2 == 1 for place in range(20)]
    for number, real in truth.items():
        page = np.asarray(cv2.imread(str(sheets[(int(number) - 1) // 12])))
        row, column = divmod((int(number) - 1) % 12, 4)
        top, left = GAP + row * (SIDE + BAND + GAP) + BAND, GAP + column * (SIDE + GAP)
        assert tuple(page[top + SIDE // 2, left + SIDE // 2]) == (REAL if real else OURS)
    again = told_apart.write(tmp_path / "again", "talking", shown)
    assert again[-1].read_text() == key.read_text()


def test_old_sheets_give_way_to_new_ones(tmp_path: Path) -> None:
    told_apart.write(tmp_path, "talking", told_apart.talking(TALKING, 10))
    told_apart.write(tmp_path, "talking", [])
    assert [path.name for path in tmp_path.iterdir()] == ["talking_key.json"]
    assert told_apart.read_key(tmp_path / "talking_key.json") == {}


def test_the_command_scores_both_kinds_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, key = told_apart.write(tmp_path, "talking", told_apart.talking(TALKING, 2))
    answers = {number: 0.9 if real else 0.1 for number, real in told_apart.read_key(key).items()}
    (tmp_path / "a.json").write_text(json.dumps(answers))
    lines = ["number,probability", *(f"{number}, {answer}" for number, answer in answers.items())]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    for name in ("a.json", "a.csv"):
        monkeypatch.setattr(sys, "argv", ["told_apart", "score", str(tmp_path / name), str(key)])
        assert told_apart.main() == 0
        assert capsys.readouterr().out.startswith("area under the curve 1.00; taken for real: 0 of 2 of ours, 2 of 2")
    (tmp_path / "a.csv").write_text("1,0.5\n")
    assert told_apart.main() == 1
    assert "differ in the numbers 2, 3, 4" in capsys.readouterr().err


def test_no_mouth_is_in_both_groups() -> None:
    shown = told_apart.talking(TALKING, 4)
    withheld = some("a", GAPS, ours=True)
    first, real = {id(one.mouth) for one in shown}, {id(one) for one in TALKING}
    alone, beside = (
        {id(one.mouth) for one in told_apart.idle([], withheld, TALKING, other)} & real for other in ((), shown)
    )
    assert alone & first
    assert beside and not beside & first
