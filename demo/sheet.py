"""One picture of the demo's result: the mouth before, the mouth after, and the loudness of the speech below."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import cv2
import numpy as np

from duikou.arrays import Float64Array, Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the video."""

COLUMNS = 8
CELL_WIDTH = 200  # pixels; eight fit a page's width
GAP = 6  # pixels between cells
BAND = 26  # pixels of a line of text
STRIP = 90  # pixels of the loudness curve
PAPER, INK, SPEECH, MARK = (255, 255, 255), (40, 40, 40), (190, 120, 40), (60, 60, 220)  # BGR
FONT, FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
LOUDNESS_STEP_MS = 20


def sheet(path: Path, before: Path, after: Path, box: Box, speech: Path, insert_ms: int) -> Path:
    """Write the sheet as PNG and return `path`. It shows `COLUMNS` equally spaced moments of the speech."""
    loudness = _loudness(speech)
    end_ms = insert_ms + len(loudness) * LOUDNESS_STEP_MS
    times = [round(insert_ms + (end_ms - insert_ms) * (n + 0.5) / COLUMNS) for n in range(COLUMNS)]
    rows = [_text_row([f"{ms} ms" for ms in times])]
    for name, video in (("before", before), ("after", after)):
        rows += [_text_row([name]), _row([_cut(image, box) for image in _frames_at(video, times)])]
    rows += [_text_row(["loudness of the speech"]), _strip(loudness)]
    page = np.vstack([cv2.copyMakeBorder(row, 0, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=PAPER) for row in rows])
    path.write_bytes(cv2.imencode(".png", page)[1].tobytes())
    return path


def _frames_at(video: Path, times_ms: list[int]) -> list[Image]:
    """The frame at each of the ascending `times_ms`."""
    found: list[Image] = []
    with av.open(str(video), format="mp4") as file:
        for frame in file.decode(video=0):
            while len(found) < len(times_ms) and float(frame.time or 0) * 1000 >= times_ms[len(found)]:
                found.append(frame.to_ndarray(format="bgr24").astype(np.uint8))
    if len(found) < len(times_ms):
        raise RuntimeError(f"{video} ends before {times_ms[len(found)]} ms")
    return found


def _cut(image: Image, box: Box) -> Image:
    left, top, right, bottom = box
    height = round(CELL_WIDTH * (bottom - top) / (right - left))
    cut = cv2.resize(image[top:bottom, left:right], (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return cut.astype(np.uint8)


def _row(cells: list[Image]) -> Image:
    spaced = [cv2.copyMakeBorder(cell, 0, 0, 0, GAP, cv2.BORDER_CONSTANT, value=PAPER) for cell in cells]
    return np.hstack(spaced)[:, :-GAP].astype(np.uint8)


def _width() -> int:
    return COLUMNS * (CELL_WIDTH + GAP) - GAP


def _text_row(texts: list[str]) -> Image:
    row = np.full((BAND, _width(), 3), PAPER, np.uint8)
    for column, text in enumerate(texts):
        place = (column * (CELL_WIDTH + GAP) + 2, BAND - 8)
        cv2.putText(row, text, place, FONT, FONT_SIZE, INK, 1, cv2.LINE_AA)
    return row


def _strip(loudness: Float64Array) -> Image:
    """Loudness of the speech over time as a filled curve, with a line at each column's moment."""
    width = _width()
    strip = np.full((STRIP, width, 3), PAPER, np.uint8)
    heights = np.interp(np.linspace(0, len(loudness) - 1, width), np.arange(len(loudness)), loudness)
    for x, height in enumerate(heights / max(loudness.max(), 1e-9) * (STRIP - 2)):
        cv2.line(strip, (x, STRIP - 1), (x, STRIP - 1 - int(height)), SPEECH, 1)
    for column in range(COLUMNS):
        x = round(width * (column + 0.5) / COLUMNS)
        cv2.line(strip, (x, 0), (x, STRIP - 1), MARK, 1)
    return strip


def _loudness(speech: Path) -> Float64Array:
    """Root mean square of each `LOUDNESS_STEP_MS` of a 16-bit mono WAV file."""
    with wave.open(str(speech), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
        step = file.getframerate() * LOUDNESS_STEP_MS // 1000
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    loudness: Float64Array = np.sqrt((blocks**2).mean(1))
    return loudness
