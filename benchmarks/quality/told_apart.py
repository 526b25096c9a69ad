"""Numbered sheets of single mouths, real and ours mixed, for whoever does not know which is which; and their score.

    python -m benchmarks.quality.told_apart score ANSWERS KEY

ANSWERS: a JSON object, or lines of CSV, that give each number the probability that its mouth is real. KEY: the file
that `make quality` wrote beside the sheets. Do not open it before you have answered.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.quality import sheet
from benchmarks.quality.mouths import OPEN, SAME_GAP, SIDE, Mouth, by_face
from duikou.arrays import Image

PAIRS = 18
"""Real mouths, and as many of ours, in a group."""

IDLE_OPEN = 3
"""Open mouths of ours from an idle clip."""

SAME_SIZE = 0.4
"""Logarithm of the ratio of two eye distances up to which mouths are filmed about as large."""

ORDER_SEED = 16
"""Of the fixed random order."""

COLUMNS, ROWS = 4, 3
"""Mouths on a sheet."""

EVEN = 0.5
"""Probability from which a mouth is taken for real."""


@dataclass(frozen=True)
class Shown:
    """One mouth on a sheet. unit: eye distance, in pixels, at which it is shown: that of the coarser of a pair."""

    mouth: Mouth
    unit: float

    @property
    def picture(self) -> Image:
        """(SIDE, SIDE, 3)."""
        return self.mouth.at(self.unit, SIDE)


@dataclass(frozen=True)
class Score:
    """How well probabilities tell real mouths from ours. area: under the curve, 0.5 is chance and 1 tells every one.
    real, ours: how many of each there are; taken_real, taken_ours: how many of each were taken for real.
    """

    area: float
    real: int
    ours: int
    taken_real: int
    taken_ours: int

    def __str__(self) -> str:
        return (
            f"area under the curve {self.area:.2f}; taken for real: {self.taken_ours} of {self.ours} of ours, "
            f"{self.taken_real} of {self.real} real ones"
        )


def area(real: npt.ArrayLike, ours: npt.ArrayLike) -> float:
    """Area under the curve: how often a real mouth (N,) gets a higher value than one of ours (M,), ties as a half."""
    higher = np.subtract.outer(np.asarray(real, np.float64), np.asarray(ours, np.float64))
    return float(((higher > 0) + 0.5 * (higher == 0)).mean())


def score(answers: Mapping[str, float], key: Mapping[str, bool]) -> Score:
    """Score the probabilities of being real, by number. key: whether the mouth is real.

    Raises `ValueError` for answers that lack a number, know one that the key does not, or are no probability.
    """
    if answers.keys() != key.keys():
        away = sorted(answers.keys() ^ key.keys(), key=lambda number: (len(number), number))
        raise ValueError(f"answers and key differ in the numbers {', '.join(away)}")
    if not all(0 <= answer <= 1 for answer in answers.values()):
        raise ValueError("a probability lies between 0 and 1")
    real, ours = ([answers[number] for number, true in key.items() if true is kind] for kind in (True, False))
    if not real or not ours:
        raise ValueError("the key needs real mouths and ours")
    taken = [sum(answer > EVEN for answer in kind) for kind in (real, ours)]
    return Score(area(real, ours), len(real), len(ours), *taken)


def talking(mouths: Sequence[Mouth], count: int = PAIRS) -> list[Shown]:
    """`count` pairs of open mouths of the same person and nearly the same gap, from all clips in turn."""
    ours = [mouth for mouth in mouths if mouth.ours and mouth.gap > OPEN]
    real = [mouth for mouth in mouths if not mouth.ours and mouth.gap > OPEN]
    return _pairs(_in_turn(ours), real, count, same_person=True)


def idle(
    mouths: Sequence[Mouth],
    withheld: Sequence[Mouth],
    others: Sequence[Mouth],
    shown: Sequence[Shown] = (),
    count: int = PAIRS,
) -> list[Shown]:
    """`count` real mouths and as many of ours that were painted without an open mouth to go by.

    mouths: of idle clips, ours and their own. withheld: ours, of talking clips whose open mouths were withheld.
    others: mouths of talking clips. shown: those already in another group; a mouth that is in both would be known as
    real. The painted mouths of an idle clip stand beside its own mouth, one that was painted as closed, and real open
    mouths of other people; those of a withheld clip beside the same person's real ones.
    """
    used = {id(one.mouth) for one in shown}
    real = [mouth for mouth in others if not mouth.ours and mouth.gap > OPEN and id(mouth) not in used]
    twins, strangers = [], []
    for own in by_face(list(mouths)).values():
        filmed, painted = ([mouth for mouth in own if mouth.ours is kind] for kind in (False, True))
        if filmed and painted:
            usual = sorted(filmed, key=lambda mouth: mouth.gap)[len(filmed) // 2]
            twin = min(painted, key=lambda mouth: abs(mouth.gap - usual.gap))
            twins += [Shown(usual, usual.unit), Shown(twin, usual.unit)]
            painted = [mouth for mouth in painted if mouth is not twin]
        strangers += _spread([mouth for mouth in painted if mouth.gap > OPEN], IDLE_OPEN)
    painted = [mouth for mouth in withheld if mouth.ours and mouth.gap > OPEN]
    known = _pairs(_in_turn(painted), real, count - len(twins) // 2 - len(strangers), same_person=True)
    used |= {id(one.mouth) for one in known}
    return twins + known + _pairs(strangers, [mouth for mouth in real if id(mouth) not in used], len(strangers))


def write(folder: Path, group: str, shown: Sequence[Shown]) -> list[Path]:
    """Write the sheets `GROUP_1.png` and so on, and the key `GROUP_key.json`, in place of older ones; return all paths,
    the key last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{group}_[0-9]*.png"):
        old.unlink()
    order = np.random.default_rng(ORDER_SEED).permutation(len(shown))
    paths, each = [], COLUMNS * ROWS
    for first in range(0, len(order), each):
        cells = [(first + place + 1, shown[one].picture) for place, one in enumerate(order[first : first + each])]
        paths.append(folder / f"{group}_{first // each + 1}.png")
        paths[-1].write_bytes(cv2.imencode(".png", sheet.numbered(cells, COLUMNS))[1].tobytes())
    key = {
        str(number): {"real": not one.mouth.ours, "face": one.mouth.face, "ms": one.mouth.time_ms, "gap": one.mouth.gap}
        for number, one in enumerate((shown[place] for place in order), 1)
    }
    paths.append(folder / f"{group}_key.json")
    paths[-1].write_text(json.dumps(key, indent=1) + "\n")
    return paths


def read_answers(path: Path) -> dict[str, float]:
    """Probabilities by number, from a JSON object or from CSV whose first line may be a heading."""
    text = path.read_text()
    if path.suffix == ".json":
        return {str(number): float(answer) for number, answer in json.loads(text).items()}
    rows = [row for row in csv.reader(text.splitlines()) if row and row[0].strip().isdigit()]
    return {row[0].strip(): float(row[1]) for row in rows}


def read_key(path: Path) -> dict[str, bool]:
    """Whether each numbered mouth is real."""
    return {number: bool(about["real"]) for number, about in json.loads(path.read_text()).items()}


def main() -> int:
    """Print the score of answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    scoring = commands.add_parser("score", help="area under the curve of answers")
    scoring.add_argument("answers", type=Path)
    scoring.add_argument("key", type=Path)
    options = parser.parse_args()
    try:
        print(score(read_answers(options.answers), read_key(options.key)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _pairs(ours: list[Mouth], real: list[Mouth], count: int, *, same_person: bool = False) -> list[Shown]:
    """At most `count` pairs of one of ours and a real mouth of nearly the same gap, which is used once.

    Those filmed about as large come first, of all people in turn.
    """
    free, used = list(real), dict.fromkeys((mouth.face for mouth in real), 0)
    shown: list[Shown] = []

    def fits(one: Mouth, mouth: Mouth) -> tuple[int, int, float]:
        size = abs(float(np.log(one.unit / mouth.unit)))
        return int(size / SAME_SIZE), used[one.face], size

    for mouth in ours:
        near = [
            one for one in free if abs(one.gap - mouth.gap) < SAME_GAP and (one.face == mouth.face or not same_person)
        ]
        if not near or len(shown) >= 2 * count:
            continue
        other = min(near, key=lambda one: fits(one, mouth))
        free = [one for one in free if one is not other]
        used[other.face] += 1
        unit = min(mouth.unit, other.unit)
        shown += [Shown(mouth, unit), Shown(other, unit)]
    return shown


def _in_turn(mouths: list[Mouth]) -> list[Mouth]:
    """The mouths of all clips in turn, those of one clip from its whole length and all gaps."""
    clips = [_spread(own, len(own)) for own in by_face(mouths).values()]
    return [own[place] for place in range(max(map(len, clips), default=0)) for own in clips if place < len(own)]


def _spread(mouths: list[Mouth], count: int) -> list[Mouth]:
    """The first `count` of an order that starts in the middle of the gaps and takes the furthest from all before it."""
    gaps = np.array([mouth.gap for mouth in mouths])
    if not len(gaps):
        return []
    chosen = [int(np.argsort(gaps)[len(gaps) // 2])]
    away = np.abs(gaps - gaps[chosen[0]])
    while len(chosen) < min(count, len(gaps)):
        away[chosen[-1]] = -1
        chosen.append(int(np.argmax(away)))
        away = np.where(away < 0, -1, np.minimum(away, np.abs(gaps - gaps[chosen[-1]])))
    return [mouths[place] for place in chosen]


if __name__ == "__main__":
    sys.exit(main())
