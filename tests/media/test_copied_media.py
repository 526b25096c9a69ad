"""Clips of many encoders: what does not change is copied where their streams allow it, and results are valid."""

from pathlib import Path

import pytest
from spliced import check_result, splice

from duikou.media import copied
from duikou.media.video import Video

SHARED = Path(__file__).parents[3] / "shared"
VIDEOS = sorted([*(SHARED / "media" / "video").glob("*.mp4"), *(SHARED / "cases").glob("*.mp4")])
UNFIT = {
    "portrait_hevc_gestures": "the codec is hevc",
    "portrait_hevc_small_face": "the codec is hevc",
    "square_512": "the codec is mpeg4",
    "video_interlaced_tff": "the video is interlaced",
    "video_turns_portrait_midway": "the parameter sets change",
    "video_one_frame_5s": "the changes leave no group of pictures",
}

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not VIDEOS, reason="the folder of clips ../shared/media is not there"),
]


@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.stem)
def test_a_result_has_the_packets_of_its_source(path: Path, tmp_path: Path) -> None:
    source = Video.open(path)
    middle = len(source.frame_times) // 2
    made = splice(source, tmp_path / "result.mp4", (middle, middle + 10))
    told = copied.read(made.output)
    assert told is not None
    assert told.picture.reason == UNFIT.get(path.stem, "")
    if path.stem not in UNFIT:
        assert made.kept
        check_result(made)
