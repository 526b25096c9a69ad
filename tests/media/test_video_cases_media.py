"""Videos that public reports led to: clocks, sizes that change, and pictures that stand still."""

from pathlib import Path

import numpy as np
import pytest

from duikou.faces.identify import identify_faces
from duikou.media.audio import read_audio
from duikou.media.decode import times
from duikou.media.video import Video, probe_video

CASES = Path(__file__).parents[3] / "shared" / "cases"

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not CASES.is_dir(), reason="the folder of files ../shared/cases is not there"),
]


def test_fragments_of_a_broadcast_start_at_0() -> None:
    path = CASES / "video_fragments_from_20s.mp4"
    info = probe_video(path)
    assert (info.frames, info.duration_ms) == (150, 6_000)
    assert times(path).tolist() == [40 * number for number in range(150)]
    assert info.audio is not None
    assert info.audio.duration_ms == read_audio(path).duration_ms == 6_000


def test_a_person_keeps_her_shape_where_the_frame_turns_to_portrait() -> None:
    video = Video.open(CASES / "video_turns_portrait_midway.mp4")
    (face,) = identify_faces(video).faces
    assert (face.interval.start_ms, face.interval.end_ms) == (0, 5_400)
    sides = np.ptp(face.track.landmarks[:, :, :2], axis=1)
    shapes = sides[:, 0] / sides[:, 1]
    late = face.track.frames >= 60
    assert np.median(shapes[late]) == pytest.approx(np.median(shapes[~late]), rel=0.1)


def test_one_frame_that_lasts_is_told() -> None:
    video = Video.open(CASES / "video_one_frame_5s.mp4")
    (face,) = identify_faces(video).faces
    (warning,) = [one for one in face.warnings if one.code == "held_frame"]
    assert (warning.interval.start_ms, warning.interval.end_ms) == (0, 5_000)
