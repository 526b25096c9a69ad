"""The warp with a slit, the choice of exemplars, the painted inside and their composition."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from duikou.arrays import Float64Array, Image
from duikou.faces import pose
from duikou.render import exemplars, interior, mesh, opening, shape
from duikou.render.compose import Exemplar, compose
from duikou.render.mouth import Mouth, Plane, Source
from duikou.render.opening import Opening
from duikou.render.outline import facing, head_mask
from duikou.render.warp import Region, Warp, lower_side, planes_of, sample, sample_bytes, sample_planes

SIDE, EYES = 400, 140.0
LIGHT = interior.Light(np.full((2, 3), 140.0))
TEETH = interior.Dentition()


def landmarks(gap: float) -> Float64Array:
    """A frontal face (478, 2) in a picture of 400 x 400 pixels, its lips `gap` eye distances apart."""
    closed = shape.close_lips(pose.canonical()[None].astype(np.float64))
    return shape.set_gap(closed, np.array([gap]))[0, :, :2] * EYES + [SIDE / 2, SIDE / 3]


def turned(degrees: float, gap: float = 0.0) -> Float64Array:
    """The same face turned to the picture's right."""
    face = shape.set_gap(shape.close_lips(pose.canonical()[None].astype(np.float64)), np.array([gap]))[0]
    turn = np.radians(degrees)
    seen = face[:, [0, 2]] @ [np.cos(turn), -np.sin(turn)]
    return np.stack([seen, face[:, 1]], 1) * EYES + [SIDE / 2, SIDE / 3]


def picture() -> Image:
    """Smooth, textured, without an edge."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    shades = [120 + 60 * np.sin(9 * x + 5 * y), 130 + 50 * np.cos(7 * y - 4 * x), 150 + 40 * np.sin(11 * y)]
    return np.stack(shades, -1).astype(np.uint8)


def region() -> Region:
    found = Region.of(landmarks(0.0), SIDE, SIDE)
    assert found is not None
    return found


def plane() -> Plane:
    """The plane of the teeth of that face."""
    return Plane(np.eye(2) * EYES, landmarks(0.0)[[mesh.UPPER_MID, mesh.LOWER_MID]].mean(0), np.zeros(2))


def mouth(gap: float, strength: float = 1.0) -> Mouth:
    return Mouth(landmarks(gap), gap, 0.0, 0.8 * gap, 0.0, strength, plane(), LIGHT, None, TEETH, 0.004, 0.0, frame=0)


def source(image: Image, points: Float64Array, gap: float) -> Source:
    found = opening.find(image, points) if gap else Opening.closed()
    return Source(image, points, gap, 0.8 * gap, plane(), found)


def test_the_same_landmarks_move_nothing() -> None:
    points, where = landmarks(0.1), region()
    still = Warp([points], points, where)
    x, y = still.lips(0, where)
    assert np.abs(x - where.axes()[0]).max() < 1e-2
    assert np.abs(y - where.axes()[1]).max() < 1e-2


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.2), (0.2, 0.0), (0.2, 0.05)])
def test_lips_go_where_they_are_wanted(before: float, after: float) -> None:
    source, target, where = landmarks(before), landmarks(after), region()
    x, y = Warp([source], target, where).lips(0, where)
    for row in (mesh.UPPER_OUTER, mesh.LOWER_OUTER):
        for point in row[2:-2]:
            column, line = np.round(target[point] - [where.x0, where.y0]).astype(int)
            assert np.hypot(*(source[point] - [x[line, column], y[line, column]])) < 2.0


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.2), (0.25, 0.0)])
def test_the_warp_folds_nowhere(before: float, after: float) -> None:
    """Down every column of pixels the source's rows rise too: between the lips they may jump, never go back."""
    where = region()
    _, y = Warp([landmarks(before)], landmarks(after), where).lips(0, where)
    steps = np.diff(y, axis=0)
    target = landmarks(after)
    opening = np.zeros(steps.shape, bool)
    top, bottom = (target[list(row), 1] - where.y0 for row in (mesh.UPPER_INNER, mesh.LOWER_INNER))
    left, right = target[[78, 308], 0] - where.x0
    opening[int(top.min()) - 2 : int(bottom.max()) + 3, int(left) - 2 : int(right) + 3] = True
    assert steps[~opening].min() > 0


@pytest.mark.parametrize(("degrees", "behind"), [(0, ()), (40, (323, 361, 288, 397)), (-40, (93, 132, 58, 172))])
def test_of_a_turned_head_the_far_jaw_and_ear_are_not_seen(degrees: float, behind: tuple[int, ...]) -> None:
    seen = facing(turned(degrees))
    assert (seen[list(behind)] < 0.1).all()
    assert (seen[[*mesh.CHIN[:4], *mesh.UPPER_OUTER[3:-3], *mesh.LOWER_OUTER[3:-3], 4]] == 1).all()


def test_what_a_turned_head_hides_does_not_move_what_it_shows() -> None:
    """The far jaw lies behind the cheek beside the lips: where it went tells nothing of that cheek."""
    before, after = turned(40), turned(40)
    where = Region.of(after, SIDE, SIDE)
    assert where is not None
    hidden = [point for point in mesh.JAW_LINE if facing(after)[point] == 0]
    before[hidden] += [0.0, 25.0]
    moved = Warp([before], after, where).lips(0, where)[1] - where.axes()[1]
    x, y = np.round(after[list(mesh.LIPS)] - [where.x0, where.y0]).astype(int).T
    assert len(hidden) > 5
    assert np.abs(moved[y, x]).max() < 0.5


@pytest.mark.parametrize("degrees", [0, 50, -50, 58])
def test_the_chin_of_a_turned_head_moves_up_to_its_edge(degrees: float) -> None:
    """The neck is fixed below the near side of the jaw alone: below the far side the picture shows the chin."""
    drop = 0.12 * EYES
    source, target = turned(degrees), turned(degrees)
    source[[*mesh.JAW_LINE[4:-4], *mesh.CHIN, *mesh.LOWER_LIP], 1] += drop
    where = Region.of(target, SIDE, 2 * SIDE)
    assert where is not None
    moved = Warp([source], target, where).lips(0, where)[1] - where.axes()[1]
    x, y = np.round(target[[152, 148, 377]] + [0, 0.05 * EYES] - [where.x0, where.y0]).astype(int).T
    assert moved[y, x].min() > 0.65 * drop


def test_the_face_is_warped_where_it_moves_alone() -> None:
    """Like the lips' own map beside the line between the lips; what moves by less than a tenth of a pixel stays."""
    before, after, where = landmarks(0.0), landmarks(0.2), region()
    warp = Warp([before], after, where)
    lips = Region.around_lips(after, 5, where)
    motion = warp.face(lips)
    part = motion.part
    face, away, changed = motion.map(part), motion.grid.at(motion.away, part), motion.changed(part, 2)
    assert lips.joined(part) == part
    assert where.joined(part) == where
    axes = part.axes()
    moved = np.maximum(*(np.abs(to - at) for to, at in zip(face, axes, strict=True)))
    assert away.max() > 5
    assert np.median(moved[away < 0.05]) < 1e-4
    assert changed[away > 5].mean() > 1.99
    assert np.median(changed[away < 0.05]) == 0
    side = lower_side(after, *axes)
    alike = (away > 0.3) & (cv2.dilate(side, np.ones((41, 41))) == cv2.erode(side, np.ones((41, 41))))
    assert alike.sum() > 1000
    for own, exact in zip(face, warp.lips(0, part), strict=True):
        assert np.abs(own - exact)[alike].max() < 0.1
    elsewhere = np.ones(where.shape, bool)
    elsewhere[part.inside(where)] = False
    for to, at in zip(warp.lips(0, where), where.axes(), strict=True):
        assert np.abs(to - at)[elsewhere].max(initial=0) < 0.25


def test_strips_hold_all_that_moves_and_the_lips_once() -> None:
    before, after, where = landmarks(0.0), landmarks(0.2), region()
    lips = Region.around_lips(after, 5, where)
    motion = Warp([before], after, where).face(lips)
    part, held = motion.part, np.zeros(motion.part.shape, np.int64)
    strips = list(motion.strips())
    for strip in strips:
        held[strip.inside(part)] += 1
    moves = np.abs(np.stack(motion.map(part)) - np.stack(np.broadcast_arrays(*part.axes()))).max(0) > 1e-3
    assert len(strips) > 1
    assert held.max() == 1
    assert held[moves].min() == 1
    assert held[lips.inside(part)].min() == 1


def test_a_region_without_another_is_all_the_rest_once() -> None:
    whole = Region(2, 3, 12, 15)
    for hole in (Region(4, 5, 9, 11), Region(2, 3, 9, 15), whole):
        held = np.zeros((15, 12), np.uint8)
        for part in (hole, *whole.without(hole)):
            part.cut(held)[:] += 1
        assert (whole.cut(held) == 1).all()
        assert held.sum() == whole.shape[0] * whole.shape[1]


def test_bytes_are_sampled_like_floats() -> None:
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    x, y = np.meshgrid(np.arange(-6, 30, 0.75, dtype=np.float32), np.arange(41, 66, 0.5, dtype=np.float32))
    for away in (0, 500):  # beyond the picture its edge is repeated
        exact = sample(image.astype(np.float32), (x + away, y))
        assert np.abs(sample_bytes(image, (x + away, y)) - exact).max() < 1e-3


def test_planes_are_sampled_like_the_picture_that_they_make() -> None:
    ramp = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)
    noise = np.random.default_rng(2).integers(0, 100, (60, 80), dtype=np.uint8)
    image = np.dstack([noise + ramp // 2, noise, noise + 150 - ramp])  # colours as smooth as videos store them
    x, y = np.meshgrid(np.arange(-6, 90, 0.75, dtype=np.float32), np.arange(-3, 66, 0.5, dtype=np.float32))
    found = np.empty((3, *x.shape), np.float32)
    sample_planes(planes_of(image), (x, y), list(found))
    green, blue, red = found
    exact = sample(image.astype(np.float32), (x, y))
    assert np.abs(cv2.merge([green + blue, green, green + red]) - exact).max() < 1
    assert np.abs(green - exact[..., 1]).max() < 1e-3


@pytest.mark.parametrize("degrees", [0, 40, -58])
def test_a_head_is_what_its_triangles_cover(degrees: float) -> None:
    points = turned(degrees, 0.15)
    whole = np.zeros((SIDE, SIDE), np.uint8)
    for corners in np.round(points[pose.triangles()] * 16).astype(np.int32):
        cv2.fillPoly(whole, [corners], 255, shift=4)
    cv2.fillPoly(whole, [np.round(points[list(mesh.INNER_RING)] * 16).astype(np.int32)], 255, shift=4)
    edge = cv2.morphologyEx(whole, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert ((head_mask(points, (SIDE, SIDE)) == whole) | edge).all()


def test_the_neck_stays_under_a_dropping_jaw() -> None:
    source, target = landmarks(0.0), landmarks(0.2)
    where = Region.of(target, SIDE, 2 * SIDE)
    assert where is not None
    _, y = Warp([source], target, where).lips(0, where)
    moved = where.axes()[1] - y
    chin = np.round(target[152] - [where.x0, where.y0]).astype(int)
    assert moved[chin[1] - 3, chin[0]] > 15
    assert np.abs(moved[chin[1] + round(0.35 * EYES) :]).max() < 3


def test_the_border_of_the_region_stays() -> None:
    image = picture()
    done = compose(source(image, landmarks(0.0), 0.0), mouth(0.2), [])
    assert done is not None
    where, pixels = done
    before = where.cut(image)
    for side in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        assert np.abs(pixels[side].astype(int) - before[side]).max() <= 1
    assert np.abs(pixels.astype(int) - before).max() > 30


def test_an_opened_mouth_is_dark_inside_and_a_closed_one_is_not_painted() -> None:
    image = np.full((SIDE, SIDE, 3), 180, np.uint8)
    for gap, dark in ((0.2, True), (0.0, False)):
        done = compose(source(image, landmarks(0.0), 0.0), mouth(gap), [])
        assert done is not None
        where, pixels = done
        middle = np.round(landmarks(gap)[[13, 14]].mean(0) - [where.x0, where.y0]).astype(int)
        assert (pixels[middle[1], middle[0]].max() < 100) == dark


def test_an_exemplar_lends_its_lips_under_the_frames_own_light() -> None:
    """The exemplar is darker and has a bright spot on its lower lip: the spot comes over, the darkness does not."""
    own = np.full((SIDE, SIDE, 3), 150, np.uint8)
    lent = np.full((SIDE, SIDE, 3), 110, np.uint8)
    points = landmarks(0.0)
    spot = np.round(points[[14, 17]].mean(0)).astype(int)
    lent[spot[1] - 2 : spot[1] + 3, spot[0] - 6 : spot[0] + 7] = 200
    done = compose(source(own, points, 0.0), mouth(0.0), [Exemplar(source(lent, points, 0.0), 1.0)])
    assert done is not None
    where, pixels = done
    assert pixels[spot[1] - where.y0, spot[0] - where.x0].mean() > 200
    corner = np.round(points[61] - [where.x0, where.y0]).astype(int)
    assert np.abs(pixels[corner[1], corner[0]].astype(int) - 150).max() < 12


def test_two_exemplars_share_their_colours_and_not_their_detail() -> None:
    """Fine stripes of one, of the other a flat, brighter skin: the stripes stay as strong as they were."""
    points = landmarks(0.0)
    stripes = np.full((SIDE, SIDE, 3), 130, np.uint8)
    stripes[:, ::4] = 90
    flat = np.full((SIDE, SIDE, 3), 140, np.uint8)
    own = np.full((SIDE, SIDE, 3), 120, np.uint8)
    spread = []
    for second in (0.0, 0.4):
        lent = [Exemplar(source(stripes, points, 0.0), 1 - second), Exemplar(source(flat, points, 0.0), second)]
        done = compose(source(own, points, 0.0), mouth(0.0), lent)
        assert done is not None
        where, pixels = done
        x, y = np.round(points[17] - [where.x0, where.y0]).astype(int)
        spread.append(float(pixels[y, x - 12 : x + 12].std()))
    assert spread[1] > 0.9 * spread[0] > 5


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.018), (0.15, 0.0)])
def test_lips_nearly_closed_show_their_own_shadow_and_neither_throat_nor_teeth(before: float, after: float) -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:] = 110, 120, 200
    points = landmarks(before)
    inside = np.round(points[list(mesh.INNER_RING)]).astype(np.int32)
    cv2.fillPoly(image, [inside], (230, 235, 240) if before else (110, 120, 200))
    done = compose(source(image, points, before), mouth(after), [])
    assert done is not None
    where, pixels = done
    x, y = np.round(landmarks(after)[[13, 14]].mean(0) - [where.x0, where.y0]).astype(int)
    line = pixels[y - 8 : y + 9, x]
    assert 80 < line[:, 2].min() < 190
    assert line[:, 0].max() < 140


def test_an_exemplar_opened_no_further_than_it_was_keeps_the_shadow_between_its_lips() -> None:
    """Its lips nearly touch and show nothing: neither the dark nor teeth are painted between them."""
    gap = 0.025
    own = np.full((SIDE, SIDE, 3), 150, np.uint8)
    lent = np.full((SIDE, SIDE, 3), 140, np.uint8)
    exemplar = source(lent, landmarks(gap), gap)
    done = compose(source(own, landmarks(0.0), 0.0), mouth(gap), [Exemplar(exemplar, 1.0)])
    assert done is not None
    where, pixels = done
    x, y = np.round(landmarks(gap)[[13, 14]].mean(0) - [where.x0, where.y0]).astype(int)
    assert np.abs(pixels[y - 8 : y + 9, x].astype(int) - 150).max() < 12


def test_an_exemplar_of_another_view_does_not_cover_the_background_beside_a_turned_face() -> None:
    points = turned(40)
    own = np.full((SIDE, SIDE, 3), 40, np.uint8)
    for corners in np.round(points[:468][pose.triangles()]).astype(np.int32):
        cv2.fillConvexPoly(own, corners, (150, 150, 150))
    lent = source(np.full((SIDE, SIDE, 3), 150, np.uint8), landmarks(0.0), 0.0)
    wanted = replace(mouth(0.0), target=points)
    done = compose(source(own, points, 0.0), wanted, [Exemplar(lent, 1.0)])
    assert done is not None
    where, pixels = done
    before = where.cut(own)
    outside = cv2.erode(np.asarray(before[..., 0] < 60, np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert pixels[outside].max() < 60


def test_background_beside_a_turned_face_is_no_light_on_its_skin() -> None:
    """An exemplar of the same skin stays as it is, however the backgrounds beside the two far cheeks differ."""
    points = turned(40)
    skin = np.full((SIDE, SIDE, 3), 150, np.uint8)
    own = np.full((SIDE, SIDE, 3), 20, np.uint8)
    for corners in np.round(points[:468][pose.triangles()]).astype(np.int32):
        cv2.fillConvexPoly(own, corners, (150, 150, 150))
    done = compose(
        source(own, points, 0.0), replace(mouth(0.0), target=points), [Exemplar(source(skin, points, 0.0), 1.0)]
    )
    assert done is not None
    where, pixels = done
    x, y = np.round(points[list(mesh.UPPER_OUTER[1:6])] - [where.x0, where.y0]).astype(int).T
    assert np.abs(pixels[y, x].astype(int) - 150).max() <= 3


def test_an_exemplar_takes_over_without_two_mouths_at_once() -> None:
    """Stripes of the frame's own lips are there in full, then gone: never half."""
    points = landmarks(0.0)
    stripes = np.full((SIDE, SIDE, 3), 140, np.uint8)
    stripes[:, ::4] = 100
    lent = Exemplar(source(np.full((SIDE, SIDE, 3), 130, np.uint8), points, 0.0), 1.0)
    for strength, share in ((0.1, 1.0), (0.2, 1.0), (0.3, 0.0), (0.4, 0.0)):
        done = compose(source(stripes, points, 0.0), mouth(0.0, strength), [lent])
        assert done is not None
        where, pixels = done
        x, y = np.round(points[17] - [where.x0, where.y0]).astype(int)
        assert pixels[y, x - 12 : x + 12].std() == pytest.approx(share * 17.3, abs=4)


def test_teeth_are_lit_from_the_side_that_the_face_is() -> None:
    image = np.full((SIDE, SIDE, 3), (100, 120, 180), np.uint8)
    image[:, : SIDE // 2] = (40, 48, 72)
    light = interior.Light.on(image, landmarks(0.1))
    left, right = light.at(np.array([-0.1, 0.1])).mean(0)
    assert right > 1.2 * left


def test_a_row_of_teeth_goes_on_under_the_lip_that_hid_it() -> None:
    """A smile's teeth, its lower lip lowered: no dark line between the two at once."""
    image = np.full((SIDE, SIDE, 3), (110, 110, 190), np.uint8)
    points = landmarks(0.1)
    cv2.fillPoly(image, [np.round(points[list(mesh.INNER_RING)]).astype(np.int32)], (215, 225, 230))
    lowered = replace(
        mouth(0.1), target=points + [0, 0.016 * EYES] * np.isin(np.arange(478), mesh.LOWER_LIP)[:, None], gap=0.116
    )
    done = compose(source(image, points, 0.1), lowered, [])
    assert done is not None
    where, pixels = done
    x, y = np.round(points[14] - [where.x0, where.y0]).astype(int)
    assert pixels[y - 4 : y + 1, x].min() > 120


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_lent_skin_is_as_sharp_as_the_frame_it_comes_into(sigma: float) -> None:
    """Grainy skin, lent from half a pixel beside: sampling there would leave half of its sharpness. And where the head
    moved the frame is soft, and so is what is lent.
    """
    grain = np.random.default_rng(1).normal(140, 12, (SIDE, SIDE)).astype(np.float32)
    grained = cv2.GaussianBlur(grain, (0, 0), 0.6)
    sharp = np.repeat(np.clip(grained, 0, 255).astype(np.uint8)[..., None], 3, 2)
    own = cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp
    points = landmarks(0.0)
    done = compose(source(np.asarray(own), points, 0.0), mouth(0.0), [Exemplar(source(sharp, points + 0.5, 0.0), 1.0)])
    assert done is not None
    where, pixels = done
    x, y = np.round(points[17] - [where.x0, where.y0]).astype(int)
    near = np.s_[y - 8 : y + 8, x - 25 : x + 25]
    new, before = (
        cv2.Laplacian(image[near][..., 0], cv2.CV_64F).var() for image in (pixels, where.cut(np.asarray(own)))
    )
    assert 0.65 < new / before < 1.4


def test_soft_skin_is_sharpened_and_the_inside_of_the_mouth_is_not() -> None:
    grain = np.random.default_rng(1).normal(140, 12, (SIDE, SIDE)).astype(np.float32)
    cv2.fillPoly(grain, [np.round(landmarks(0.14)[list(mesh.INNER_RING)]).astype(np.int32)], 40)
    grain += np.random.default_rng(2).normal(0, 12, (SIDE, SIDE)).astype(np.float32)
    own, soft = (
        np.repeat(np.clip(cv2.GaussianBlur(grain, (0, 0), sigma), 0, 255).astype(np.uint8)[..., None], 3, 2)
        for sigma in (0.6, 0.8)
    )
    points = landmarks(0.14)
    done = compose(source(own, points, 0.14), mouth(0.14), [Exemplar(source(soft, points, 0.14), 1.0)])
    assert done is not None
    where, pixels = done
    gained = []
    for place, (down, aside) in ((points[[13, 14]].mean(0), (4, 10)), (points[17], (6, 25))):
        x, y = np.round(place - [where.x0, where.y0]).astype(int)
        near = np.s_[y - down : y + down, x - aside : x + aside, 0]
        new, lent = (cv2.Laplacian(image[near], cv2.CV_64F).var() for image in (pixels, where.cut(soft)))
        gained.append(new / lent)
    assert gained[0] < 1.1
    assert gained[1] > 1.3


def test_a_mouth_without_teeth_is_painted_without() -> None:
    image = np.full((SIDE, SIDE, 3), (110, 120, 200), np.uint8)
    inside = []
    for painted in (TEETH, None):
        done = compose(source(image, landmarks(0.0), 0.0), replace(mouth(0.09), painted=painted), [])
        assert done is not None
        where, pixels = done
        x, y = np.round(landmarks(0.09)[13] - [where.x0, where.y0]).astype(int)
        inside.append(pixels[y + 2 : y + 7, x - 4].mean())
    assert inside[1] < 0.75 * inside[0]


def test_a_face_outside_the_picture_changes_nothing() -> None:
    image = picture()
    away = mouth(0.2)
    moved = replace(away, target=away.target + 2000)
    assert compose(source(image, landmarks(0.0) + 2000, 0.0), moved, []) is None


def paint(x: float, y: float, gap: float = 0.15, height: float | None = None, yaw: float = 0.0) -> float:
    opening = np.array([gap if height is None else height])
    pixels = interior.InteriorPixels(np.array([x]), np.array([y]), np.array([0.05]), opening, size=0.005)
    lean = np.array([np.tan(np.radians(yaw)), 0.0])
    shape = interior.InteriorShape(gap, 0.0, 0.8 * gap, 0.0, lean, None, TEETH)
    return float(interior.paint(pixels, shape, LIGHT).mean())


def test_upper_teeth_are_bright_the_throat_is_dark_and_a_slit_is_darker() -> None:
    assert paint(0.03, -0.02) > 100
    assert paint(0.0, 0.03) < 60
    assert paint(0.03, -0.02, gap=0.02) < 0.6 * paint(0.03, -0.02)


def test_rounded_lips_let_less_light_in() -> None:
    def bright(spread: float) -> float:
        pixels = interior.InteriorPixels(np.full(1, 0.03), np.full(1, -0.02), np.full(1, 0.05), np.full(1, 0.15), 0.005)
        return float(
            interior.paint(
                pixels, interior.InteriorShape(0.15, spread, 0.12, 0.0, np.zeros(2), None, TEETH), LIGHT
            ).mean()
        )

    assert bright(-0.1) < 0.8 * bright(0.0) < 0.8 * bright(0.03)


def test_teeth_darken_towards_the_corners_of_the_opening() -> None:
    assert paint(0.03, -0.02, height=0.01) < 0.7 * paint(0.03, -0.02)


def test_upper_teeth_stay_with_the_skull_when_the_jaw_drops() -> None:
    assert paint(0.03, 0.0, gap=0.10) == pytest.approx(paint(0.03, 0.0, gap=0.20), rel=0.15)


def test_a_turned_head_shows_more_of_one_side_of_its_teeth() -> None:
    assert paint(0.2, -0.02) == pytest.approx(paint(-0.2, -0.02), rel=0.1)
    assert paint(0.2, -0.02, yaw=35) > 1.3 * paint(-0.2, -0.02, yaw=35)


def test_a_tongue_drawn_back_leaves_the_middle_of_the_mouth_dark() -> None:
    def middle(tongue: float) -> float:
        pixels = interior.InteriorPixels(np.zeros(1), np.array([0.08]), np.array([0.11]), np.array([0.15]), size=0.005)
        shape = interior.InteriorShape(0.15, 0.0, 0.12, tongue, np.zeros(2), None, None)
        return float(interior.paint(pixels, shape, LIGHT).mean())

    assert middle(-0.8) < 0.8 * middle(0.0)


def test_lower_teeth_show_where_they_stand_high() -> None:
    def above_the_lip(low: float) -> float:
        pixels = interior.InteriorPixels(np.full(1, 0.03), np.array([0.10]), np.array([0.13]), np.array([0.15]), 0.005)
        shape = interior.InteriorShape(0.15, 0.0, 0.10, 0.0, np.zeros(2), None, replace(TEETH, low=low))
        return float(interior.paint(pixels, shape, LIGHT).mean())

    assert above_the_lip(-0.005) > 1.25 * above_the_lip(0.04)


def test_painted_teeth_differ_between_people_and_sides_and_stay_with_a_face() -> None:
    def row(rest: Float64Array) -> Float64Array:
        x = np.linspace(-0.2, 0.2, 41)
        pixels = interior.InteriorPixels(x, np.full(41, -0.01), np.full(41, 0.05), np.full(41, 0.15), 0.005)
        shape = interior.InteriorShape(0.15, 0.0, 0.12, 0.0, np.zeros(2), None, interior.Dentition.of(rest))
        return interior.paint(pixels, shape, LIGHT).mean(0)

    one, other = pose.canonical().astype(np.float64), pose.canonical().astype(np.float64)
    other[mesh.CHIN_TIP, 1] += 0.03
    assert np.abs(row(one) - row(one)[::-1]).max() > 4
    assert np.abs(row(one) - row(other)).max() > 4
    np.testing.assert_array_equal(row(one), row(one.copy()))


def test_the_dark_of_a_mouth_is_as_deep_as_the_nostrils() -> None:
    image = np.full((SIDE, SIDE, 3), 140, np.uint8)
    points = landmarks(0.1)
    assert interior.shadow_depth(image, points) is None
    for tone, depth in ((28, 0.18), (56, 0.36), (2, interior.DEPTHS[0])):
        for nostril in (79, 309):
            cv2.circle(image, np.round(points[nostril]).astype(int).tolist(), 3, (tone, tone, tone), -1)
        assert interior.shadow_depth(image, points) == pytest.approx(depth, abs=0.01)
    assert interior.shadow_depth(image, points - [0, SIDE]) is None


def test_an_open_mouth_shows_its_own_dark() -> None:
    image, points = np.full((SIDE, SIDE, 3), 140, np.uint8), landmarks(0.1)
    cv2.fillPoly(image, [np.round(points[list(mesh.INNER_RING)]).astype(np.int32)], (28, 28, 28))
    assert interior.shadow_depth(image, points) == pytest.approx(0.2, abs=0.01)
    assert interior.shadow_depth(image, landmarks(0.02)) is None


def test_a_smile_that_never_shows_its_lower_teeth_gets_them_in_the_colour_of_its_own() -> None:
    coverage = np.ones((40, 80), np.float32)
    coverage[-5:] = 0
    colours = np.full((40, 80, 3), (0.5, 0.6, 0.7), np.float32)
    own = interior.OwnTeeth(interior.RowPicture(colours, coverage, np.array([-0.4, -0.4]), 100), None)

    def lower(own: interior.OwnTeeth | None, painted: interior.Dentition | None) -> Float64Array:
        pixels = interior.InteriorPixels(np.full(1, 0.03), np.array([0.10]), np.array([0.13]), np.array([0.15]), 0.005)
        shape = interior.InteriorShape(0.15, 0.0, 0.1, 0.0, np.zeros(2), own, painted)
        return np.asarray(interior.paint(pixels, shape, LIGHT)[:, 0], np.float64)

    high = replace(TEETH, low=-0.005, brightness=1.2)
    np.testing.assert_allclose(lower(own, high) / lower(own, high)[1], np.array([0.5, 0.6, 0.7]) / 0.6, atol=0.05)
    assert lower(own, high)[1] < 0.75 * lower(None, high)[1]
    assert abs(lower(own, None)[2] - lower(None, None)[2]) < 1e-6


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
def test_the_blur_of_a_picture_is_that_of_its_hardest_edges(blur: float) -> None:
    image, points = np.full((SIDE, SIDE, 3), 200, np.uint8), landmarks(0.1)
    cv2.fillPoly(image, [np.round(points[list(interior.EYES)]).astype(np.int32)], (20, 20, 20))
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
    assert interior.edge_blur(soft, points) == pytest.approx(blur, rel=0.35)
    assert interior.edge_blur(soft, points - [0, SIDE]) is None


def test_painted_edges_are_as_soft_as_the_picture() -> None:
    own = source(np.full((SIDE, SIDE, 3), (110, 120, 180), np.uint8), landmarks(0.0), 0.0)
    slopes = []
    for blur in (0.004, 0.03):
        done = compose(own, replace(mouth(0.15), blur=blur), [])
        assert done is not None
        slopes.append(np.abs(np.diff(done[1].astype(int), axis=0)).max())
    assert slopes[1] < 0.6 * slopes[0]


@pytest.mark.parametrize(("gap", "fades"), [(0.15, True), (0.0, False)])
def test_old_corners_beside_an_open_mouth_fade(gap: float, fades: bool) -> None:
    """Dark spots where a closed mouth ends: an opening has its own corners, closed lips keep theirs."""
    image = np.full((SIDE, SIDE, 3), 160, np.uint8)
    for corner, side in ((mesh.LEFT_CORNER, -1), (mesh.RIGHT_CORNER, 1)):
        x, y = landmarks(0.0)[corner] + [side * 0.05 * EYES, 0]
        cv2.ellipse(image, (round(x), round(y)), (5, 2), 0, 0, 360, (90, 90, 90), -1)
    done = compose(source(image, landmarks(0.0), 0.0), mouth(gap), [])
    assert done is not None
    where, pixels = done
    x, y = np.round(landmarks(gap)[mesh.RIGHT_CORNER] + [0.05 * EYES, 0] - [where.x0, where.y0]).astype(int)
    spot = pixels[y - 1 : y + 2, x - 2 : x + 3].mean()
    assert (spot > 140) == fades
    assert (spot < 115) != fades


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_paint_has_the_grain_of_the_picture(strength: float) -> None:
    rng = np.random.default_rng(3)
    skin = np.full((SIDE, SIDE, 3), (110, 120, 180)) + rng.normal(0, strength, (SIDE, SIDE, 1))
    image = np.clip(np.round(skin), 0, 255).astype(np.uint8)
    found = interior.grain(image, landmarks(0.0))
    assert found is not None
    own = source(image, landmarks(0.0), 0.0)
    both = [compose(own, replace(mouth(0.2), grain=found, frame=frame), []) for frame in (1, 2)]
    assert both[0] is not None and both[1] is not None
    where = both[0][0]
    x, y = np.round(landmarks(0.2)[[13, 14]].mean(0) - [where.x0, where.y0]).astype(int)
    inside = [one[1][y - 6 : y + 7, x - 20 : x + 21].astype(float) for one in both if one is not None]
    # What differs between two frames is grain alone.
    assert (inside[1] - inside[0]).std() / np.sqrt(2) == pytest.approx(strength, abs=0.4 + 0.2 * strength)


def test_people_have_teeth_of_their_own_and_keep_them() -> None:
    face = pose.canonical().astype(np.float64)
    wide = face * [1.1, 1.0, 1.0]
    noise = np.random.default_rng(1).normal(0, 0.0005, face.shape)
    own, again, other = (interior.Dentition.of(one) for one in (face, face + noise, wide))
    assert again.fullness == pytest.approx(own.fullness, rel=0.1)
    assert again.brightness == pytest.approx(own.brightness, abs=0.01)
    assert abs(other.size - own.size) > 0.02
    assert np.abs(other.uneven - own.uneven).max() > 0.1 * interior.MM


def looks(
    gaps: npt.ArrayLike,
    yaw: npt.ArrayLike = 0.0,
    light: npt.ArrayLike = 100.0,
    bared: npt.ArrayLike = 0.0,
    inside: npt.ArrayLike = 60.0,
) -> exemplars.Looks:
    gap = np.asarray(gaps, np.float64)
    angles = np.stack([np.broadcast_to(yaw, gap.shape), np.zeros_like(gap)], 1).astype(np.float64)
    grey = np.broadcast_to(np.asarray(light, np.float32)[..., None, None], (len(gap), 4, 3))
    wide, large = np.full_like(gap, 0.5), np.full_like(gap, 150.0)
    teeth = np.broadcast_to(np.asarray(bared, np.float64), gap.shape)
    between = np.asarray(np.broadcast_to(np.asarray(inside, np.float32)[..., None], (len(gap), 3)), np.float32)
    return exemplars.Looks(np.arange(len(gap)), gap, wide, angles, large, grey, grey, between, teeth)


def test_a_face_that_wants_what_it_does_keeps_its_own_frames() -> None:
    own = looks(0.1 + 0.1 * np.sin(np.arange(40) / 2))
    choice = exemplars.choose(own, own, np.ones(40, bool))
    assert np.array_equal(choice.first, np.arange(40))
    assert not choice.share.any()


def test_a_long_speech_is_compared_in_blocks_to_the_same_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    own = looks(random.uniform(0, 0.2, 400), random.uniform(-9, 9, 400), random.uniform(90, 110, 400))
    wanted = looks(random.uniform(0, 0.2, 400))
    tracemalloc.start()
    choice = exemplars.choose(wanted, own, np.ones(400, bool))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6  # in one block it is 15e6
    monkeypatch.setattr(exemplars, "COMPARED", 400)
    whole = exemplars.choose(wanted, own, np.ones(400, bool))
    assert np.array_equal(choice.first, whole.first) and np.array_equal(choice.share, whole.share)


def test_frames_that_may_not_be_used_are_not_used() -> None:
    own = looks(0.1 + 0.1 * np.sin(np.arange(40) / 2))
    allowed = np.arange(40) % 3 > 0
    choice = exemplars.choose(own, own, allowed)
    assert allowed[choice.first].all()
    assert allowed[choice.second].all()


def test_of_two_equal_mouths_the_one_that_looks_the_same_way_is_taken() -> None:
    library = looks(np.full(20, 0.1), np.repeat([0.0, 30.0], 10))
    choice = exemplars.choose(looks(np.full(5, 0.1), 28.0), library, np.ones(20, bool))
    assert (choice.first >= 10).all()


def test_of_two_equal_mouths_the_one_in_the_same_light_is_taken() -> None:
    library = looks(np.full(20, 0.1), light=np.repeat([100.0, 160.0], 10))
    choice = exemplars.choose(looks(np.full(5, 0.1), light=158.0), library, np.ones(20, bool))
    assert (choice.first >= 10).all()


def test_lips_are_rather_closed_than_opened_by_the_warp() -> None:
    """Of a narrower and a wider mouth, as far away from the wanted one, the wider is taken."""
    floor = exemplars.GAP_FLOOR
    library = looks(np.repeat([(0.08 + floor) / 1.4 - floor, (0.08 + floor) * 1.4 - floor], 10))
    choice = exemplars.choose(looks(np.full(5, 0.08)), library, np.ones(20, bool))
    assert (choice.first >= 10).all()


def test_closed_lips_come_from_a_frame_without_a_line_of_teeth() -> None:
    library = looks(np.full(20, 0.01), bared=np.repeat([0.01, 0.0], 10))
    choice = exemplars.choose(looks(np.zeros(5)), library, np.ones(20, bool))
    assert (choice.first >= 10).all()


def test_a_mouth_that_opens_in_the_clip_closes_by_the_same_frames_backwards() -> None:
    library = looks(np.linspace(0, 0.2, 20))
    choice = exemplars.choose(looks(np.linspace(0.2, 0, 20)), library, np.ones(20, bool))
    assert (np.diff(choice.first) <= 0).all()
    assert np.diff(choice.first).min() >= -2


def test_a_wanted_mouth_that_trembles_does_not_make_the_exemplars_tremble() -> None:
    library = looks(np.linspace(0, 0.2, 40))
    trembling = 0.1 + 0.008 * (-1.0) ** np.arange(30)
    choice = exemplars.choose(looks(trembling), library, np.ones(40, bool))
    steps = np.diff(choice.first)
    assert (np.diff(np.sign(steps[steps != 0])) != 0).sum() <= 4


def test_teeth_do_not_come_and_go_with_a_gap_that_hardly_changes() -> None:
    library = looks(np.linspace(0.09, 0.11, 40), inside=60 + 40 * (np.arange(40) // 2 % 2))
    choice = exemplars.choose(looks(np.linspace(0.09, 0.11, 30)), library, np.ones(40, bool))
    assert len(set(library.inside[choice.first, 0])) == 1


def test_lips_caught_in_fast_motion_are_left_out_where_calm_ones_show_the_same() -> None:
    library = looks(np.r_[np.full(8, 0.0), 0.1, np.full(8, 0.2), np.full(3, 0.085)])
    choice = exemplars.choose(looks(np.full(5, 0.1)), library, np.ones(20, bool))
    assert (choice.first >= 17).all()


def test_a_mouth_that_mostly_shows_its_teeth_is_not_lent_a_dark_one() -> None:
    library = looks(np.full(20, 0.1), bared=np.repeat([0.0, 0.06], [6, 14]))
    choice = exemplars.choose(looks(np.full(5, 0.1)), library, np.ones(20, bool))
    assert (choice.first >= 6).all()


def test_a_gap_in_the_track_is_a_jump() -> None:
    library = replace(looks(np.repeat([0.0, 0.2], 10)), frames=np.r_[:10, 100:110])
    choice = exemplars.choose(looks(np.repeat([0.0, 0.2], 8)), library, np.ones(20, bool))
    assert choice.share[7:9].all()


def test_a_jump_between_runs_is_blended() -> None:
    library = looks(np.repeat([0.0, 0.1, 0.2], [15, 10, 15]))
    choice = exemplars.choose(looks(np.repeat([0.2, 0.0], 8)), library, np.ones(40, bool))
    assert (choice.first[:8] >= 25).all()
    assert (choice.first[8:] < 15).all()
    assert choice.share[7] > 0
    assert choice.share[8] > 0
    assert choice.share.max() < 0.5
