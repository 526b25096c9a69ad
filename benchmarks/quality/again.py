"""The same face made to speak its own sound again, in a clip from which some of its mouths are withheld."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quality.clips import Clip, frame_count, own_sound
from benchmarks.quality.engines import Watched
from benchmarks.quality.lips import Lips, same_face, tracked
from duikou import FaceChoice, identify, lip_sync
from duikou.faces.track import Face
from duikou.progress import Progress


def spoken_again(
    clip: Clip, face: Face, given: Path, painted: Path, engine: Watched, progress: Progress
) -> Lips | None:
    """Write `painted`, in which the `face` of a clip speaks; its lips in the frames that changed. `None` if the face is
    not found in the clip `given` to the engine.

    Raises `MediaError` for a clip without audio.
    """
    session = identify(given)
    same = same_face(face, session.faces)
    if same is None:
        return None
    choice = FaceChoice(own_sound(clip, painted.parent), same.id, original_volume=0.0)
    lip_sync(session, [choice], painted, engine=engine, progress=progress)
    return tracked(painted, same, frame_count(clip)).among(list(engine.faces[0].changes_made))
