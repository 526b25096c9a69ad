"""Head pose: the canonical face and the similarity fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from duikou.faces import pose
from duikou.faces.pose import Pose, canonical, fit, from_canonical, to_canonical, triangles
from duikou.faces.track import POINTS

LEFT_EYE, RIGHT_EYE, NOSE_TIP, FOREHEAD, CHIN = 33, 263, 1, 10, 152
EYE_CORNERS = [130, 33, 133, 362, 263, 359]


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Pose:
    """A face of 100 px between the eyes in the middle of a picture, turned by degrees as `Pose.degrees` counts them."""
    rotation = Rotation.from_euler("ZYX", [roll, -yaw, pitch], degrees=True).as_matrix()
    return Pose(np.array([100.0]), rotation[None], np.array([[320.0, 240.0, 0.0]]))


def test_the_canonical_face_looks_at_the_camera_with_y_down():
    face = canonical()
    assert face.shape == (POINTS, 3)
    assert np.linalg.norm(face[RIGHT_EYE] - face[LEFT_EYE]) == pytest.approx(1.0, abs=1e-6)
    assert face[LEFT_EYE, 0] < 0 < face[RIGHT_EYE, 0]
    assert face[FOREHEAD, 1] < face[NOSE_TIP, 1] < face[CHIN, 1]
    assert face[NOSE_TIP, 2] < face[LEFT_EYE, 2]


def test_the_irises_lie_between_the_corners_of_their_eyes():
    face = canonical()
    for first, corners in ((468, (33, 133)), (473, (362, 263))):
        left, right = sorted(face[list(corners), 0])
        assert left < face[first, 0] < right
        assert np.linalg.norm(face[first + 1 : first + 5].mean(0) - face[first]) < 1e-6


def test_the_triangles_cover_every_point_of_the_mesh():
    corners = triangles()
    assert corners.shape[1] == 3
    assert set(corners.ravel().tolist()) == set(range(468))
    assert all(len(set(triangle)) == 3 for triangle in corners.tolist())


@given(yaw=st.floats(-80, 80), pitch=st.floats(-60, 60), roll=st.floats(-170, 170), scale=st.floats(20, 2000))
def test_the_fit_finds_any_pose(yaw, pitch, roll, scale):
    true = turned(yaw, pitch, roll)
    true = Pose(np.array([scale]), true.rotation, true.translation)
    found = fit(from_canonical(canonical(), true))
    assert found.scale == pytest.approx(true.scale, rel=1e-3)
    np.testing.assert_allclose(found.rotation, true.rotation, atol=2e-3)
    np.testing.assert_allclose(found.translation, true.translation, atol=2e-3 * scale + 1e-2)
    np.testing.assert_allclose(found.degrees[0], [yaw, pitch, roll], atol=0.05)


def test_a_mouth_that_moves_does_not_move_the_head():
    points = from_canonical(canonical(), turned(20, 5, 3))
    still = fit(points)
    points[:, canonical()[:, 1] > 0.2, 1] += 30
    moved = fit(points)
    np.testing.assert_allclose(moved.degrees, still.degrees, atol=1e-6)


def test_a_blink_does_not_move_the_head():
    points = from_canonical(canonical(), turned(20, 5, 3))
    still = fit(points)
    points[:, EYE_CORNERS, 0] += np.array([-3, -3, 0, 0, 3, 3])
    moved = fit(points)
    np.testing.assert_allclose(moved.degrees, still.degrees, atol=1e-3)
    assert moved.scale == pytest.approx(still.scale, rel=1e-5)


def test_a_mirrored_face_gives_a_rotation_not_a_reflection():
    points = from_canonical(canonical(), turned()) * np.float32([-1, 1, 1])
    assert np.linalg.det(fit(points).rotation[0]) == pytest.approx(1.0)


def test_the_nose_at_the_right_of_the_face_is_a_positive_yaw():
    points = from_canonical(canonical(), turned(yaw=30))[0]
    middle = points[[LEFT_EYE, RIGHT_EYE], 0].mean()
    assert points[NOSE_TIP, 0] > middle + 10


def test_a_nose_that_sinks_is_a_positive_pitch():
    up, down = (from_canonical(canonical(), turned(pitch=degrees))[0] for degrees in (-20, 20))
    assert down[NOSE_TIP, 1] - down[LEFT_EYE, 1] > up[NOSE_TIP, 1] - up[LEFT_EYE, 1]


def test_points_go_to_the_canonical_head_and_back():
    generator = np.random.default_rng(0)
    points = from_canonical(canonical(), turned(-25, 10, 5)) + generator.normal(0, 3, (1, POINTS, 3)).astype(np.float32)
    found = fit(points)
    np.testing.assert_allclose(from_canonical(to_canonical(points, found), found), points, atol=1e-3)


def test_the_canonical_face_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        canonical()[0, 0] = 1.0


def test_protobuf_fields_of_every_kind_are_told_apart():
    message = bytes([0x08, 0x96, 0x01]) + bytes([0x12, 0x02, 0x41, 0x42]) + bytes([0x1D, 0, 0, 0x80, 0x3F])
    assert list(pose._fields(message)) == [(1, 150), (2, b"AB"), (3, b"\x00\x00\x80?")]
