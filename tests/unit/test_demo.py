"""The demo's own parts: its clip moves and blinks, its sentence fits, its sheet shows both videos."""

from __future__ import annotations

import subprocess
import sys
import wave
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from demo import portrait, run, sheet, speech
from duikou.arrays import Image

BLINK_FRAME = round(portrait.BLINKS_MS[0] * portrait.RATE / 1000)


@pytest.fixture(scope="module")
def clip() -> list[Image]:
    return list(islice(portrait.frames(), BLINK_FRAME + 2))


def eye_box(eye: portrait._Eye) -> tuple[slice, slice]:
    rows = slice(round((eye.upper - portrait.TOP) * portrait.ZOOM), round((eye.lower - portrait.TOP) * portrait.ZOOM))
    columns = slice(
        round((eye.left - portrait.LEFT) * portrait.ZOOM), round((eye.right - portrait.LEFT) * portrait.ZOOM)
    )
    return rows, columns


def test_the_clip_is_upright_720p(clip: list[Image]) -> None:
    assert clip[0].shape == (1280, 720, 3)
    assert clip[0].dtype == np.uint8


def test_every_run_makes_the_same_pictures(clip: list[Image]) -> None:
    again = list(islice(portrait.frames(), 2))
    assert np.array_equal(clip[0], again[0])
    assert np.array_equal(clip[1], again[1])


def moved(first: Image, later: Image, box: sheet.Box) -> npt.NDArray[np.float64]:
    """Motion x, y in pixels of what lies in `box` of the first picture."""
    left, top, right, bottom = box
    match = cv2.matchTemplate(later, first[top:bottom, left:right], cv2.TM_CCOEFF_NORMED)
    x, y = cv2.minMaxLoc(match)[3]
    return np.array([x - left, y - top], np.float64)


def test_the_head_moves_against_the_body(clip: list[Image]) -> None:
    eyes, zip_fastener = (250, 330, 500, 410), (380, 1050, 480, 1240)
    head, body = (moved(clip[0], clip[-1], box) for box in (eyes, zip_fastener))
    assert np.hypot(*(head - body)) >= 3


def test_the_eyes_blink(clip: list[Image]) -> None:
    for eye in portrait.EYES:
        rows, columns = eye_box(eye)
        open_eye, closed_eye = clip[0][rows, columns], clip[BLINK_FRAME][rows, columns]
        assert np.percentile(closed_eye, 5) > np.percentile(open_eye, 5) + 20, "the dark iris is still seen"


def test_the_sentence_fits_the_clip(tmp_path: Path) -> None:
    path = speech.speak(tmp_path / "speech.wav")
    assert run.INSERT_MS + run.duration_ms(path) <= portrait.DURATION_MS
    assert run.duration_ms(path) >= 4_000
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.abs(samples).max() > 5_000


def test_a_voice_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no voice nowhere"):
        speech.speak(tmp_path / "speech.wav", voice=("nowhere", ""))


def flat_video(path: Path, level: int, frames: int) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        for _ in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="bgr24")))
        file.mux(stream.encode())
    return path


def test_the_sheet_shows_before_above_after(tmp_path: Path) -> None:
    spoken = speech.speak(tmp_path / "speech.wav", "Yes, two seconds of speech.")
    frames = (run.duration_ms(spoken) + 200) // 40
    dark, light = flat_video(tmp_path / "dark.mp4", 60, frames), flat_video(tmp_path / "light.mp4", 190, frames)
    page = cv2.imread(str(sheet.sheet(tmp_path / "sheet.png", dark, light, (0, 0, 64, 64), spoken, 100)))
    assert page is not None
    assert page.shape[1] == sheet.COLUMNS * (sheet.CELL_WIDTH + sheet.GAP) + sheet.GAP
    column = page[:, sheet.CELL_WIDTH // 2].mean(1)
    rows_dark, rows_light = np.flatnonzero(np.abs(column - 60) < 8), np.flatnonzero(np.abs(column - 190) < 8)
    assert len(rows_dark) >= 0.9 * sheet.CELL_WIDTH
    assert len(rows_light) >= 0.9 * sheet.CELL_WIDTH
    assert np.median(rows_dark) < np.median(rows_light)
    with pytest.raises(RuntimeError, match="ends before"):
        sheet.sheet(tmp_path / "late.png", dark, light, (0, 0, 64, 64), spoken, 10_000)


def started(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def test_the_servers_address_is_read() -> None:
    with started("print('warming up'); print('duikou is ready at http://127.0.0.1:1234/')") as process:
        assert run.address_of(process) == "http://127.0.0.1:1234"


def test_a_server_that_does_not_start_is_an_error() -> None:
    with started("print('no'); raise SystemExit(3)") as process, pytest.raises(run.DemoError, match="server exited"):
        run.address_of(process)
