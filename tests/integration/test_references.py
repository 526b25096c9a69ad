"""References on NASA's portrait of Eileen Collins (public domain), who smiles with open lips: what they lend, and what
is refused.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import live_server
import numpy as np
import pytest
import skimage.data
from live_server import create, ended, in_thread, order, sources
from media_maker import make_video
from server_settings import settings

from demo.speech import speak
from duikou import FaceChoice, InputError, Result, Session, identify, lip_sync
from duikou.arrays import Float32Array, Image
from duikou.faces import pose
from duikou.faces.detector import Detector
from duikou.faces.landmarks import Landmarker, Observation, roi_of
from duikou.media import decode
from duikou.media.pixels import Pixels
from duikou.pipeline import references
from duikou.progress import silent
from duikou.render import mesh, opening
from duikou.render.compose import compose
from duikou.render.interior import Light
from duikou.render.mouth import MeasuredMouths, Mouth
from duikou.render.shape import close_lips
from duikou.workers.work import Work

pytestmark = pytest.mark.long

NO_TEETH = "too little of the upper teeth shows in it; the mouth must be open, as in a smile or in speech."

ZOOM, FRAMES = 2.0, 50
LIPSTICK = (60, 60, 0)
"""Blue, green and red that lipstick takes away."""
HEAD = (slice(0, 260), slice(90, 360))
"""Rows and columns of the photograph that the pictures show."""
MARK = (250, 200, 195)
"""Pale blue: no tooth, lip or skin of the portrait has more blue than red."""


@cache
def networks() -> tuple[Detector, Landmarker]:
    return Detector(), Landmarker()


def observed(image: Image) -> Observation:
    """The only face."""
    pixels, (detector, landmarker) = Pixels.of(image), networks()
    (found,) = detector.find(pixels)
    return landmarker.observe(pixels, roi_of(landmarker.observe(pixels, found.roi).landmarks))


@cache
def portrait() -> Image:
    """The head, enlarged, with lipstick: teeth are told from lips by their redness."""
    head = np.ascontiguousarray(skimage.data.astronaut()[*HEAD, ::-1])
    image = np.asarray(cv2.resize(head, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC), np.uint8)
    points = observed(image).landmarks
    lips = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(lips, [np.round(points[list(mesh.OUTER_RING), :2]).astype(np.int32)], 1)
    soft = cv2.GaussianBlur(lips * (1 - between_lips(image, points)), (0, 0), 1.0)[..., None]
    return np.asarray(np.clip(image - soft * LIPSTICK, 0, 255), np.uint8)


def between_lips(image: Image, points: Float32Array) -> Image:
    """Mask (H, W), 0 or 1."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points[list(mesh.INNER_RING), :2]).astype(np.int32)], 1)
    return mask


def marked() -> Image:
    """The portrait with one front tooth in pale blue."""
    image = portrait().copy()
    points = observed(image).landmarks
    teeth = (between_lips(image, points) > 0) & (image.min(-1) > 110)
    middle = round(float(points[13, 0]))
    teeth[:, : middle + 2] = teeth[:, middle + 12 :] = False
    assert teeth.sum() > 40
    image[teeth] = MARK
    return image


def closed() -> Image:
    """The portrait with closed lips, by the warp of the engine."""
    image, landmarks = portrait(), observed(portrait()).landmarks
    head = pose.fit(landmarks[None])
    shapes = pose.to_canonical(landmarks[None], head).astype(np.float64)
    neutral, points = close_lips(shapes), landmarks[:, :2].astype(np.float64)
    mouths = MeasuredMouths.of(head, shapes, neutral, talks=True)
    target = pose.from_canonical(neutral.astype(np.float32), head)[0, :, :2].astype(np.float64)
    light = Light.on(image, points)
    mouth = Mouth(target, 0.0, 0.0, 0.0, 0.0, 1.0, mouths.plane(0), light, None, None, 0.005, 0.0, frame=0)
    made = compose(mouths.source(0, image, points, opening.find(image, points)), mouth, [])
    assert made is not None
    out = image.copy()
    made[0].cut(out)[:] = made[1]
    return out


def blue(result: Result, session: Session) -> list[int]:
    """Number of mark-like pixels around the mouth, in the three frames in which it is to open widest."""
    spoken = result.spoken[0]
    frames = spoken.frames[np.argsort(-spoken.gap * spoken.strength)[:3]].tolist()
    x, y = np.median(session.face("0").track.landmarks[:, [61, 291], :2], axis=(0, 1)).astype(int)
    mouths = (one.image[y - 25 : y + 45, x - 40 : x + 40] for one in decode.frames(result.video) if one.index in frames)
    return [int((mouth[..., 0] > mouth[..., 2].astype(int) + 15).sum()) for mouth in mouths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("references")
    for name, image in (
        ("marked.png", marked()),
        ("plain.jpg", portrait()),
        ("closed.png", closed()),
        ("wall.webp", np.full((300, 400, 3), 90, np.uint8)),
    ):
        cv2.imwrite(str(made / name), image)
    speak(made / "speech.wav")
    return made


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    """A clip in which no tooth shows."""
    image = cv2.imread(str(folder / "closed.png"))
    assert image is not None
    height, width = image.shape[:2]

    def paint(number: int, _width: int, _height: int) -> Image:
        sway = np.array([[1, 0, 1.5 * np.sin(number / 9)], [0, 1, np.cos(number / 7)]])
        return np.asarray(cv2.warpAffine(image, sway, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    clip = make_video(folder / "clip.mp4", size=(width, height), frames=FRAMES, paint=paint, options={"crf": "14"})
    return identify(clip)


def choice(folder: Path, *names: str) -> FaceChoice:
    return FaceChoice(folder / "speech.wav", "0", 0, 1_800, 100, references=[folder / name for name in names])


def test_the_teeth_of_a_photo_show_in_a_mouth_that_never_showed_any(session: Session, folder: Path) -> None:
    told: list[tuple[str, float]] = []
    shown = {
        name: lip_sync(
            session,
            [choice(folder, *names)],
            folder / f"{name}.mp4",
            progress=lambda stage, share: told.append((stage, share)),
        )
        for name, names in (("with", ["marked.png"]), ("without", []))
    }
    assert not shown["with"].spoken[0].warnings
    counts = {name: blue(result, session) for name, result in shown.items()}
    assert max(counts["with"]) > 10  # an upper lip that comes down may hide the tooth in one of them
    assert max(counts["without"]) == 0
    stages = [stage for stage, _ in told]
    assert "reading references" in stages
    first = [share for _, share in told[: stages.index("rendering")]]
    assert first == sorted(first)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["wall.webp"], "choices[0].references[0]: " + references.NO_FACE),
        (["marked.png", "wall.webp"], "choices[0].references[1]: " + references.NO_FACE),
        (
            ["marked.png", "closed.png"],
            f"choices[0].references[1]: {NO_TEETH}",
        ),
        (
            ["clip.mp4"],
            f"choices[0].references[0]: {NO_TEETH}",
        ),
        (["speech.wav"], "choices[0].references[0]: the file is wav; a video must be mp4 or mov."),
        (["marked.png"] * 5, "choices[0].references: 5 references are given; at most 4 are taken."),
    ],
)
def test_what_lends_nothing_is_refused(session: Session, folder: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        lip_sync(session, [choice(folder, *names)], folder / "refused.mp4")
    assert str(caught.value) == sentence
    assert not (folder / "refused.mp4").exists()


def test_a_reference_that_looks_like_somebody_else_is_doubted(session: Session, folder: Path) -> None:
    """The same face, lit from the other side."""
    mirrored = cv2.flip(marked(), 1).astype(np.float64)
    light = np.linspace(0.25, 1.3, mirrored.shape[1])[:, None]
    cv2.imwrite(str(folder / "other.png"), np.clip(mirrored * light, 0, 255).astype(np.uint8))
    face = observed(portrait()).colours
    same, other = references.read([folder / "plain.jpg", folder / "other.png"], face, silent)
    assert same.likeness > 0.95
    assert other.likeness < same.likeness


def test_of_two_faces_the_one_most_like_the_chosen_is_taken(folder: Path) -> None:
    image = portrait()
    both = np.hstack([np.ascontiguousarray(image[:, ::-1]), image])
    cv2.imwrite(str(folder / "two.png"), both)
    (found,) = references.read([folder / "two.png"], observed(image).colours, silent)
    (picture,) = found.pictures
    _, _, (place, _), _ = cv2.minMaxLoc(cv2.matchTemplate(both, picture.image, cv2.TM_SQDIFF))
    assert place > image.shape[1] - 5
    points = observed(picture.image).landmarks[:, :2]
    assert picture.landmarks[:, :2] == pytest.approx(points, abs=2.0)


def test_a_clip_lends_its_widest_mouths(folder: Path) -> None:
    image = portrait()
    height, width = image.shape[:2]
    frames = 60
    clip = make_video(folder / "talk.mp4", size=(width, height), frames=frames, paint=lambda *_: image)
    (found,) = references.read([clip], observed(image).colours, silent)
    assert 2 <= len(found.pictures) <= 16
    assert found.likeness > 0.95
    for picture in found.pictures:
        assert picture.image.shape[0] < height or picture.image.shape[1] < width
        assert picture.landmarks[:, :2] == pytest.approx(observed(picture.image).landmarks[:, :2], abs=2.0)


def test_a_sandboxed_worker_reads_references_and_its_refusal_names_the_field_of_the_wire(
    session: Session, folder: Path, tmp_path: Path
) -> None:
    files = {name.replace(".", "__"): (folder / name).read_bytes() for name in ("clip.mp4", "speech.wav", "closed.png")}
    with sources(**files) as site, in_thread(settings(tmp_path, any_size=True), Work()) as client:
        made = live_server.identify(client, f"{site}/clip.mp4")["session_id"]
        times = {"sound_end_time": 2_000, "sound_insert_time": 0}
        payload = order(made, f"{site}/speech.wav", **times, reference_urls=[f"{site}/closed.png"])
        done = ended(client, create(client, payload))
    assert (done["task_status"], done["fault"]) == ("failed", "input")
    assert done["task_status_msg"] == f"face_choose[0].reference_urls[0]: {NO_TEETH}"
