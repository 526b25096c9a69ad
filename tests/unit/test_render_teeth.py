"""The opening between the lips, the rows of teeth in it, and their way into another mouth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from duikou.arrays import Float64Array, Image
from duikou.faces import pose
from duikou.faces.track import FacePicture
from duikou.render import interior, mesh, opening, own_teeth, references, shape
from duikou.render.compose import Exemplar, compose
from duikou.render.mouth import Mouth, Plane, Source
from duikou.render.opening import Opening

SIDE, EYES = 400, 140.0
SKIN, LIPS, TEETH, TONGUE, THROAT = (140, 160, 205), (90, 90, 190), (215, 225, 230), (100, 95, 165), (20, 20, 40)
LIGHT = interior.Light(np.tile(np.array(SKIN, np.float64), (2, 1)))
UPPER_MARK, LOWER_MARK = (250, 200, 200), (200, 250, 230)
"""Colours of one tooth of each row."""


def landmarks(gap: float) -> Float64Array:
    """A frontal face (478, 2) in a picture of 400 x 400 pixels, its lips `gap` eye distances apart."""
    closed = shape.close_lips(pose.canonical()[None].astype(np.float64))
    return shape.set_gap(closed, np.array([gap]))[0, :, :2] * EYES + [SIDE / 2, SIDE / 3]


def line() -> float:
    """Where the lips meet: the picture's row."""
    return float(landmarks(0.0)[[13, 14], 1].mean())


def face(gap: float, *, upper: float = 0.0, lower: float = 0.0, inside: tuple[int, int, int] = THROAT) -> Image:
    """That face. upper, lower: how far, in eye distances, the rows reach: the upper one below the line where the lips
    meet, the lower one above the place where it stands when the jaw is down.
    """
    points, image = landmarks(gap), np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    cv2.fillPoly(image, [np.round(points[list(mesh.OUTER_RING)]).astype(np.int32)], LIPS)
    mouth = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mouth, [np.round(points[list(mesh.INNER_RING)]).astype(np.int32)], 1)
    image[mouth > 0] = inside
    down = interior.INCISOR_PER_JAW * 0.8 * gap
    rows = np.mgrid[:SIDE, :SIDE][0]
    for there, colour in (
        (rows < line() + upper * EYES, TEETH),
        (rows > line() + (down - lower) * EYES, TEETH),
    ):
        if (upper if colour is TEETH and there[0, 0] else lower) > 0:
            image[(mouth > 0) & there] = colour
    return image


def source(image: Image, gap: float, points: Float64Array | None = None) -> Source:
    points = landmarks(gap) if points is None else points
    plane = Plane(np.eye(2) * EYES, np.array([landmarks(0.0)[13, 0], line()]), np.zeros(2))
    found = opening.find(image, points) if gap else Opening.closed()
    return Source(image, points, gap, 0.8 * gap, plane, found)


def mouth(gap: float, teeth: interior.OwnTeeth | None = None) -> Mouth:
    plane = Plane(np.eye(2) * EYES, np.array([landmarks(0.0)[13, 0], line()]), np.zeros(2))
    return Mouth(
        landmarks(gap), gap, 0.0, 0.8 * gap, 0.0, 1.0, plane, LIGHT, teeth, None, blur=0.004, grain=0.0, frame=0
    )


def column(done: tuple[object, Image] | None, x: int | None = None) -> tuple[Float64Array, int]:
    """The pixels of one column of a composed region, by default the middle, and the picture's row of the first."""
    assert done is not None
    region, pixels = done
    where = region
    x0, y0 = (getattr(where, name) for name in ("x0", "y0"))
    middle = round(float(landmarks(0.0)[13, 0])) if x is None else x
    return pixels[:, middle - x0].astype(np.float64), y0


def pale_rows(done: tuple[object, Image] | None) -> list[tuple[float, float]]:
    """Where the runs of tooth pixels in the middle column begin and end, in eye distances below the lips' line."""
    pixels, y0 = column(done)
    teeth = np.pad((pixels.min(1) > 150) & (np.ptp(pixels, axis=1) < 45), 1)
    low, high = (landmarks(0.0)[k, 1] for k in (0, 17))
    edges = np.flatnonzero(np.diff(teeth.astype(int))) + y0
    runs = edges.reshape(-1, 2)
    return [((a - line()) / EYES, (b - line()) / EYES) for a, b in runs if low - 40 < a < high + 60]


@pytest.mark.parametrize(("inside", "height"), [(TEETH, 0.06), (THROAT, 0.0), (LIPS, 0.0)])
def test_only_teeth_are_bared(inside: tuple[int, int, int], height: float) -> None:
    assert opening.find(face(0.06, inside=inside), landmarks(0.06)).bared == pytest.approx(height, abs=0.015)


def test_a_line_of_teeth_is_found_where_the_landmarks_see_closed_lips() -> None:
    assert opening.find(face(0.025, inside=TEETH), landmarks(0.0)).bared > 0.01
    assert opening.find(face(0.0, inside=LIPS), landmarks(0.0)).bared < 0.002


@pytest.mark.parametrize("off", [-0.015, 0.0, 0.015])
def test_the_edges_of_the_lips_are_found_beside_their_landmarks(off: float) -> None:
    found = opening.find(face(0.12), landmarks(0.12) + np.array([0, off * EYES]))
    assert found.edges[:, 2:-2] == pytest.approx(np.full((2, 5), -off), abs=0.006)
    true, seen = landmarks(0.12), found.lip_edges(landmarks(0.12) + np.array([0, off * EYES]))
    for row, edge in zip((mesh.UPPER_INNER, mesh.LOWER_INNER), seen, strict=True):
        assert np.abs(edge[4:7] - true[list(row[4:7])]).max() < 1.5


def test_lips_that_touch_beside_a_narrow_opening_are_seen_to_touch() -> None:
    image = face(0.1)
    image[:, : SIDE // 2 - 18] = np.where(
        (image[:, : SIDE // 2 - 18] == THROAT).all(-1, keepdims=True), LIPS, image[:, : SIDE // 2 - 18]
    )
    found = opening.find(image, landmarks(0.1))
    assert found.touching[:2].tolist() == [1, 1]
    assert found.touching[4:].tolist() == [0] * 5
    upper, lower = found.lip_edges(landmarks(0.1))
    assert np.abs(upper[1:3] - lower[1:3]).max() < 0.5


def test_the_rows_are_told_from_each_other_and_from_what_lies_between() -> None:
    found = opening.find(face(0.2, upper=0.02, lower=0.03), landmarks(0.2))
    top = float(landmarks(0.2)[13, 1])
    height = float(landmarks(0.2)[14, 1]) - top
    assert found.has_upper and found.has_lower
    assert found.upper[4] == pytest.approx((line() + 0.02 * EYES - top) / height, abs=0.06)
    down = interior.INCISOR_PER_JAW * 0.8 * 0.2
    assert found.lower[4] == pytest.approx((line() + (down - 0.03) * EYES - top) / height, abs=0.06)
    none = opening.find(face(0.2), landmarks(0.2))
    assert not none.has_upper and not none.has_lower


@pytest.mark.parametrize(("start", "upper"), [(0.3, True), (0.45, True), (0.65, False)])
def test_a_row_alone_is_the_upper_one_also_below_a_bared_gum(start: float, upper: bool) -> None:
    """From `start`, a share of the opening, down to the lower lip there are teeth; gum or tongue above."""
    points = landmarks(0.2)
    image = face(0.2, inside=TONGUE)
    top, bottom = (float(points[k, 1]) for k in (13, 14))
    rows = np.mgrid[:SIDE, :SIDE][0] > top + start * (bottom - top)
    image[rows & (image == TONGUE).all(-1)] = TEETH
    found = opening.find(image, points)
    assert (found.has_upper, found.has_lower) == (upper, not upper)


def test_clenched_rows_part_at_the_dark_line_between_them() -> None:
    image, points = face(0.12, inside=TEETH), landmarks(0.12)
    assert not opening.find(image, points).has_lower
    row = round(line() + 0.015 * EYES)
    image[row - 1 : row + 1][(image[row - 1 : row + 1] == TEETH).all(-1)] = (150, 160, 170)
    found = opening.find(image, points)
    share = (row - float(points[13, 1])) / float(points[14, 1] - points[13, 1])
    assert found.upper[2:-2] == pytest.approx(np.full(5, share), abs=0.08)
    assert found.lower[2:-2] == pytest.approx(found.upper[2:-2])


def test_a_clenched_smile_comes_apart_when_the_jaw_opens() -> None:
    """The upper row stays where it is, the lower row goes down with the jaw; neither grows; it is dark between them."""
    image = face(0.1, inside=TEETH)
    row = round(line() + 0.01 * EYES)
    image[row - 1 : row + 1][(image[row - 1 : row + 1] == TEETH).all(-1)] = (150, 160, 170)
    before = pale_rows(compose(source(image, 0.1), mouth(0.1), []))
    after = pale_rows(compose(source(image, 0.1), mouth(0.22), []))
    assert len(after) == 2
    upper, lower = after
    assert upper[1] == pytest.approx(before[0][1], abs=0.02)
    moved = interior.INCISOR_PER_JAW * 0.8 * (0.22 - 0.1)
    assert lower[0] - before[-1][0] == pytest.approx(moved, abs=0.02)


def test_teeth_keep_their_height_when_the_lips_part_further() -> None:
    image = face(0.1, upper=0.02, inside=TONGUE)
    heights = [
        pale_rows(
            compose(
                source(image, 0.1),
                mouth(gap),
                [],
            )
        )[0][1]
        for gap in (0.1, 0.14, 0.2)
    ]
    assert heights == pytest.approx([0.02] * 3, abs=0.012)


def test_an_exemplar_that_is_opened_further_lends_its_lips_and_not_longer_teeth() -> None:
    image = face(0.1, upper=0.02, inside=TONGUE)
    lent = [Exemplar(source(image, 0.1), 1.0)]
    rows = pale_rows(compose(source(face(0.0), 0.0), mouth(0.2), lent))
    assert rows[0][1] == pytest.approx(0.03, abs=0.01)


def test_a_row_of_teeth_goes_on_under_the_lip_that_hid_it() -> None:
    """A smile's teeth, the lower lip lowered a little: no dark line between the two at once."""
    image = face(0.1, inside=TEETH)
    lowered = replace(
        mouth(0.1),
        target=landmarks(0.1) + [0, 0.012 * EYES] * np.isin(np.arange(478), mesh.LOWER_LIP)[:, None],
        gap=0.112,
    )
    pixels, y0 = column(compose(source(image, 0.1), lowered, []))
    y = round(float(landmarks(0.1)[14, 1])) - y0
    assert pixels[y - 4 : y + 1].min() > 120


def marked(gap: float, *, upper: float = 0.0, lower: float = 0.0) -> Image:
    """The face with one tooth of each row marked."""
    image = face(gap, upper=upper, lower=lower)
    left = round(float(landmarks(0.0)[13, 0]))
    teeth = (image == TEETH).all(-1)
    high = np.mgrid[:SIDE, :SIDE][0] < line() + 0.03 * EYES
    for there, colour in ((high, UPPER_MARK), (~high, LOWER_MARK)):
        part = teeth & there
        part[:, : left + 2] = part[:, left + 10 :] = False
        image[part] = colour
    return image


def test_the_teeth_of_other_frames_show_between_lips_that_show_none() -> None:
    teeth = own_teeth.collect([(source(marked(0.2, upper=0.02, lower=0.04), 0.2), LIGHT)], EYES)
    assert teeth is not None and teeth.upper is not None and teeth.lower is not None
    left = round(float(landmarks(0.0)[13, 0]))
    for gap in (0.14, 0.24):
        pixels, y0 = column(compose(source(face(0.0, inside=LIPS), 0.0), mouth(gap, teeth), []), left + 6)
        down = interior.INCISOR_PER_JAW * 0.8 * gap
        for place, colour in ((0.005, UPPER_MARK), (down - 0.02, LOWER_MARK)):
            found = pixels[round(line() + place * EYES) - y0]
            assert found.min() > 100
            assert np.argmax(found) == np.argmax(colour)


def test_a_frame_that_shows_its_teeth_keeps_its_own() -> None:
    teeth = own_teeth.collect([(source(marked(0.2, upper=0.02), 0.2), LIGHT)], EYES)
    left = round(float(landmarks(0.0)[13, 0]))
    pixels, y0 = column(compose(source(face(0.1, upper=0.02), 0.1), mouth(0.1, teeth), []), left + 6)
    assert np.ptp(pixels[round(line()) - y0]) < 30


def test_the_picture_of_a_row_adds_what_single_frames_hide_and_is_as_sharp_as_the_sharpest() -> None:
    """A sharp frame hides what a soft one with wider lips shows."""
    frames = [face(gap, upper=0.03) for gap in (0.09, 0.24)]
    for image in frames:
        image[(np.arange(SIDE) // 4 % 2 == 0)[None] & (image == TEETH).all(-1)] = (175, 185, 190)
    frames[1] = np.asarray(cv2.GaussianBlur(frames[1], (0, 0), 2.0), np.uint8)
    views = [(source(image, gap), LIGHT) for image, gap in zip(frames, (0.09, 0.24), strict=True)]
    alone, soft, both = (own_teeth.collect(some, EYES) for some in (views[:1], views[1:], views))
    pictures = [one.upper for one in (alone, soft, both) if one is not None and one.upper is not None]
    assert len(pictures) == 3
    x, y = round(-pictures[0].corner[0] * EYES), round((0.01 - pictures[0].corner[1]) * EYES)
    sharpness = [one.colours[y, x - 20 : x + 20].std() for one in pictures]
    assert sharpness[2] > 0.9 * sharpness[0] > 1.1 * sharpness[1]
    high = round((-0.04 - pictures[0].corner[1]) * EYES)
    assert pictures[0].coverage[high, x - 10 : x + 10].max() < 0.4
    assert pictures[2].coverage[high, x - 10 : x + 10].min() > 0.7


def picture(
    image: Image, gap: float, *, zoom: float = 1.0, gains: tuple[float, float, float] = (1, 1, 1)
) -> FacePicture:
    """A picture of that face as a reference, enlarged and in another light: gains of blue, green and red."""
    closed = shape.close_lips(pose.canonical()[None].astype(np.float64))
    points = shape.set_gap(closed, np.array([gap]))[0] * EYES + np.array([SIDE / 2, SIDE / 3, 0])
    lit = np.clip(image * np.array(gains), 0, 255).astype(np.uint8)
    size = round(SIDE * zoom), round(SIDE * zoom)
    large = np.asarray(cv2.resize(lit, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    points[:, :2] = (points[:, :2] + 0.5) * zoom - 0.5
    return FacePicture(large, (points * [1, 1, zoom]).astype(np.float32))


@pytest.mark.parametrize("zoom", [0.7, 1.0, 2.3])
@pytest.mark.parametrize("gains", [(1.0, 1.0, 1.0), (0.7, 0.9, 0.95)])
def test_a_reference_lends_its_teeth_in_their_size_and_in_the_light_of_the_clip(
    zoom: float, gains: tuple[float, float, float]
) -> None:
    image = marked(0.2, upper=0.02, lower=0.04)
    lent = references.teeth([picture(image, 0.2, zoom=zoom, gains=gains)], EYES, 0.004)
    own = references.teeth([picture(image, 0.2)], EYES, 0.004)
    assert lent is not None and lent.upper is not None and lent.lower is not None
    assert own is not None
    assert lent.upper.scale <= 1.01 * EYES
    left = round(float(landmarks(0.0)[13, 0]))
    for gap in (0.14, 0.24):
        shown, expected = (compose(source(face(0.0, inside=LIPS), 0.0), mouth(gap, teeth), []) for teeth in (lent, own))
        pixels, y0 = column(shown, left + 6)
        down = interior.INCISOR_PER_JAW * 0.8 * gap
        for place, colour in ((0.005, UPPER_MARK), (down - 0.012, LOWER_MARK)):
            found, beside = (one[round(line() + place * EYES) - y0] for one in (pixels, column(shown, left - 6)[0]))
            assert found.min() > 100
            assert np.argmax(found - beside) == np.argmax(np.array(colour) - TEETH)
        ends = [pale_rows(one) for one in (shown, expected)]
        assert ends[0] == [pytest.approx(run, abs=0.015) for run in ends[1]]
        colours = [column(one, left - 10)[0][round(line() + 0.005 * EYES) - y0] for one in (shown, expected)]
        assert colours[0] == pytest.approx(colours[1], abs=8)


@pytest.mark.parametrize(("upper", "lower", "ends", "starts"), [(0.08, 0.0, 0.04, None), (0.02, 0.07, 0.02, -0.025)])
def test_rows_of_a_reference_are_placed_where_teeth_can_be(
    upper: float, lower: float, ends: float, starts: float | None
) -> None:
    """A smile raises the lip, and an open mouth does not tell exactly how far the jaw is down."""
    lent = references.teeth([picture(face(0.2, upper=upper, lower=lower), 0.2)], EYES, 0.0)
    assert lent is not None and lent.upper is not None
    assert references._edge(lent.upper, up=True) == pytest.approx(ends, abs=0.015)
    assert (lent.lower is None) == (starts is None)
    if lent.lower is not None:
        assert references._edge(lent.lower, up=False) == pytest.approx(starts, abs=0.015)


def test_a_reference_that_shows_lower_teeth_alone_lends_none() -> None:
    assert references.teeth([picture(face(0.2, lower=0.04), 0.2)], EYES, 0.0) is None


def test_a_reference_is_no_sharper_than_the_clip() -> None:
    image = marked(0.2, upper=0.03)
    soft, sharp = (references.teeth([picture(image, 0.2)], EYES, blur) for blur in (0.03, 0.0))
    steps = []
    for teeth in (soft, sharp):
        assert teeth is not None and teeth.upper is not None
        row = teeth.upper.colours[round((0.005 - teeth.upper.corner[1]) * teeth.upper.scale)]
        steps.append(float(np.abs(np.diff(row[30:60], axis=0)).max()))
    assert steps[0] < 0.7 * steps[1]


def test_a_row_that_the_clip_shows_is_not_taken_from_a_reference() -> None:
    own, lent = (
        own_teeth.collect([(source(marked(0.2, upper=upper, lower=lower), 0.2), LIGHT)], EYES)
        for upper, lower in ((0.02, 0.0), (0.02, 0.04))
    )
    assert own is not None and lent is not None and lent.lower is not None
    both = own.with_missing(lent)
    assert both.upper is own.upper
    assert both.lower is lent.lower
    assert own.with_missing(None) is own


def test_a_reference_with_a_closed_mouth_or_without_teeth_lends_none() -> None:
    for image, gap in ((face(0.0), 0.0), (face(0.2), 0.2)):
        assert references.teeth([picture(image, gap)], EYES, 0.004) is None
    assert references.teeth([], EYES, 0.004) is None


def test_a_view_that_takes_two_rows_for_one_does_not_spoil_the_row() -> None:
    """A tall block of teeth at one side, in the view that shows most."""
    good, bad = face(0.2, upper=0.02), face(0.2, upper=0.09)
    cut = bad[round(line() + 0.02 * EYES) :, SIDE // 2 :]
    cut[(cut == TEETH).all(-1)] = THROAT
    views = [(source(image, 0.2), LIGHT) for image in (bad, good)]
    spoilt, found = own_teeth.collect(views[:1], EYES), own_teeth.collect(views, EYES)
    assert spoilt is None or spoilt.upper is None
    assert found is not None and found.upper is not None


def test_a_mouth_that_shows_no_teeth_makes_no_picture() -> None:
    assert own_teeth.collect([(source(face(0.2), 0.2), LIGHT)], EYES) is None
    assert own_teeth.collect([], EYES) is None


def test_a_mouth_of_many_pixels_is_painted_and_lent() -> None:
    """More than 32,766 of them, OpenCV's limit of rows: a close-up in 4K."""
    large = 12
    image = np.asarray(cv2.resize(face(0.2, upper=0.02)[100:240, 130:270], None, fx=large, fy=large), np.uint8)
    points = (landmarks(0.2) - [130, 100]) * large
    plane = Plane(
        np.eye(2) * EYES * large, (np.array([landmarks(0.0)[13, 0], line()]) - [130, 100]) * large, np.zeros(2)
    )
    own = Source(image, points, 0.2, 0.16, plane, opening.find(image, points))
    teeth = own_teeth.collect([(own, LIGHT)], EYES)
    wanted = Mouth(
        (landmarks(0.24) - [130, 100]) * large,
        0.24,
        0.0,
        0.19,
        0.0,
        1.0,
        plane,
        LIGHT,
        teeth,
        None,
        blur=0.004,
        grain=0.0,
        frame=0,
    )
    done = compose(own, wanted, [])
    assert done is not None
    assert np.ptp(done[1]) > 100


@pytest.mark.parametrize("count", [1, 2, 5, 20, 21, 40, 147, 300])
def test_the_least_brightness_is_the_percentile_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert opening._low(values) == np.percentile(values, 5)
