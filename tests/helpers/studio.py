"""Shared by the tests of Studio, the page, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from live_server import Program, caller
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Debian's Chromium rasterizes with the graphics card, which without one is emulated: pages take a fifth more.
QUIET = (
    "--disable-gpu-rasterization",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
WIDE, NARROW = (1280, 900), (390, 844)
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
PATIENCE_MS = int(
    os.environ.get("DUIKOU_PATIENCE_MS", "60_000")
)  # for what takes a second or two, on a machine that does much else
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
    target.evaluate(f"(target, [files, point]) => ({DROP})([target, files, point])", [given, list(at)])


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


class Studio:
    """What a user does on the page, found by role and name in the user's language."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._words: dict[str, str] = {}
        page.get_by_role("heading", level=1).wait_for()

    def t(self, key: str, **values: Any) -> str:
        """The page's words for a key."""
        load = "([key, values]) => import(new URL('studio/words.js', document.baseURI)).then(one => one.t(key, values))"
        name = f"{self.language} {key} {values}"
        if name not in self._words:
            self._words[name] = str(self.page.evaluate(load, [key, values]))
        return self._words[name]

    @property
    def language(self) -> str:
        return str(self.page.evaluate("document.documentElement.lang"))

    def region(self, key: str) -> Locator:
        """The panel, or part of one, whose heading has the words for a key."""
        return self.page.get_by_role("region", name=self.t(key), exact=True)

    def button(self, key: str, within: Locator | None = None, **values: Any) -> Locator:
        """The button with the words for a key."""
        return (within or self.page).get_by_role("button", name=self.t(key, **values), exact=True)

    def slider(self, key: str, **values: Any) -> Locator:
        return self.page.get_by_role("slider", name=self.t(key, **values), exact=True)

    def choose(self, button: Locator, file: Path) -> None:
        """Press a button that asks for a file, and choose one."""
        with self.page.expect_file_chooser() as asked:
            button.click()
        asked.value.set_files(file)

    def lane(self, number: int = 1) -> Locator:
        """The lane of a face on the time line."""
        name = re.compile("^" + re.escape(self.t("timeline.face", number=number)))
        return self.region("timeline.title").get_by_role("group", name=name)

    def bring(self, video: Path) -> None:
        """Drop a video, and wait until its faces are there."""
        drop(self.page.get_by_role("main"), video)
        self.region("faces.title").get_by_role("button").first.wait_for()

    def say(self, sound: Path, at: float = 0.02, number: int = 1) -> None:
        """Drop a sound on the lane of a face, and wait until it lies there. at: share of the lane's width."""
        drop(self.lane(number), sound, at=(at, 0.5))
        self.grip("place", sound).wait_for()

    def grip(self, what: str, sound: Path) -> Locator:
        """A slider of a piece of speech. what: "place", "start" or "end"."""
        return self.slider(f"timeline.grip_{what}", name=sound.name)

    @property
    def render(self) -> Locator:
        return self.button("render.render")

    def ready(self) -> None:
        """Wait until the shown task has succeeded."""
        expect(self.region("render.title").get_by_text(self.t("render.done"))).to_be_visible()
        expect(self.region("compare.title")).to_be_visible()

    def drag(self, grip: Locator, by: tuple[float, float], *, release: bool = True, snap: bool = False) -> None:
        """Drag a slider of a piece of speech by some pixels."""
        grip.evaluate("one => one.scrollIntoView({block: 'center', inline: 'nearest'})")
        box = grip.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse, keyboard = self.page.mouse, self.page.keyboard
        if not snap:
            keyboard.down("Alt")
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + by[0], y + by[1], steps=5)
        if release:
            mouse.up()
        if not snap:
            keyboard.up("Alt")


def value(slider: Locator) -> int:
    """What a slider stands at: ms, or percent."""
    return int(slider.get_attribute("aria-valuenow") or slider.input_value())


def picture(shown: Page | Locator, name: str) -> None:
    """Write a picture of a page's window, or of a part of it, to the folder in DUIKOU_SCREENSHOTS, if it is set."""
    folder = os.environ.get("DUIKOU_SCREENSHOTS")
    if not folder:
        return
    image = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(Path(folder) / f"studio-{name}.png", optimize=True)


class StudioProcess(Program):
    """A server process with the work `studio_work.HELD`, which can be killed and started anew on the same port."""

    def __init__(self, data: Path, **more: Any) -> None:
        serve = "from duikou.server import serve; import studio_work;"
        code = f"{serve} serve(given, ready=lambda url: print(url, flush=True), work=studio_work.HELD)"
        super().__init__(code, data, **more)
        self.url = self.said
        self.client = caller(self.url)

    def end(self, how: int) -> int:
        """Send a signal and wait; the exit code."""
        self.client.close()
        return super().end(how)
