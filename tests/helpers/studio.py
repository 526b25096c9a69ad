"""Shared by the tests of Studio in a real browser: a page that is watched, files that are brought, and quick work."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import pytest
import stub_work
from axe_playwright_python.base import AXE_SCRIPT
from live_server import Program, caller
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from demo import portrait, run
from duikou.faces.track import FaceWarning
from duikou.media import decode
from duikou.media.video import probe_video
from duikou.progress import Progress
from duikou.tasks.models import FaceRecord, FoundFaces
from duikou.timebase import Interval
from duikou.workers.work import RenderJob, Work

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
WIDE, NARROW = (1280, 900), (390, 844)
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
PATIENCE_MS = 60_000  # for what takes a second or two, on a machine that does much else
STAGES = ("following the face", "looking for captions", "choosing mouth shapes")  # those before "rendering"
SERIOUS = ("serious", "critical")

DROP = """
([target, files, point]) => {
    const transfer = new DataTransfer();
    for (const {name, type, content} of files) {
        const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {type}));
    }
    const {left, top, width, height} = target.getBoundingClientRect();
    const at = {clientX: left + point[0] * width, clientY: top + point[1] * height};
    for (const kind of ["dragenter", "dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true, ...at}));
}
"""


def need_chromium() -> None:
    """Skip the module where there is no Chromium; in CI there has to be one."""
    if CHROMIUM is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine", allow_module_level=True)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, with a camera and a microphone that need no hardware."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *CAMERA, "--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page of Studio, with all that its browser said and asked."""

    page: Page
    url: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refusals: bool = False  # whether calls that fail are part of the test

    def strangers(self) -> list[str]:
        """Requests that left the server's own origin."""
        own = f"{self.url}/"
        return [one for one in self.asked if not one.startswith((own, "data:", f"blob:{own}"))]

    def faults(self) -> list[str]:
        """What the console complained of."""
        return [one for one in self.said if not (self.refusals and one.startswith("Failed to load resource"))]

    def note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def note_request(self, request: Request) -> None:
        self.asked.append(request.url)

    def watch(self, page: Page) -> None:
        page.on("console", self.note_console)
        page.on("pageerror", lambda error: self.said.append(str(error)))


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    language: str = "en",
    size: tuple[int, int] = WIDE,
    dark: bool = False,
    refusals: bool = False,
) -> Iterator[Watched]:
    """Studio of the server at `url` in a browser of its own; what it may never do is asserted at the end."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        locale=LOCALES[language],
        color_scheme="dark" if dark else "light",
        permissions=["clipboard-read", "clipboard-write"],
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    try:
        page = context.new_page()
        watched = Watched(page, url.rstrip("/"), refusals=refusals)
        context.on("request", watched.note_request)
        watched.watch(page)
        page.goto(f"{watched.url}/")
        yield watched
        assert watched.strangers() == []
        assert watched.faults() == []
    finally:
        context.close()


def drop(target: Locator, *files: Path, at: tuple[float, float] = (0.5, 0.5)) -> None:
    """Drop files on a part of the page. at: where on it, as shares of its width and height."""
    types = {".mp4": "video/mp4", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".png": "image/png"}
    given = [
        {
            "name": file.name,
            "type": types.get(file.suffix, ""),
            "content": base64.b64encode(file.read_bytes()).decode(),
        }
        for file in files
    ]
    target.evaluate(f"(target, [files, point]) => ({DROP})([target, files, point])", [given, at])


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def kept(page: Page) -> dict[str, Any]:
    """What the page keeps of the work in hand."""
    text = page.evaluate("sessionStorage.getItem('duikou.state')")
    return dict(json.loads(text or "{}"))


def barriers(page: Page, *, contrast_only: bool = False) -> list[str]:
    """Serious and critical faults that axe-core finds in the page as it is.

    axe comes by the debugger's way, so that the page keeps its policy.
    """
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
    how: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if contrast_only:
        how["runOnly"] = {"type": "rule", "values": ["color-contrast"]}
    found = page.evaluate("how => axe.run(document, how)", how)["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['target']}: {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


# Quick work on real files. The portrait's face is known, so nothing is looked for.


@cache
def _face_box() -> tuple[int, int, int, int]:
    left, top, right, bottom = run.face_box()
    return left, top, right - left, bottom - top


def _portrait(video: Path, folder: Path) -> int:
    """Write the face's picture; the video's length in ms."""
    x, y, width, height = _face_box()
    first = next(iter(decode.frames(video)))
    cv2.imwrite(str(folder / "face_0.jpg"), first.image[y : y + height, x : x + width])
    return probe_video(video).duration_ms


def find_one(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """The portrait's face, in a video of `demo.portrait`."""
    ms = _portrait(video, folder)
    return FoundFaces((FaceRecord("0", Interval(0, ms), (), _face_box()),), ())


def find_two(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """Two faces: the portrait's, and another one that leaves early; and someone who cannot be made to speak."""
    ms = _portrait(video, folder)
    shutil.copyfile(folder / "face_0.jpg", folder / "face_1.jpg")
    small = FaceWarning("small_face", "the lips are 28 px wide", Interval(0, 800))
    masked = FaceWarning("unseen_lips", "no lips were seen", Interval(0, 500))
    faces = (
        FaceRecord("0", Interval(0, ms), (), _face_box()),
        FaceRecord("1", Interval(0, ms - 600), (small,), (40, 700, 140, 180)),
    )
    return FoundFaces(faces, (masked,))


def copy_in_steps(order: RenderJob, progress: Progress) -> int:
    """Tell every stage, wait at the last one until a test releases it (`live_server.release`), and copy the video."""
    for stage in STAGES:
        for share in (0.2, 0.6, 1.0):
            progress(stage, share)
            time.sleep(0.05)
    mark = order.output.parent / stub_work.HELD
    mark.touch()
    while mark.exists():
        progress("rendering", 0.5)
        time.sleep(0.02)
    return copy(order, progress)


def copy(order: RenderJob, progress: Progress) -> int:
    """Copy the video."""
    for path in filter(None, (order.output, order.watermark)):
        shutil.copyfile(order.video, path)
    return probe_video(order.output).duration_ms


QUICK = Work(identify=find_one, render=copy)
"""Finds the portrait's face and copies the video."""

HELD = Work(identify=find_one, render=copy_in_steps)
"""The same, but rendering waits for a test."""

TWO_HELD = Work(identify=find_two, render=copy_in_steps)
"""Two faces, and rendering that waits for a test."""


class StudioProcess(Program):
    """A server process with the work `HELD`, which can be killed and started anew on the same port and folder."""

    def __init__(self, data: Path, **more: Any) -> None:
        serve = "from duikou.server import serve; import studio;"
        code = f"{serve} serve(given, ready=lambda url: print(url, flush=True), work=studio.HELD)"
        super().__init__(code, data, **more)
        self.url = self.said
        self.client = caller(self.url)

    def end(self, how: int) -> int:
        """Send a signal and wait; the exit code."""
        self.client.close()
        return super().end(how)


def make_clip(path: Path, ms: int = 3_400) -> Path:
    """A clip of the portrait."""
    return portrait.write(path, ms)
