"""What a measurement yields: a row of repeated values, its median, spread and floor, and the bounds it is held to."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self


@dataclass(frozen=True)
class Bound:
    """What is asked of a row: at most `limit`, or at least.

    times_floor: whether the limit is for the ratio to the floor; else it is for the value itself.
    """

    limit: float
    times_floor: bool = False
    at_least: bool = False

    @property
    def text(self) -> str:
        """The bound in words."""
        return f"{'>=' if self.at_least else '<='} {self.limit:g}{' x floor' if self.times_floor else ''}"

    def met(self, figure: float) -> bool:
        """Whether a figure is within the bound."""
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True)
class Taken:
    """When and on what a row was measured.

    commit: of the code, as `revision.measured` tells it. machine: its cores and its software. load: of the machine
    before, the average of one minute.
    """

    date: str
    commit: str
    machine: str
    runs: int
    load: float


@dataclass(frozen=True)
class Row:
    """One quantity on one clip.

    part: the part of the benchmark that measured it. unit: of the values. values: one of each round.
    floor: the values of the floor in the same rounds and unit; empty where there is none.
    cpu, cpu_floor: processor time of all threads and finished child processes, in the same unit.
    stages: medians of the parts of a job, in the order in which they ran. series: (seconds, value) over one run.
    length_s: of the clip, where rows of several lengths are compared. taken: `None` until the row is kept.
    """

    part: str
    clip: str
    what: str
    unit: str
    values: tuple[float, ...]
    floor: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    cpu_floor: tuple[float, ...] = ()
    bounds: tuple[Bound, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    series: tuple[tuple[float, float], ...] = ()
    length_s: float = 0.0
    taken: Taken | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two rows the same quantity."""
        return self.part, self.clip, self.what

    def kept(self, taken: Taken) -> Row:
        """The row with when and on what it was measured."""
        return replace(self, taken=taken)

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """The largest value less the smallest, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    @property
    def cpu_median(self) -> float | None:
        """The median of the processor time, if it was measured."""
        return statistics.median(self.cpu) if self.cpu else None

    @property
    def floor_median(self) -> float | None:
        """The median of the floor, if there is one."""
        return statistics.median(self.floor) if self.floor else None

    @property
    def to_floor(self) -> float | None:
        """The median of the rounds' ratios to their own floors: what slows a whole round slows both."""
        return _ratio(self.values, self.floor)

    @property
    def cpu_to_floor(self) -> float | None:
        """The same of processor time, which other work on the machine changes less."""
        return _ratio(self.cpu, self.cpu_floor)

    def figure(self, bound: Bound) -> float:
        """What a bound is compared with. Raises `ValueError` where it asks for a floor and there is none."""
        if not bound.times_floor:
            return self.median
        if self.to_floor is None:
            raise ValueError(f"{self.what}: there is no floor to compare with")
        return self.to_floor

    @property
    def verdicts(self) -> list[str]:
        """`met`, or by how much it was missed, for each bound."""
        found = []
        for bound in self.bounds:
            figure = self.figure(bound)
            found.append("met" if bound.met(figure) else f"missed: {figure:.3g}")
        return found

    def as_json(self) -> dict[str, Any]:
        """The row as plain values, with its derived figures."""
        derived = {"median": self.median, "spread": self.spread, "to_floor": self.to_floor}
        return asdict(self) | derived | {"cpu_to_floor": self.cpu_to_floor, "verdicts": self.verdicts}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Self:
        """The row that `as_json` described."""
        series: dict[str, Any] = {name: tuple(told[name]) for name in ("values", "floor", "cpu", "cpu_floor")}
        bounds = tuple(Bound(**bound) for bound in told["bounds"])
        plain = {name: told[name] for name in ("part", "clip", "what", "unit", "stages", "length_s")}
        taken = Taken(**told["taken"]) if told["taken"] else None
        points = tuple((x, y) for x, y in told["series"])
        return cls(**plain, **series, bounds=bounds, series=points, taken=taken)


def _ratio(values: Sequence[float], floor: Sequence[float]) -> float | None:
    if not values or not floor or not all(floor):
        return None
    return statistics.median(value / least for value, least in zip(values, floor, strict=True))


def medians(stages: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each stage over several rounds; a stage that a round lacks took no time in it."""
    rounds = list(stages)
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: statistics.median(one.get(name, 0.0) for one in rounds) for name in names}


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed. Raises `ValueError` for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values")
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def thinned(series: Sequence[tuple[float, float]], most: int = 200) -> tuple[tuple[float, float], ...]:
    """At most so many points of a series (x, y): of each stretch the one with the largest y, so that peaks stay."""
    if len(series) <= most:
        return tuple(series)
    edges = [len(series) * number // most for number in range(most + 1)]
    return tuple(max(series[first:last], key=lambda point: point[1]) for first, last in itertools.pairwise(edges))
