"""A talking clip whose open mouths are withheld gets its teeth back from a reference: the same person's open mouths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from sessions import session_of

from benchmarks.quality import inside
from benchmarks.quality.clips import Clip, frame_count, own_sound
from benchmarks.quality.inside import Inside
from benchmarks.quality.lips import same_face, tracked
from duikou import FaceChoice, Session, identify, lip_sync
from duikou.arrays import Float64Array
from duikou.engines.base import FaceClip
from duikou.engines.native import NativeEngine, NativeRenderer
from duikou.faces.follow import follow
from duikou.pipeline import references
from duikou.pipeline.plan import LIKE
from duikou.progress import Progress, silent

VIDEOS = Path(__file__).parents[2].parent / "shared" / "media" / "video"
CLIP = Clip("talking_glasses", VIDEOS / "talking_glasses.mp4")

pytestmark = [
    pytest.mark.media,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not VIDEOS.is_dir(), reason="../shared/media is not there"),
]


class PlannedError(Exception):
    """Ends a lip sync before it paints. renderer: what was planned. widest: the frame that opens widest."""

    def __init__(self, renderer: NativeRenderer, widest: int) -> None:
        self.renderer, self.widest = renderer, widest


class Planning(NativeEngine):
    """The default engine, which only plans."""

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> NoReturn:
        renderer = super().prepare(clip, curves, progress=progress)
        raise PlannedError(renderer, int(clip.track.frames[(curves["gap"] * clip.strength).argmax()]))


class Withheld:
    """The clip without its open mouths. real: what its own open mouths look like, by lip gap."""

    def __init__(self, folder: Path) -> None:
        count = frame_count(CLIP)
        face = max(session_of(CLIP.video).faces, key=lambda one: len(one.track))
        lips = tracked(CLIP.video, face, count)
        self.session: Session = identify(inside.withheld(CLIP, inside.longest_closed(lips), folder / "withheld.mp4"))
        idle = same_face(face, self.session.faces)
        assert idle is not None
        self.face, self.sound = idle, own_sound(CLIP, folder)
        self.real: list[Inside] = list(inside.by_gap(inside._measured(CLIP.video, lips)).values())

    def plan(self, *paths: Path) -> PlannedError:
        choice = FaceChoice(self.sound, self.face.id, original_volume=0.0, references=paths)
        with pytest.raises(PlannedError) as caught:
            lip_sync(self.session, [choice], self.session.video.with_name("out.mp4"), engine=Planning())
        return caught.value

    def mouth(self, planned: PlannedError) -> Inside:
        """The inside of the widest mouth, as it is painted."""
        (frame,) = self.session.source.frames(planned.widest, planned.widest + 1)
        renderer = planned.renderer
        patch = renderer.render(frame)
        assert patch is not None
        measured = inside.measure(frame.painted(patch).image, renderer._target(renderer._row_of[frame.index]))
        assert measured is not None
        return measured


@pytest.fixture(scope="module")
def withheld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Withheld]:
    yield Withheld(tmp_path_factory.mktemp("withheld"))


def test_the_persons_own_teeth_come_back_in_their_colours(withheld: Withheld) -> None:
    """The brightest tenth of the inside is teeth."""
    painted, own = withheld.plan(), withheld.plan(CLIP.video)
    assert painted.renderer.person.teeth is None
    assert own.renderer.person.teeth is not None
    assert own.renderer.person.teeth.upper is not None
    real = np.median([one.bright for one in withheld.real], axis=0)
    off = {name: np.abs(withheld.mouth(one).bright - real).max() for name, one in (("paint", painted), ("own", own))}
    assert off["own"] < min(off["paint"], 0.11)


def test_another_person_is_told_from_the_same_one(withheld: Withheld) -> None:
    session = session_of(CLIP.video)
    colours = follow(session.source, session.faces[0]).colours
    assert colours is not None
    face = np.asarray(np.median(colours, axis=0), np.float32)
    same, other = references.read([CLIP.video, VIDEOS / "square_512.mp4"], face, silent)
    assert other.likeness < LIKE < same.likeness
