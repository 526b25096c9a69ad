"""Speech of 5 s on a portrait of 3 s: what each mode shows and lets hear, with the real models and the real engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream
from media_maker import make_video, numbered, read_number, tone
from small_portrait import small_portrait

from demo import portrait
from demo.speech import speak
from duikou import FaceChoice, Output, Result, Session, identify, lip_sync
from duikou.engines.base import FaceClip
from duikou.engines.native import NativeEngine
from duikou.errors import InputError
from duikou.faces.follow import RoiPath
from duikou.faces.landmarks import Landmarker
from duikou.media import decode, demux
from duikou.media.audio import read_audio
from duikou.media.clock import Clock
from duikou.media.decode import Frame
from duikou.media.demux import FrameTimes, read_frame_times
from duikou.media.pixels import Pixels
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline
from duikou.pipeline.plan import Piece, Planner, Speech
from duikou.progress import Progress, silent
from duikou.provenance import credentials
from duikou.render import mesh
from duikou.timebase import Interval

pytestmark = pytest.mark.long

WIDTH, HEIGHT, FRAMES, STEP_MS = 360, 640, 75, 40
STRIP = 40  # rows over the head that carry the frame's number
INSERT_MS, SPEECH_MS = 600, 4_400
RATE, HERTZ, LEVEL, VOLUME = 48_000, 9_000, 0.1, 0.5
MIN_PSNR = 36.0  # dB; one encoding of this clip without a change measures 37.9 and more
MIN_R = 0.7

ORDERS = {
    SyncMode.LOOP: [*range(75), *range(50)],
    SyncMode.BOUNCE: [*range(75), *range(73, 23, -1)],
    SyncMode.SILENCE: [*range(75), *[74] * 50],
}

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A session, its pictures and the speech."""

    session: Session
    images: list[Image]
    speech: Path

    def choice(self, end_ms: int = SPEECH_MS, insert_ms: int = INSERT_MS) -> FaceChoice:
        return FaceChoice(self.speech, "0", 0, end_ms, insert_ms, original_volume=VOLUME)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    with small_portrait(0.5):
        pictures = list(portrait.frames(3_000))

    def paint(number: int, width: int, height: int) -> Image:
        pictures[number][:STRIP] = numbered(number, width, 4 * STRIP)[:STRIP]
        return pictures[number]

    video = make_video(
        folder / "clip.mp4",
        size=(WIDTH, HEIGHT),
        frames=FRAMES,
        paint=paint,
        options={"crf": "14"},
        sound=tone(HERTZ, 3_000, RATE, level=LEVEL),
        sound_rate=RATE,
    )
    return Scene(identify(video), [frame.image for frame in decode.frames(video)], speak(folder / "speech.wav"))


@pytest.fixture(scope="module")
def brief(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The first 1.2 s of it, for tests in which the length does not matter."""
    video = make_video(
        tmp_path_factory.mktemp("brief") / "clip.mp4",
        size=(WIDTH, HEIGHT),
        frames=30,
        paint=lambda number, width, height: scene.images[number],
        options={"crf": "14"},
        sound=tone(HERTZ, 1_200, RATE, level=LEVEL),
        sound_rate=RATE,
    )
    return replace(scene, session=identify(video), images=scene.images[:30])


@pytest.fixture(scope="module", params=ORDERS)
def made(
    request: pytest.FixtureRequest, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SyncMode, Result, list[Image]]:
    folder = tmp_path_factory.mktemp(request.param)
    result = lip_sync(scene.session, [scene.choice()], folder / "out.mp4", sync_mode=request.param)
    assert [path.name for path in folder.iterdir()] == ["out.mp4"]
    return request.param, result, [frame.image for frame in decode.frames(result.video)]


@pytest.mark.parametrize("mode", [None, SyncMode.LOOP])
def test_the_index_of_the_source_is_read_once(
    brief: Scene, mode: SyncMode | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counting(file: InputContainer, stream: VideoStream, clock: Clock, *, field: str) -> FrameTimes:
        read.append(Path(file.name).name)
        return read_frame_times(file, stream, clock, field=field)

    monkeypatch.setattr(demux, "read_frame_times", counting)
    session = identify(brief.session.video)
    assert read == ["clip.mp4"]
    choice = brief.choice(1_000 if mode else 600)
    lip_sync(session, [choice], Output(tmp_path / "out.mp4", tmp_path / "marked.mp4"), sync_mode=mode)
    assert set(read[1:]) == {"out.mp4"}


def test_the_result_is_as_long_as_the_speech(made: tuple[SyncMode, Result, list[Image]]) -> None:
    _, result, images = made
    assert (result.info.frames, result.info.duration_ms) == (125, 5_000)
    assert len(images) == 125
    assert decode.times(result.video).tolist() == [STEP_MS * number for number in range(125)]
    assert result.info.audio is not None
    assert result.info.audio.duration_ms == 5_000
    assert (result.spoken[0].interval.start_ms, result.spoken[0].interval.end_ms) == (INSERT_MS, 5_000)


def test_the_credentials_tell_of_the_added_part(made: tuple[SyncMode, Result, list[Image]]) -> None:
    mode, result, _ = made
    found = credentials.read(result.video)
    assert found is not None
    assert found.intact
    assert [action.name for action in found.actions] == ["c2pa.opened", "c2pa.edited", "c2pa.edited", "c2pa.dubbed"]
    assert found.actions[1].description == (f"The video was lengthened with its own frames ({mode}, 3.000 to 5.000 s).")
    assert "face 0, 0.600 to 5.000 s" in found.actions[2].description


def test_every_picture_is_the_right_one_outside_the_mouth(
    scene: Scene, made: tuple[SyncMode, Result, list[Image]]
) -> None:
    mode, _, images = made
    for image, number in zip(images, ORDERS[mode], strict=True):
        assert psnr(image[500:], scene.images[number][500:]) > MIN_PSNR
        assert psnr(image[:150], scene.images[number][:150]) > MIN_PSNR
        assert read_number(image[: 4 * STRIP]) == number


def test_the_mouth_speaks_in_the_added_part(scene: Scene, made: tuple[SyncMode, Result, list[Image]]) -> None:
    mode, result, images = made
    landmarker, path = Landmarker(), RoiPath(scene.session.faces[0].track.part(slice(None)))
    gaps = []
    for number in range(FRAMES, len(images)):
        # The face was looked at every few frames; the last of them need not be the clip's.
        roi = path.at(min(ORDERS[mode][number], int(scene.session.faces[0].track.frames[-1])))
        assert roi is not None
        gaps.append(
            float(mesh.lip_gap(landmarker.observe(Pixels.of(images[number]), roi).landmarks[None].astype(float))[0])
        )
    spoken = result.spoken[0]
    assert spoken.frames.tolist() == list(range(125))
    assert (spoken.strength[FRAMES:] == 1).all()
    assert np.corrcoef(gaps, spoken.gap[FRAMES:])[0, 1] > MIN_R


def test_the_whole_speech_is_heard(scene: Scene, made: tuple[SyncMode, Result, list[Image]]) -> None:
    heard = read_audio(made[1].video, channels=1, rate=16_000).samples[:, 0]  # leaves the clip's own tone out
    said = read_audio(scene.speech, end_ms=SPEECH_MS, channels=1, rate=16_000).samples[:, 0]
    start = INSERT_MS * 16
    for part in (slice(0, len(said) // 2), slice(len(said) // 2, len(said))):
        shifted = heard[start + part.start : start + part.stop]
        assert np.corrcoef(shifted, said[part])[0, 1] > 0.98


def test_the_videos_own_audio_repeats_with_a_loop_and_is_silent_otherwise(
    made: tuple[SyncMode, Result, list[Image]],
) -> None:
    mode, result, _ = made
    samples = read_audio(result.video, channels=1).samples[:, 0]
    assert own_level(samples, 100, 500) == pytest.approx(LEVEL, rel=0.1)
    assert own_level(samples, 1_000, 2_900) == pytest.approx(LEVEL * VOLUME, rel=0.1)
    added = own_level(samples, 3_100, 4_900)
    if mode is SyncMode.LOOP:
        assert added == pytest.approx(LEVEL * VOLUME, rel=0.1)
    else:
        assert added < LEVEL * VOLUME / 20


def test_a_mouth_rests_between_pieces_and_stays_as_it_is_where_it_is_kept_out(scene: Scene) -> None:
    source = scene.session.source
    first, second = (read_audio(scene.speech, start_ms=start, end_ms=start + 1_000) for start in (0, 2_000))
    speech = Speech("0", (Piece(first, 400), Piece(second, 1_480)), (Interval(2_000, 2_200),))
    planner = Planner(scene.session, Timeline.of(source.frame_times, None, 0), NativeEngine())
    talk = planner.plan(speech, silent)
    renderer, spoken = talk.renderer, talk.spoken
    assert spoken.intervals == (Interval(400, 1_400), Interval(1_480, 2_480))
    strength = dict(zip(spoken.frames.tolist(), spoken.strength, strict=True))
    changed = {number for number in range(FRAMES) if renderer.changes(number)}
    assert changed == {*range(10, 50), *range(55, 62)}
    for number, image in enumerate(scene.images):
        frame = Frame(number, 0, 0, image)
        patch = renderer.render(frame)
        assert (patch is None) == (number not in changed) == (strength.get(number, 0) == 0)
        if patch is not None and strength[number] >= 0.2:
            assert not np.array_equal(patch.pixels, frame.part(patch.box))
    pause = (spoken.times_ms >= 1_420) & (spoken.times_ms <= 1_460)
    assert (spoken.strength[pause] == 1).all()
    assert spoken.gap[pause].max() < 0.05 < spoken.gap.max()


def test_cut_off_keeps_the_length_and_ends_the_speech(scene: Scene, tmp_path: Path) -> None:
    choice = replace(scene.choice(), original_scope="video")
    result = lip_sync(scene.session, [choice], tmp_path / "out.mp4", sync_mode=SyncMode.CUT_OFF)
    samples = read_audio(result.video, channels=1).samples[:, 0]
    for start_ms, end_ms in ((100, 500), (1_000, 2_900)):
        assert own_level(samples, start_ms, end_ms) == pytest.approx(LEVEL * VOLUME, rel=0.1)
    np.testing.assert_array_equal(decode.times(result.video), decode.times(scene.session.video))
    assert result.info.duration_ms == 3_000
    assert (result.spoken[0].interval.start_ms, result.spoken[0].interval.end_ms) == (INSERT_MS, 3_000)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_mode_changes_nothing_where_nothing_is_too_long(brief: Scene, tmp_path: Path) -> None:
    choice = brief.choice(600, 400)
    lip_sync(brief.session, [choice], tmp_path / "none.mp4")
    wanted = packets(tmp_path / "none.mp4")
    for mode in SyncMode:
        lip_sync(brief.session, [choice], tmp_path / "mode.mp4", sync_mode=mode)
        assert packets(tmp_path / "mode.mp4") == wanted


class Failing:
    """An engine that looks at what it is given and fails."""

    name = "failing"
    frames = 0

    def prepare(self, clip: FaceClip, curves: dict[str, npt.NDArray[np.float64]], *, progress: Progress) -> NoReturn:
        self.frames = len(clip.track)
        raise RuntimeError("of the engine")


def test_no_file_is_left_after_an_error(scene: Scene, tmp_path: Path) -> None:
    engine = Failing()
    with pytest.raises(RuntimeError, match="of the engine"):
        lip_sync(scene.session, [scene.choice()], tmp_path / "out.mp4", engine=engine, sync_mode=SyncMode.BOUNCE)
    assert engine.frames == 125
    assert not list(tmp_path.iterdir())


def test_without_a_mode_too_long_is_too_long(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends at 5000 ms, after the video's end at 3000 ms") as error:
        lip_sync(scene.session, [scene.choice()], tmp_path / "out.mp4")
    assert error.value.field == "choices[0].insert_ms"
    assert not list(tmp_path.iterdir())


def packets(path: Path) -> list[tuple[int, int | None, int | None, bytes]]:
    """All of a file but its labels: stream, time, length and coded bytes of every packet."""
    with av.open(str(path)) as file:
        return [(one.stream.index, one.pts, one.duration, bytes(one)) for one in file.demux()]


def psnr(one: Image, other: Image) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def own_level(samples: npt.NDArray[np.float32], start_ms: int, end_ms: int) -> float:
    """Peak level of the clip's own tone in a part of the audio."""
    part = samples[start_ms * RATE // 1000 : end_ms * RATE // 1000]
    turning = np.exp(-2j * np.pi * HERTZ * np.arange(len(part)) / RATE)
    return float(2 * np.abs((part * turning).mean()))
