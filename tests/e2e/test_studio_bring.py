"""Studio's header, notices, bringing a video, faces and recording, in a real browser."""

from __future__ import annotations

import base64
import io
import random
import re
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import studio_work
from live_server import in_thread, make_key, sources
from media_maker import make_video, tone
from playwright.sync_api import Browser, Page, expect
from server_settings import settings
from small_portrait import repeated_portrait
from studio import NARROW, Studio, barriers, chromium, drop, kept, need_chromium, opened, sideways

from duikou.errors import InputError
from duikou.media.probe import VideoInfo
from duikou.media.video import probe_video
from duikou.server.validation import check_video

need_chromium()

CLIP_MS = 2_400
FILES, IDENTIFY, SETTINGS = "/v1/files", "/v1/videos/identify-face", "/studio/settings.json"
FACES = "faces.title"

# Starts a recording, and keeps the file that it gives in base64.
RECORD = """
([name, settings]) => {
    window.recorded = undefined;
    const kept = async (file) => {
        if (!file) return (window.recorded = null);
        const bytes = new Uint8Array(await file.arrayBuffer());
        window.recorded = [file.name, btoa(bytes.reduce((text, one) => text + String.fromCharCode(one), ""))];
    };
    import("/studio/record.js").then((all) => all[name]({settings}).then(kept));
}
"""
BUSY_WHILE_IT_RECORDS = """
(ms) => new Promise((resolve) => {
    const timer = setInterval(() => {
        if (!document.querySelector("[role=timer]")) return;
        clearInterval(timer);
        const until = performance.now() + ms;
        while (performance.now() < until);
        resolve();
    }, 10);
})
"""
FAIL = """
(name) => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", name));
}
"""
LINES = """
async ([faults, settings]) => {
    const {check} = await import("/studio/checks.js");
    const found = [];
    for (const [name, type, size] of faults) {
        const {faults, line} = await check(new File([new Uint8Array(size)], name, {type}), settings);
        found.push([faults.map((one) => one.key), line]);
    }
    return found;
}
"""

SIZES = """
async ([sizes, settings]) => {
    const {size} = await import("/studio/checks.js");
    return sizes.map(([width, height]) => {
        const found = size({width, height}, settings);
        return found && (found.mend ?? "");
    });
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repeated_portrait(tmp_path_factory.mktemp("material") / "clip.mp4", CLIP_MS)


def hold(page: Page, path: str) -> None:
    """Hold back the calls of a path."""
    page.route(f"**{path}", lambda route: None)


def found_anew(page: Page, before: dict[str, Any]) -> None:
    """Wait until the page has faces in hand that it did not have before."""
    changed = "id => ![id, undefined].includes(JSON.parse(sessionStorage['duikou.state']).session?.id)"
    page.wait_for_function(changed, arg=before["session"]["id"])


def refuse(page: Page, path: str, status: int, code: int, message: str) -> None:
    """Let the calls of a path be refused."""
    body = {"code": code, "message": message, "request_id": "b1946ac9", "data": None}
    page.route(f"**{path}", lambda route: route.fulfill(status=status, json=body))


def test_a_video_comes_from_an_address_and_its_faces_are_shown(browser: Browser, clip: Path, tmp_path: Path) -> None:
    with (
        sources(my_film__mp4=clip.read_bytes()) as site,
        in_thread(settings(tmp_path), studio_work.TWO_HELD) as client,
        opened(browser, str(client.base_url)) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        panel, faces = studio.region("bring.title"), studio.region(FACES)
        expect(panel.get_by_text(studio.t("bring.limits", min=2, max=60, mb=100))).to_be_visible()
        expect(faces).to_be_hidden()
        address = page.get_by_label(studio.t("bring.address"))
        for wrong, key in (("", "bring.address.none"), ("clip.mp4", "bring.address.bad")):
            address.fill(wrong)
            studio.button("bring.fetch").click()
            expect(address).to_have_accessible_description(studio.t(key))
            expect(address).to_be_focused()
        address.fill(f"{site}/my_film.mp4")
        address.press("Enter")

        cards = faces.get_by_role("listitem").filter(has=page.get_by_role("button"))
        expect(cards).to_have_count(2)
        expect(panel.get_by_text("my_film.mp4")).to_be_visible()
        expect(panel.get_by_text(studio.t("bring.facts", length="2.4", width=720, height=1280))).to_be_visible()
        expect(cards.nth(0)).to_contain_text(studio.t("faces.where", **{"from": "0:00.00"}, to="0:02.40"))
        expect(cards.nth(0)).to_contain_text(studio.t("faces.speaks", times="0:00.20–0:01.50"))
        expect(cards.nth(0)).to_contain_text(studio.t("faces.fine"))
        expect(cards.nth(1)).to_contain_text(f"{studio.t('warning.small_face')} 0:00.00–0:00.80")
        expect(cards.nth(1).get_by_text("the lips are 28 px wide")).to_be_hidden()
        cards.nth(1).get_by_text(studio.t("faces.measured")).click()
        expect(cards.nth(1).get_by_text("the lips are 28 px wide")).to_be_visible()
        expect(faces.get_by_role("heading", name=studio.t("faces.rejected"))).to_be_visible()
        expect(faces.get_by_text(studio.t("warning.unseen_lips"))).to_be_visible()
        page.wait_for_function("() => [...document.querySelectorAll('.face img')].every(one => one.naturalWidth > 0)")
        second = cards.nth(1).get_by_role("button")
        second.focus()
        second.press("Enter")
        expect(second).to_have_attribute("aria-pressed", "true")

        state = kept(page)
        page.reload()
        expect(cards).to_have_count(2)
        assert kept(page) == state


def test_another_video_is_chosen_or_dropped_and_all_is_put_away(browser: Browser, clip: Path, tmp_path: Path) -> None:
    with (
        in_thread(settings(tmp_path), studio_work.QUICK) as client,
        opened(browser, str(client.base_url)) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        panel, faces = studio.region("bring.title"), studio.region(FACES)
        studio.bring(clip)
        state = kept(page)
        studio.button("bring.another").click()
        expect(studio.button("bring.choose")).to_be_focused()
        studio.button("bring.keep").click()
        expect(studio.button("bring.choose")).to_be_hidden()
        expect(studio.button("bring.another")).to_be_focused()
        studio.button("bring.another").click()
        studio.choose(studio.button("bring.choose"), clip)
        found_anew(page, state)
        expect(panel.get_by_text("clip.mp4", exact=True)).to_be_visible()
        expect(faces.get_by_role("button")).to_have_count(1)
        assert kept(page)["video"]["id"] != state["video"]["id"]

        state = kept(page)
        drop(page.get_by_role("heading", level=1), clip)
        found_anew(page, state)
        expect(faces.get_by_role("button")).to_have_count(1)
        studio.button("header.over").click()
        dialog = page.get_by_role("dialog", name=studio.t("header.over.sure"))
        studio.button("header.over", dialog).click()
        expect(studio.button("bring.choose")).to_be_visible()
        expect(faces).to_be_hidden()
        assert kept(page)["video"] is None


def test_what_the_server_would_refuse_is_not_sent(browser: Browser, tmp_path: Path) -> None:
    short = make_video(tmp_path / "short.mp4", frames=40, size=(1280, 720))
    small = make_video(tmp_path / "small one.mp4", frames=60, size=(640, 360))
    sound, photo, empty = tmp_path / "speech.mp3", tmp_path / "me.png", tmp_path / "empty.mov"
    for path in (sound, photo):
        path.write_bytes(b"x")
    empty.touch()
    with (
        in_thread(settings(tmp_path / "data"), studio_work.QUICK) as client,
        opened(browser, str(client.base_url), language="zh", size=NARROW) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        panel = studio.region("bring.title")
        given = client.get(SETTINGS).json()
        for path, key, values in (
            (sound, "bring.bad.sound", {}),
            (photo, "bring.bad.picture", {}),
            (empty, "bring.bad.empty", {}),
            (small, "bring.bad.side.small", {"width": 640, "height": 360, "min": 512}),
            (short, "bring.bad.short", {"length": 1.6, "min": 2}),
        ):
            drop(page.get_by_role("main"), path)
            expect(panel.get_by_role("alert").get_by_text(studio.t("bring.refused", name=path.name))).to_be_visible()
            expect(panel.get_by_text(studio.t(key, **values))).to_be_visible()
            if path is small:
                wanted = 'ffmpeg -i "small one.mp4" -vf scale=1280:720 '
                expect(panel.get_by_text(wanted)).to_be_visible()
                assert (barriers(page), sideways(page)) == ([], 0)
                studio.button("page.copy").click()
                expect(studio.button("page.copied")).to_be_visible()
                assert page.evaluate("navigator.clipboard.readText()").startswith(wanted)
        megabyte = 1 << 20
        large = {**given, "max_video_mb": 1}
        encoded = "-c:v libx264 -crf 18 -pix_fmt yuv420p -c:a aac"
        assert page.evaluate(LINES, [[["it's.webm", "", 1], ["-a.mp4", "video/mp4", megabyte + 1]], large]) == [
            [["bring.bad.format"], f"ffmpeg -i 'it'\\''s.webm' {encoded} 'it'\\''s-mended.mp4'"],
            [["bring.bad.large"], f"ffmpeg -i ./-a.mp4 -maxrate 118k -bufsize 236k {encoded} ./-a-mended.mp4"],
        ]
        assert [url for url in watched.asked if FILES in url] == []
        chance = random.Random(1)
        sizes = [(chance.randrange(400, 2_300), chance.randrange(400, 2_300)) for _ in range(500)]
        told = page.evaluate(SIZES, [sizes, given])
        assert [mend is None for mend in told] == [taken(*size) for size in sizes]
        mended = [tuple(map(int, mend.removeprefix("-vf scale=").split(":"))) for mend in told if mend]
        assert len(mended) > 100 and all(taken(width, height) for width, height in mended)


def taken(width: int, height: int) -> bool:
    """Whether the server takes a video of this size."""
    info = VideoInfo("mp4", "h264", width, height, 0, 250, Fraction(25), 10_000, None)
    try:
        check_video(info, "video_url", any_size=False)
    except InputError:
        return False
    return True


def test_what_goes_on_can_be_cancelled_and_a_language_chosen(browser: Browser, clip: Path, tmp_path: Path) -> None:
    with (
        in_thread(settings(tmp_path), studio_work.QUICK) as client,
        opened(browser, str(client.base_url), dark=True) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        panel = studio.region("bring.title")
        hold(page, FILES)
        drop(panel, clip)
        expect(panel.get_by_role("progressbar", name=studio.t("bring.uploading", name="clip.mp4"))).to_be_visible()
        studio.button("page.cancel").click()
        expect(studio.button("bring.choose")).to_be_visible()
        assert kept(page).get("video") is None
        page.unroute(f"**{FILES}")

        hold(page, IDENTIFY)
        drop(panel, clip)
        expect(panel.get_by_role("progressbar", name=studio.t("bring.finding", name="clip.mp4"))).to_be_visible()
        assert barriers(page) == []
        page.get_by_role("button", name="中文", exact=True).click()
        studio = Studio(page)
        assert studio.language == "zh-Hans"
        panel = studio.region("bring.title")
        expect(page.get_by_role("button", name="中文", exact=True)).to_be_focused()
        expect(panel.get_by_role("progressbar", name=studio.t("bring.finding", name="clip.mp4"))).to_be_visible()
        studio.button("page.cancel").click()
        expect(panel.get_by_text(studio.t("bring.unfound"))).to_be_visible()
        page.unroute(f"**{IDENTIFY}")
        page.reload()
        expect(panel.get_by_text(studio.t("bring.unfound"))).to_be_visible()
        studio.button("bring.find").click()
        expect(studio.region(FACES).get_by_role("button")).to_have_count(1)
        expect(panel.get_by_text(studio.t("bring.unfound"))).to_be_hidden()


def test_faces_that_expired_are_found_again(browser: Browser, clip: Path, tmp_path: Path) -> None:
    with (
        in_thread(settings(tmp_path), studio_work.QUICK) as client,
        opened(browser, str(client.base_url), refusals=True) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        studio.bring(clip)
        first = kept(page)
        page.evaluate("state => (sessionStorage['duikou.state'] = JSON.stringify(state))", past(first))
        page.reload()
        expect(page.get_by_text(studio.t("bring.expired"))).to_be_visible()
        studio.button("bring.find").click()
        found_anew(page, first)
        expect(page.get_by_text(studio.t("bring.expired"))).to_be_hidden()
        second = kept(page)
        assert second["video"]["id"] == first["video"]["id"]

        refuse(page, FILES, 400, 1201, "session_id: there is no session '1', or it has expired.")
        studio.button("bring.another").click()
        studio.choose(studio.button("bring.choose"), clip)
        alert = page.get_by_role("alert").filter(has_text=studio.t("error.session"))
        expect(alert).to_contain_text("b1946ac9")
        studio.button("notice.again", alert).click()
        expect(alert).to_be_hidden()
        found_anew(page, second)


def past(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "session": {**state["session"], "expiresAt": 1}}


def test_a_video_without_faces_says_what_helps(browser: Browser, tmp_path: Path) -> None:
    long_sound = make_video(tmp_path / "v.mp4", size=(720, 1280), fps=10, frames=24, sound=tone(220, 3_400))
    with (
        in_thread(settings(tmp_path), studio_work.NOBODY) as client,
        opened(browser, str(client.base_url), size=NARROW, dark=True) as watched,
    ):
        studio = Studio(watched.page)
        drop(watched.page.get_by_role("main"), long_sound)
        faces = studio.region(FACES)
        expect(faces.get_by_text(studio.t("faces.none"))).to_be_visible()
        expect(faces.get_by_role("heading", name=studio.t("faces.video"))).to_be_visible()
        expect(faces.get_by_text(studio.t("warning.sound_cut"))).to_be_visible()
        expect(faces.get_by_text(studio.t("faces.none.how", min=2))).to_be_visible()
        expect(faces.get_by_text(studio.t("warning.turned_away"))).to_be_visible()
        expect(faces.get_by_role("button")).to_have_count(0)
        assert (barriers(watched.page), sideways(watched.page)) == ([], 0)


def test_a_key_is_asked_for_and_stays_in_the_tab(browser: Browser, clip: Path, tmp_path: Path) -> None:
    with in_thread(settings(tmp_path), studio_work.QUICK) as client:
        key = make_key(tmp_path, "someone").secret
        with opened(browser, str(client.base_url), refusals=True) as watched:
            page = watched.page
            studio = Studio(page)
            field = page.get_by_label(studio.t("header.key"), exact=True)
            expect(field).to_have_attribute("type", "password")
            expect(page.get_by_text(studio.t("header.key.why"))).to_be_visible()
            studio.button("header.key.use").click()
            expect(page.get_by_text(studio.t("header.key.none"))).to_be_visible()
            field.fill("dk-wrong")
            field.press("Enter")
            expect(page.get_by_text(studio.t("header.key.again"))).to_be_visible()  # the list of tasks was refused
            alert = page.get_by_role("alert").filter(has_text=studio.t("error.1000"))
            request = alert.locator("code").text_content()
            assert request
            assert re.fullmatch(r"[\w-]{8,}", request)
            assert barriers(page) == []
            field.fill(key)
            field.press("Enter")
            expect(page.get_by_text(studio.t("header.key.kept"))).to_be_visible()
            studio.button("notice.dismiss").click()
            expect(alert).to_be_hidden()
            studio.bring(clip)
            assert key not in page.content()
            assert page.evaluate("JSON.stringify(localStorage)").find(key) < 0
            assert [url for url in watched.asked if key in url] == []
            studio.button("header.key.forget").click()
            expect(page.get_by_label(studio.t("header.key"), exact=True)).to_be_visible()


def test_a_server_that_is_away_is_waited_for(browser: Browser, clip: Path, tmp_path: Path) -> None:
    with (
        in_thread(settings(tmp_path), studio_work.QUICK) as client,
        opened(browser, str(client.base_url), refusals=True) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        away = "**/*"
        page.route(away, lambda route: route.abort())
        drop(page.get_by_role("main"), clip)
        alert = page.get_by_role("alert").filter(has_text=studio.t("notice.offline"))
        expect(alert).to_be_visible()
        assert barriers(page) == []
        page.unroute(away)
        expect(page.get_by_role("alert").filter(has_text=studio.t("notice.back"))).to_be_visible()
        expect(alert).to_be_hidden()
        expect(page.get_by_text(studio.t("bring.failed", name="clip.mp4"))).to_be_visible()
        studio.button("bring.again").click()  # the file need not be chosen again
        expect(studio.region(FACES).get_by_role("button")).to_have_count(1)
        expect(page.get_by_text(studio.t("bring.failed", name="clip.mp4"))).to_be_hidden()


def test_speech_and_a_video_are_recorded(browser: Browser, tmp_path: Path) -> None:
    with (
        in_thread(settings(tmp_path / "data"), studio_work.QUICK) as client,
        opened(browser, str(client.base_url)) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        brief = {**client.get(SETTINGS).json(), "min_audio_ms": 500, "max_audio_ms": 1_000}
        page.evaluate(RECORD, ["recordSound", brief])
        dialog = page.get_by_role("dialog", name=studio.t("record.sound"))
        page.evaluate(BUSY_WHILE_IT_RECORDS, 1_500)
        expect(studio.button("record.use", dialog)).to_be_visible()  # it ends by itself at the limit
        assert barriers(page) == []
        studio.button("record.use").click()
        name, content = page.wait_for_function("() => window.recorded").json_value()
        assert re.fullmatch(r"speech-[\d-]{19}\.wav", name)
        with wave.open(io.BytesIO(base64.b64decode(content))) as sound:
            assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
            assert sound.getnframes() == sound.getframerate()  # exactly the limit, although the page was busy
            assert np.abs(np.frombuffer(sound.readframes(sound.getnframes()), "<i2")).max() > 300

        page.evaluate(RECORD, ["recordSound", {**brief, "min_audio_ms": 30_000, "max_audio_ms": 60_000}])
        expect(dialog.get_by_role("meter", name=studio.t("record.level"))).to_be_visible()
        assert barriers(page) == []
        studio.button("record.stop").click()
        short = studio.t("record.short", length="", min=30)[-20:]
        expect(dialog.get_by_role("paragraph").filter(has_text=short)).to_be_visible()
        expect(studio.button("record.use")).to_have_count(0)
        studio.button("record.again").click()
        expect(studio.button("record.stop")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        assert page.evaluate("window.recorded") is None

        if not page.evaluate("MediaRecorder.isTypeSupported('video/mp4')"):
            pytest.skip("this Chromium records no mp4")
        studio.button("bring.camera").click()
        film = page.get_by_role("dialog", name=studio.t("record.camera"))
        studio.button("record.start", film).click()
        expect(film.get_by_role("timer")).to_contain_text(re.compile("^0:(0[3-9]|[1-5])"))
        assert barriers(page) == []
        studio.button("record.stop", film).click()
        studio.button("record.use", film).click()
        expect(studio.region(FACES).get_by_role("button")).to_have_count(1)
        stored = tmp_path / "filmed.mp4"
        stored.write_bytes(client.get(kept(page)["video"]["url"]).content)
        filmed = probe_video(stored)
        assert (filmed.width, filmed.height) == (1280, 720)
        assert filmed.duration_ms >= 2_000


@pytest.mark.parametrize(("name", "key"), [("NotAllowedError", "denied"), ("NotFoundError", "missing")])
def test_a_device_that_cannot_be_used_is_explained(browser: Browser, name: str, key: str, tmp_path: Path) -> None:
    with in_thread(settings(tmp_path), studio_work.QUICK) as client, opened(browser, str(client.base_url)) as watched:
        page = watched.page
        studio = Studio(page)
        page.evaluate(FAIL, name)
        studio.button("bring.camera").click()
        expect(page.get_by_role("dialog").get_by_text(studio.t(f"record.{key}.camera"))).to_be_visible()
        studio.button("record.close").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(studio.button("bring.camera")).to_be_focused()
