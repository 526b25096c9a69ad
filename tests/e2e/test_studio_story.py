"""The whole story of Studio, the page, in a real browser: from a video and speech to a dubbed clip to take away."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import stub_work
import studio_work
from live_server import in_thread, release
from playwright.sync_api import Browser, Locator, Page, expect
from server_settings import settings
from studio import NARROW, Studio, Watched, barriers, chromium, kept, need_chromium, opened, picture, sideways, value

from demo import portrait, run, speech
from duikou import Session, identify
from duikou.cli import main
from duikou.faces import pose
from duikou.faces.follow import follow
from duikou.faces.smooth import smooth
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.media.video import probe_video
from duikou.render import mesh
from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES

pytestmark = pytest.mark.long
need_chromium()

CLIP_MS = 3_400
SENTENCE = "Hello, my name is Eileen, how are you all today?"
MIN_R = 0.9  # lip gap of the result against the gap that the speech asks for
EASE_MS = 200  # at both ends of the speech the mouth is on its way
FINE_MS, COARSE_MS = 10, 100  # an arrow key, and with Shift
FRAME_MS = 40
NEAR_MS = 60  # a few pixels of the time line

# What is heard: every sound that is started, with its place in the file and its length.
PROBE = """
() => {
    window.heard = [];
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (when, offset, length) {
        window.heard.push([offset, length, this.context.state]);
        return start.call(this, when, offset, length);
    };
}
"""

# What the progress says, in the order in which it says it.
STAGES = """
(panel) => {
    window.stages = [];
    new MutationObserver(() => {
        const said = panel.querySelector(".progress strong")?.textContent;
        if (said && said !== window.stages.at(-1)) window.stages.push(said);
    }).observe(panel, {subtree: true, childList: true, characterData: true});
}
"""


@dataclass(frozen=True)
class Material:
    """A clip of a face, and speech for it."""

    clip: Path
    sound: Path
    sound_ms: int


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    sound = speech.speak(folder / "speech.wav", SENTENCE)
    return Material(portrait.write(folder / "clip.mp4", CLIP_MS), sound, run.duration_ms(sound))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def check(page: Page, *, other: str) -> None:
    """Nothing shuts anybody out of the page as it is, and nothing of it lies beside the window.

    other: the colour scheme that the page does not have now; of it, contrast is looked at.
    """
    assert sideways(page) <= 0
    assert barriers(page) == []
    page.emulate_media(color_scheme=other)  # type: ignore[arg-type]
    assert barriers(page, contrast_only=True) == []
    page.emulate_media(color_scheme="light" if other == "dark" else "dark")


def test_the_portraits_face_is_where_the_quick_work_says() -> None:
    left, top, right, bottom = run.face_box()
    assert (left, top, right - left, bottom - top) == studio_work.FACE


def test_a_clip_is_dubbed_in_english(browser: Browser, material: Material, tmp_path: Path) -> None:
    """With the real work, in a wide window."""
    clip, sound = material.clip, material.sound
    with in_thread(settings(tmp_path / "data"), None) as client, opened(browser, str(client.base_url)) as watched:
        page = watched.page
        page.evaluate(PROBE)
        studio = Studio(page)
        expect(page).to_have_title("duikou studio")
        check(page, other="dark")
        studio.bring(clip)
        the_face_is_shown(studio)
        check(page, other="dark")
        picture(page, "faces")
        studio.say(sound)
        speech_is_moved_and_trimmed(studio, sound, material.sound_ms)
        it_says_what_is_too_far(studio, sound, watched)
        check(page, other="dark")
        picture(studio.region("timeline.title"), "timeline")
        it_is_heard_before_it_is_rendered(studio)
        studio.region("render.title").evaluate(STAGES)
        studio.render.click()
        studio.ready()
        stages = page.evaluate("window.stages")
        known = [studio.t(f"stages.{stage}") for stage in (*studio_work.STAGES, "rendering")]
        assert [one for one in stages if one in known] == [one for one in known if one in stages]
        assert len(set(stages) & set(known)) >= 2, stages
        it_is_compared(studio)
        check(page, other="dark")
        studio.slider("compare.time").fill("1520")
        picture(studio.region("compare.title"), "compare")
        result = taken_away(studio, tmp_path)
        the_mouth_says_it(material, result, studio)
        the_commands_say_the_same(studio, tmp_path)
        check(page, other="dark")
        before = kept(page)
        page.reload()
        studio = Studio(page)
        studio.ready()
        assert kept(page) == before
        expect(studio.grip("place", sound)).to_be_visible()
        assert studio.region("tasks.title").get_by_role("listitem").count() == 1


def the_face_is_shown(studio: Studio) -> None:
    card = studio.region("faces.title").get_by_role("button", name=re.compile(studio.t("faces.one", number=1)))
    card.click()
    expect(card).to_have_attribute("aria-pressed", "true")
    picture = card.locator("img")
    assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 60
    stage = studio.region("stage.title")
    box = studio.button("stage.face", stage, number=1).bounding_box()
    shown = stage.locator("video").bounding_box()
    assert box is not None
    assert shown is not None
    scale = shown["height"] / portrait.HEIGHT
    x, y, width, height = studio_work.FACE
    middle = shown["x"] + scale * (x + width / 2), shown["y"] + scale * (y + height / 2)
    assert box["x"] + box["width"] / 2 == pytest.approx(middle[0], abs=40 * scale)
    assert box["y"] + box["height"] / 2 == pytest.approx(middle[1], abs=60 * scale)


def speech_is_moved_and_trimmed(studio: Studio, sound: Path, sound_ms: int) -> None:
    place, start, end = (studio.grip(what, sound) for what in ("place", "start", "end"))
    assert value(end) - value(place) == pytest.approx(sound_ms, abs=2)
    width = place.evaluate("one => one.parentElement.clientWidth")
    ms_per_px = sound_ms / width
    was = value(place)
    studio.drag(place, (150 / ms_per_px, 0))
    assert value(place) - was == pytest.approx(150, abs=NEAR_MS)
    assert value(end) - value(place) == pytest.approx(sound_ms, abs=2)
    was = value(end)
    studio.drag(end, (-300 / ms_per_px, 0))
    assert value(end) - was == pytest.approx(-300, abs=NEAR_MS)
    was_start, was_end = value(start), value(end)
    start.press("ArrowRight")
    start.press("Shift+ArrowRight")
    assert value(start) - was_start == FINE_MS + COARSE_MS
    assert value(end) == was_end, "the sound stays where it is while its start is trimmed"
    was = value(place)
    place.press("Shift+ArrowRight")
    place.press("ArrowLeft")
    assert value(place) - was == COARSE_MS - FINE_MS
    trimmed = kept(studio.page)["speeches"][0]
    assert trimmed["trimStartMs"] == FINE_MS + COARSE_MS
    assert trimmed["trimEndMs"] == pytest.approx(sound_ms - 300, abs=NEAR_MS)
    assert trimmed["insertMs"] == value(place)


def it_says_what_is_too_far(studio: Studio, sound: Path, watched: Watched) -> None:
    """While the speech is dragged, and after it was let go, without a request; an undo brings it back."""
    estimate = re.compile(studio.t("render.about", time="#").replace("#", ".+"))
    expect(studio.region("render.title").get_by_text(estimate)).to_be_visible()
    asked = len(watched.asked)
    place = studio.grip("place", sound)
    was = value(place)
    sentence = re.compile(studio.t("limits.after_video", late="#", video=CLIP_MS / 1000).replace("#", r"[\d.]+"))
    studio.drag(place, (400, 0), release=False)
    expect(studio.region("timeline.title").get_by_text(sentence).first).to_be_visible()
    studio.page.mouse.up()
    expect(studio.region("timeline.title").get_by_role("listitem").get_by_text(sentence)).to_be_visible()
    expect(studio.region("render.title").get_by_text(sentence)).to_be_visible()
    expect(studio.render).to_be_disabled()
    assert [one for one in watched.asked[asked:] if "lip-sync" in one] == [], "said before any request"
    place.press("Control+z")
    assert value(place) == was
    expect(studio.render).to_be_enabled()
    studio.drag(studio.grip("end", sound), (-600, 0), release=False)
    short = studio.t("edit.short", least=2)
    expect(studio.region("timeline.title").get_by_text(short)).to_be_visible()
    studio.page.keyboard.press("Escape")
    studio.page.mouse.up()
    assert value(place) == was


def it_is_heard_before_it_is_rendered(studio: Studio) -> None:
    page = studio.page
    trimmed = kept(page)["speeches"][0]
    listen = studio.region("mix.title")
    volume = studio.slider("mix.speech", name=trimmed["audio"]["name"])
    volume.press("ArrowLeft")
    assert kept(page)["speeches"][0]["volume"] == pytest.approx(0.95)
    playhead = studio.slider("timeline.playhead")
    for _ in range(2):  # as at the first time, and with all that playing needs in place
        page.evaluate("window.heard.length = 0")
        studio.button("stage.to_start").click()
        studio.button("stage.play", listen).click()
        page.wait_for_function("one => Number(one.ariaValueNow) > 600", arg=playhead.element_handle())
        studio.button("stage.pause", listen).click()
        heard = page.evaluate("window.heard")
        assert {state for _, _, state in heard} == {"running"}
        ends = [offset + length for offset, length, _ in heard]
        assert ends == pytest.approx([trimmed["trimEndMs"] / 1000] * len(ends), abs=0.001)
    assert heard[0][0] == pytest.approx(trimmed["trimStartMs"] / 1000, abs=0.001)
    places = []
    for _ in range(2):
        time.sleep(0.2)
        places.append(value(playhead))
    assert places[0] == places[1], "it stands still"
    volume.press("ArrowRight")


def it_is_compared(studio: Studio) -> None:
    page, panel = studio.page, studio.region("compare.title")
    before, after = (panel.get_by_role("figure", name=studio.t(f"compare.{side}")) for side in ("before", "after"))
    expect(before).to_be_visible()
    expect(after).to_be_visible()
    step, shown = studio.button("compare.on", panel), studio.slider("compare.time")
    expect(shown).to_have_attribute("max", str(CLIP_MS))
    for count in (1, 2, 3):
        step.click()
        expect(shown).to_have_value(str(count * FRAME_MS))
    studio.button("compare.back", panel).click()
    expect(shown).to_have_value(str(2 * FRAME_MS))
    page.wait_for_function("() => [...document.querySelectorAll('figure video')].every(one => !one.seeking)")
    times = [one.locator("video").evaluate("one => one.currentTime") for one in (before, after)]
    assert times == pytest.approx([2.5 * FRAME_MS / 1000] * 2, abs=0.001)  # the middle of the frame

    panel.get_by_role("combobox", name=studio.t("compare.zoom"), exact=True).select_option("0")
    page.wait_for_function("one => new DOMMatrix(getComputedStyle(one).transform).a > 1.5", arg=handle(after))
    panel.get_by_role("combobox", name=studio.t("compare.rate"), exact=True).select_option("0.25")
    studio.button("compare.play", panel).click()
    page.wait_for_function("one => Number(one.value) > 400", arg=handle(shown, ""))
    assert after.locator("video").evaluate("one => one.playbackRate") == 0.25
    studio.button("compare.pause", panel).click()

    panel.get_by_role("radio", name=studio.t("compare.view_one")).check(force=True)
    expect(before).to_be_hidden()
    studio.button("compare.show_before", panel).click()
    expect(after).to_be_hidden()
    panel.get_by_role("radio", name=studio.t("compare.view_wipe")).check(force=True)
    divider = studio.slider("compare.divider")
    divider.press("End")
    assert value(divider) == 100
    divider.press("PageDown")
    assert value(divider) == 90
    panel.get_by_role("radio", name=studio.t("compare.view_sides")).check(force=True)
    expect(before).to_be_visible()
    expect(after).to_be_visible()


def handle(locator: Locator, inner: str = "video") -> object:
    return (locator.locator(inner) if inner else locator).element_handle()


def taken_away(studio: Studio, folder: Path) -> Path:
    with studio.page.expect_download() as downloaded:
        studio.page.get_by_role("link", name=studio.t("compare.download"), exact=True).click()
    assert downloaded.value.suggested_filename.endswith(".mp4")
    path = folder / "downloaded.mp4"
    downloaded.value.save_as(path)
    return path


def lip_gaps(session: Session) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Times in ms and lip gap in eye distances of the only face of a video, on every frame."""
    (face,) = session.faces
    track = smooth(follow(session.source, face))
    shapes = pose.to_canonical(track.landmarks, pose.fit(track.landmarks))
    return track.times_ms, mesh.lip_gap(shapes.astype(np.float64))


def the_mouth_says_it(material: Material, result: Path, studio: Studio) -> None:
    """The result has the source's frames, and from the chosen time on the mouth speaks the chosen part."""
    trimmed = kept(studio.page)["speeches"][0]
    first, last, insert = trimmed["trimStartMs"], trimmed["trimEndMs"], trimmed["insertMs"]
    info = probe_video(result)
    assert (info.codec, info.frames, info.duration_ms) == ("h264", CLIP_MS // FRAME_MS, CLIP_MS)
    assert np.array_equal(decode.times(result), decode.times(material.clip))
    said = read_audio(material.sound, channels=1)
    part = said.samples[first * said.rate // 1000 : last * said.rate // 1000, 0]
    motion = articulate(part, said.rate).shifted(insert / 1000)
    times, gaps = lip_gaps(identify(result))
    inside = (times > insert + EASE_MS) & (times < insert + last - first - EASE_MS)
    assert inside.sum() >= 35
    wanted = motion.at(times / 1000)[:, CURVES.index("gap")]
    assert np.corrcoef(gaps[inside], wanted[inside])[0, 1] >= MIN_R


def copied(studio: Studio, name: str) -> str:
    """Press a button that copies a command; what is on the clipboard then."""
    button = studio.button("snippets.copy_of", title=studio.t(f"snippets.{name}"))
    button.click()
    expect(button).to_have_text(studio.t("snippets.copied"))
    return str(studio.page.evaluate("navigator.clipboard.readText()"))


def commands(studio: Studio) -> dict[str, str]:
    """The three commands, copied."""
    title = studio.page.get_by_text(studio.t("snippets.title"), exact=True)
    title.click()
    return {name: copied(studio, name) for name in ("sync", "python", "curl")}


def the_commands_say_the_same(studio: Studio, folder: Path) -> None:
    trimmed = kept(studio.page)["speeches"][0]
    found = commands(studio)
    words = shlex.split(found["sync"])
    assert words[:3] == ["duikou", "sync", "clip.mp4"]
    assert f"{trimmed['trimStartMs']}:{trimmed['trimEndMs']}" in words
    assert f'"sound_insert_time": {trimmed["insertMs"]}' in found["curl"]
    compile(found["python"], "copied.py", "exec")
    subprocess.run(["bash", "-n"], input=found["curl"], text=True, check=True)


def test_a_clip_is_dubbed_in_chinese(
    browser: Browser, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a narrow and dark window, by choosing files and by the keyboard; the work is quick, its progress is held."""
    clip, sound, data = material.clip, material.sound, tmp_path / "data"
    with (
        in_thread(settings(data), studio_work.HELD) as client,
        opened(browser, str(client.base_url), language="zh", size=NARROW, dark=True) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        assert studio.language == "zh-Hans"
        check(page, other="light")
        studio.choose(studio.button("bring.choose"), clip)
        studio.region("faces.title").get_by_role("button").first.wait_for()
        the_face_is_shown(studio)
        studio.choose(studio.button("add.choose"), sound)
        place = studio.grip("place", sound)
        for key in ("Home", "Shift+ArrowRight", "Shift+ArrowRight", "ArrowRight"):
            place.press(key)
        assert value(place) == 2 * COARSE_MS + FINE_MS
        field = studio.region("timeline.title").get_by_label(studio.t("speech.end"), exact=True)
        field.fill("2.5 s")
        field.press("Enter")
        assert kept(page)["speeches"][0]["trimEndMs"] == 2_500
        check(page, other="light")
        studio.region("timeline.title").evaluate("one => one.scrollIntoView()")
        picture(page, "narrow")

        studio.render.press("Enter")
        progress = studio.region("render.title").get_by_role("progressbar")
        expect(progress).to_have_attribute("value", str(studio_work.HELD_AT))
        expect(studio.region("render.title").get_by_text(studio.t("stages.rendering"))).to_be_visible()
        check(page, other="light")
        page.reload()
        expect(progress).to_have_attribute("value", str(studio_work.HELD_AT))
        release(data)
        studio.ready()
        check(page, other="light")
        panel = studio.region("compare.title")
        panel.get_by_role("radio", name=studio.t("compare.view_wipe")).check(force=True)
        studio.slider("compare.divider").press("Home")
        assert value(studio.slider("compare.divider")) == 0
        assert taken_away(studio, tmp_path).read_bytes() == clip.read_bytes()
        found = commands(studio)
        check(page, other="light")
        assert latin(page) == set()
        monkeypatch.chdir(clip.parent)
        with releasing(data):
            the_commands_work(found, clip)
        made = client.get("/v1/videos/advanced-lip-sync").json()["data"]
        assert len(made) >= 3
        request, *others = (task["request"] for task in made)
        assert others == [request] * len(others), "every way asks for the same"


def the_commands_work(found: dict[str, str], clip: Path) -> None:
    """Run the copied commands beside the files; the quick work copies the clip."""
    result = clip.with_name("clip.synced.mp4")
    assert main.run(shlex.split(found["sync"])[1:]) == 0
    assert result.read_bytes() == clip.read_bytes()
    result.unlink()
    exec(compile(found["python"], "copied.py", "exec"), {})
    assert result.read_bytes() == clip.read_bytes()
    if shutil.which("curl") and shutil.which("jq"):
        result.unlink()
        subprocess.run(["bash", "-e"], input=found["curl"], text=True, capture_output=True, check=True)
        assert result.read_bytes() == clip.read_bytes()


@contextmanager
def releasing(data: Path) -> Iterator[None]:
    """Hold no work in a data folder."""
    over = threading.Event()

    def release_all() -> None:
        while not over.wait(0.1):
            for mark in data.rglob(stub_work.HELD):
                mark.unlink(missing_ok=True)

    thread = threading.Thread(target=release_all)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# Text that is shown, and what a screen reader reads in its place; not code, and not what is said to be in English.
TEXTS = """
() => {
    const found = [];
    const names = ["aria-label", "aria-valuetext", "placeholder", "title", "alt"];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
        const element = node.nodeType === 1 ? node : node.parentElement;
        if (element.closest("code, pre, [lang=en]") || !element.checkVisibility()) continue;
        if (node.nodeType === 3) found.push(node.textContent);
        else found.push(...names.map((name) => element.getAttribute(name)));
    }
    return found.filter(Boolean);
}
"""
KNOWN = {"duikou", "studio", "clip", "mp4", "mov", "mp3", "wav", "m4a", "aac", "speech", "https", "example", "com"}
KNOWN |= {"Python", "curl", "API", "Shift", "Alt", "Ctrl", "DUIKOU", "KEY"}


def latin(page: Page) -> set[str]:
    """Words of another language that the Chinese page shows, apart from names."""
    return {
        word for text in page.evaluate(TEXTS) for word in re.findall("[A-Za-z][a-z0-9]{2,}|[A-Z]{3,}", text)
    } - KNOWN
