"""What idet says of some frames decides how a video is read."""

import numpy as np
import pytest

from duikou.media.fields import PLACES, Fields, judge, places

TOP, BOTTOM, WHOLE, UNKNOWN = ["tff"] * 10, ["bff"] * 10, ["progressive"] * 10, ["undetermined"] * 10
PULLDOWN = ["tff", "tff", "progressive", "tff", "tff"] * 2


@pytest.mark.parametrize(
    ("kinds", "flagged", "fields"),
    [
        ([TOP], False, Fields("tff")),
        ([BOTTOM], False, Fields("bff")),
        ([BOTTOM], True, Fields("bff")),
        ([UNKNOWN, TOP], False, Fields("tff")),
        ([UNKNOWN + TOP], False, Fields("tff")),
        ([WHOLE, TOP, WHOLE], False, Fields("tff", mixed=True)),
        ([PULLDOWN], True, Fields("tff", mixed=True)),
        ([["tff", "bff"] * 5], True, Fields("auto")),
        ([["tff", "bff"] * 5], False, Fields("tff")),
        ([WHOLE], True, None),
        ([WHOLE], False, None),
        ([UNKNOWN], False, None),
        ([UNKNOWN], True, Fields("auto")),
        ([UNKNOWN, WHOLE], True, None),
        ([["tff"] * 5 + ["progressive"] * 5], False, None),
        ([UNKNOWN[:6] + TOP], False, Fields("tff")),
        ([["tff"] * 3], False, None),
        ([[]], False, None),
        ([], True, Fields("auto")),
    ],
)
def test_the_pictures_count_for_more_than_the_flag(
    kinds: list[list[str]], flagged: bool, fields: Fields | None
) -> None:
    assert judge(kinds, flagged) == fields


def test_the_places_lie_all_over_the_video_and_leave_room_for_frames() -> None:
    assert places(np.arange(0, 1_000, 50), 1_000).tolist() == [0, 250, 500, 700, 950]
    assert places(np.array([0, 30]), 35).tolist() == [0]
    assert places(np.array([], np.int64), 35).tolist() == [0]
    assert places(np.array([0]), 3).tolist() == [0]
    assert len(places(np.arange(1_000), 1_000)) == PLACES


def test_only_formats_that_the_matching_filter_knows_are_matched() -> None:
    mixed = Fields("bff", mixed=True)
    assert [name for name, _ in mixed.filters("yuv420p")] == ["fieldmatch", "bwdif", "format"]
    assert [name for name, _ in mixed.filters("yuv422p10le")] == ["bwdif", "format"]
    assert "parity=bff:deint=all" in mixed.filters("yuv422p10le")[0][1]
