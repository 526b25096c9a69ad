"""What is copied and what is encoded, for groups of pictures of any kind."""

from itertools import pairwise

import numpy as np
import pytest

from duikou.media.groups import LEAST, Groups, Stretch
from duikou.media.h264 import ParameterSets

SETS = ParameterSets((b"",), (b"",))


def groups(frames: list[int], starts: list[int], joints: list[int] | None = None) -> Groups:
    return Groups(SETS, np.array(frames), np.arange(len(frames)), np.array(starts), np.array(joints or [], np.int64))


def in_order(total: int, every: int, joints: list[int] | None = None) -> Groups:
    return groups([*range(total)], [*range(0, total, every)], joints)


def changed(total: int, *numbers: int) -> np.ndarray:
    found = np.zeros(total, bool)
    found[list(numbers)] = True
    return found


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((), [(0, 200, True)]),
        ((70,), [(0, 70, True), (70, 100, False), (100, 200, True)]),
        ((0,), [(0, 50, False), (50, 200, True)]),
        ((199,), [(0, 198, True), (198, 200, False)]),  # not an IDR picture alone, though nothing follows
        ((99,), [(0, 98, True), (98, 100, False), (100, 200, True)]),
        ((51,), [(0, 50, True), (50, 100, False), (100, 200, True)]),  # one picture before it is not worth a part
        ((70, 120), [(0, 70, True), (70, 150, False), (150, 200, True)]),  # 20 frames between are too few
        ((70, 130), [(0, 70, True), (70, 100, False), (100, 130, True), (130, 150, False), (150, 200, True)]),
    ],
)
def test_a_group_is_copied_up_to_the_first_change(
    numbers: tuple[int, ...], expected: list[tuple[int, int, bool]]
) -> None:
    assert in_order(200, 50).stretches(changed(200, *numbers)) == tuple(Stretch(*one) for one in expected)


def test_a_short_video_without_changes_is_copied() -> None:
    assert in_order(5, 5).stretches(changed(5)) == (Stretch(0, 5, True),)


def test_what_lies_before_the_first_idr_picture_is_encoded() -> None:
    late = groups([*range(100)], [40])
    assert late.stretches(changed(100)) == (Stretch(0, 40, False), Stretch(40, 100, True))
    later = groups([*range(100)], [1, 40])  # the first frame would be an IDR picture alone before another one
    assert later.stretches(changed(100)) == (Stretch(0, 40, False), Stretch(40, 100, True))


def test_hidden_packets_are_not_copied_over() -> None:
    assert in_order(100, 50, joints=[30]).stretches(changed(100)) == (
        Stretch(0, 30, True),
        Stretch(30, 50, False),
        Stretch(50, 100, True),
    )
    assert in_order(100, 50, joints=[0, 50]).stretches(changed(100)) == (Stretch(0, 100, True),)


def test_a_cut_lies_where_all_that_is_decoded_shows_first() -> None:
    """I P B B P B B ..., shown as I B B P B B P."""
    frames = [0, *(number for start in range(1, 91, 3) for number in (start + 2, start, start + 1))]
    made = groups(frames, [0])
    assert made.cuts.tolist() == [0, 1, *range(4, 92, 3)]
    assert made.stretches(changed(91, 60)) == (Stretch(0, 58, True), Stretch(58, 91, False))


def test_an_idr_picture_among_frames_of_two_groups_starts_nothing() -> None:
    frames = [*range(49), 50, 49, *range(51, 100)]  # the IDR picture, packet 50, shows before packet 49
    made = groups(frames, [0, 50])
    assert made.stretches(changed(100, 20)) == (Stretch(0, 100, False),)


@pytest.mark.parametrize("seed", range(200))
def test_rules_that_hold_for_any_video(seed: int) -> None:
    random = np.random.default_rng(seed)
    total = int(random.integers(1, 300))
    frames = np.arange(total)
    for _ in range(random.integers(0, 40)):  # reorder a few at a time
        start = int(random.integers(0, total))
        random.shuffle(frames[start : start + int(random.integers(2, 6))])
    starts = np.flatnonzero(random.random(total) < random.choice([0.01, 0.05, 0.3, 1]))
    joints = np.flatnonzero(random.random(total) < random.choice([0, 0.01]))
    new = random.random(total) < random.choice([0.003, 0.05])
    made = Groups(SETS, frames, np.arange(total), starts, joints)
    found = made.stretches(new)
    assert [one.start for one in found] == [0, *(one.stop for one in found[:-1])]
    assert found[-1].stop == total
    assert all(one.copied != other.copied for one, other in pairwise(found))
    idr = set(starts.tolist())
    for number, one in enumerate(found):
        if not one.copied:
            assert len(one) >= 2 or number + 1 == len(found)
            continue
        assert one.start in idr
        assert len(one) >= LEAST or len(found) == 1
        assert set(frames[: one.start]) == set(range(one.start))  # all before shows before, so packets are frames
        assert set(frames[: one.stop]) == set(range(one.stop))
        assert not new[one.start : one.stop].any()
        # Behind hidden packets, and behind a part that is encoded, only an IDR picture goes on.
        assert all(joint in idr for joint in joints if one.start < joint < one.stop)
        if number + 1 < len(found):
            assert one.stop - 1 not in idr
