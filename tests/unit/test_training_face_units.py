"""Fitting MakeHuman's head to the landmarks, on meshes small enough to know the answer; fitting the gestures."""

from __future__ import annotations

import numpy as np
import pytest

from duikou.render import face_units, mesh
from training import face_units as head
from training import gestures

SIDE = 4


def tube() -> list[list[int]]:
    """Rings of `SIDE` vertices, three high: four-sided faces around a tube."""
    return [
        [row * SIDE + n, row * SIDE + (n + 1) % SIDE, (row + 1) * SIDE + (n + 1) % SIDE, (row + 1) * SIDE + n]
        for row in range(2)
        for n in range(SIDE)
    ]


def test_only_the_skin_of_a_head_is_read() -> None:
    text = "# a head\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\ng body\nf 1/1 2/2 3/3 4/4\ng joint-head\nf 1/1 2/2 3/3\n"
    found = head.Head.read(text)
    assert found.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert found.faces == [[0, 1, 2, 3]]


def test_a_loop_of_edges_goes_straight_around() -> None:
    assert head.Loops(tube()).through(SIDE, SIDE + 1) == [4, 5, 6, 7]


def test_a_loop_that_meets_a_border_is_an_error() -> None:
    with pytest.raises(ValueError, match="ends at 8"):
        head.Loops(tube()).through(SIDE, 2 * SIDE)


@pytest.mark.parametrize(
    ("point", "nearest", "distance"),
    [
        ((0.2, 0.3, 0.5), (0.2, 0.3, 0.0), 0.5),
        ((0.5, -1.0, 0.0), (0.5, 0.0, 0.0), 1.0),
        ((2.0, 2.0, 0.0), (0.5, 0.5, 0), 2.12),
    ],
)
def test_the_nearest_place_on_a_triangle(
    point: tuple[float, ...], nearest: tuple[float, ...], distance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "FRAGMENTS", [1])
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    weights, found = head._nearest(np.array([point]), vertices, np.array([[0, 1, 2]]))
    assert (weights @ vertices)[0] == pytest.approx(nearest)
    assert weights.sum() == pytest.approx(1)
    assert found[0] == pytest.approx(distance, abs=0.01)


def test_a_targets_lines_are_displacements_of_vertices() -> None:
    assert head._unit("# comment\n1 0 -.5 .25\n", 3).tolist() == [[0, 0, 0], [0, -0.5, 0.25], [0, 0, 0]]


def test_the_shares_behind_known_motion_are_found() -> None:
    table = np.array(list(face_units.units().values())[:-1])
    shares = np.array([face_units.GESTURES[name][:-1] for name in gestures.MEASURED])
    rng = np.random.default_rng(1)
    takes = []
    for clip in ("one", "two"):
        measures = rng.uniform((0, -0.1, 0), (0.2, 0.1, 0.1), (50, 3))
        empty = gestures.Take(clip, np.zeros((50, 478, 3)), measures)
        takes.append(gestures.Take(clip, gestures.predict(empty, shares, table), measures))
    found = gestures.fit(takes, table)
    for take in takes:
        wrong = gestures.errors(take, gestures.predict(take, found, table))[:, list(mesh.MOVED)]
        assert wrong.mean() < 0.002
    for gesture, wanted in zip(found, np.eye(3), strict=True):
        assert gestures.measure(np.tensordot(gesture, table, 1)) == pytest.approx(wanted, abs=1e-6)
