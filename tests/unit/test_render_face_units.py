"""The table of face units and the gestures made of them."""

from __future__ import annotations

import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duikou.errors import ModelError
from duikou.faces import pose
from duikou.render import face_units, mesh
from training.gestures import measure

GESTURES = {"gap": (1, 0, 0), "width": (0, 1, 0), "jaw": (0, 0, 1), "rounding": (0, 0, 0)}


def test_the_origin_and_the_licence_of_the_table_come_with_it() -> None:
    origin = json.loads((resources.files("duikou.render") / "face_units.json").read_text())
    assert origin["licence"] == "CC0 1.0 Universal"
    assert "MakeHuman" in origin["origin"]


def test_units_move_only_what_speech_moves() -> None:
    still = np.setdiff1d(np.arange(478), mesh.MOVED)
    for unit, moved in face_units.units().items():
        assert np.all(moved[still] == 0), unit
        assert 0.05 < np.linalg.norm(moved, axis=1).max() < 0.5, unit


def test_units_are_symmetric() -> None:
    points = pose.canonical()[: pose.MESH_POINTS]
    mirrored = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=-1).argmin(1)
    for unit, moved in face_units.units().items():
        assert np.allclose(moved[: pose.MESH_POINTS], moved[mirrored] * [-1, 1, 1], atol=2e-4), unit


@pytest.mark.parametrize("gesture", GESTURES)
def test_a_gesture_changes_its_own_measure_alone(gesture: str) -> None:
    assert measure(face_units.gestures()[gesture]) == pytest.approx(GESTURES[gesture], abs=0.02)


def test_gestures_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        face_units.gestures()["gap"][0] = 1


def test_a_table_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(ModelError, match=r"face_units\.npz cannot be read"):
        face_units.units()
    (tmp_path / face_units.NAME).write_bytes(b"no table")
    with pytest.raises(ModelError, match=r"face_units\.npz cannot be read"):
        face_units.units()
    buffer = io.BytesIO()
    wrong: dict[str, Any] = dict.fromkeys(face_units.UNITS, np.zeros((468, 3)))
    np.savez(buffer, **wrong)
    (tmp_path / face_units.NAME).write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match=r"shape \(468, 3\)"):
        face_units.units()
