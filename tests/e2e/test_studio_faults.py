"""What goes wrong around Studio, the page, in a real browser: files, servers, keys, tabs, reloads, sessions."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import studio_work
from live_server import held, in_thread, make_key, release
from media_maker import Image, make_sound, make_video, tone
from playwright.sync_api import Browser, Locator, Page, expect
from server_settings import settings
from studio import NARROW, Studio, StudioProcess, barriers, chromium, drop, kept, need_chromium, opened, sideways
from studio_work import HELD, QUICK

from duikou.database.engine import Database
from duikou.tasks.accounts import Accounts

pytestmark = pytest.mark.long
need_chromium()

CLIP_MS = 3_000
RATE = 16_000
TASKS = "/v1/videos/advanced-lip-sync"


def plain(number: int, width: int, height: int) -> Image:
    """A picture that is made and encoded quickly."""
    return np.full((height, width, 3), 60 + number, np.uint8)


PLAIN: dict[str, Any] = {"size": (720, 1_280), "paint": plain}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("material")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return make_video(folder / "clip.mp4", frames=CLIP_MS // 40, sound=tone(220, CLIP_MS), **PLAIN)


@pytest.fixture(scope="module")
def sound(folder: Path) -> Path:
    return make_sound(folder / "speech.wav", tone(440, 2_400, RATE), RATE)


def alerts(page: Page) -> Locator:
    return page.get_by_role("alert").filter(has_text=re.compile(r"\S"))


def check(page: Page) -> None:
    """Nothing shuts anybody out of the page as it is; nothing of it lies beside the window."""
    assert sideways(page) <= 0
    assert barriers(page) == []


def test_wrong_files_are_refused_in_words(browser: Browser, clip: Path, sound: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("This is no video, whatever its name says.\n" * 20)
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    brief = make_video(tmp_path / "brief.mp4", frames=30, **PLAIN)
    small = make_video(tmp_path / "small.mp4", size=(320, 240), frames=75)
    endless = make_video(tmp_path / "endless.mp4", frames=62, fps=1, **PLAIN)
    with (
        in_thread(settings(tmp_path / "data"), QUICK) as client,
        opened(browser, str(client.base_url), refusals=True) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        panel = studio.region("bring.title")
        for file, wanted in (
            (photo, [studio.t("bring.bad.picture")]),
            (sound, [studio.t("bring.bad.sound")]),
            (brief, ["1.2 s", "2 s"]),
            (small, ["320 × 240", "512"]),
            (endless, ["62 s", "60 s", "ffmpeg -i endless.mp4"]),
        ):
            drop(page.get_by_role("main"), file)
            refusal = panel.get_by_role("alert").filter(has_text=file.name)
            for part in wanted:
                expect(refusal).to_contain_text(part)
        check(page)
        uploads = [one for one in watched.asked if one.endswith("/v1/files")]
        assert uploads == [], "what the page can see is told before anything is sent"
        drop(page.get_by_role("main"), text)
        told = alerts(page).filter(has_text=studio.t("error.1201"))
        expect(told).to_contain_text(re.compile(r"neither|mp4|video"))
        expect(told).to_contain_text(studio.t("notice.request"))
        check(page)
        assert kept(page).get("video") is None
        studio.bring(clip)
        expect(told).to_have_count(0)
        speech = studio.region("timeline.title")
        for file, wanted in (
            (photo, [studio.t("add.picture")]),
            (make_sound(tmp_path / "brief.wav", tone(440, 1_500, RATE), RATE), ["1.5 s", "2 s"]),
        ):
            drop(studio.lane(), file, at=(0.1, 0.5))
            for part in wanted:
                expect(speech.get_by_role("alert").filter(has_text=file.name)).to_contain_text(part)
        check(page)
        noise = tmp_path / "noise.wav"
        noise.write_bytes(b"no sound at all" * 50)
        drop(studio.lane(), noise, at=(0.1, 0.5))
        expect(alerts(page).filter(has_text=studio.t("error.1201"))).to_be_visible()
        studio.say(sound)
        expect(studio.render).to_be_enabled()


def test_a_server_goes_away_and_comes_back(browser: Browser, clip: Path, sound: Path, tmp_path: Path) -> None:
    """The page waits for it, says so, and goes on by itself with the task that was running."""
    data = tmp_path / "data"
    with StudioProcess(data) as server, opened(browser, server.url, refusals=True) as watched:
        page = watched.page
        studio = Studio(page)
        studio.bring(clip)
        studio.say(sound)
        studio.render.click()
        panel = studio.region("render.title")
        expect(panel.get_by_role("progressbar")).to_have_attribute("value", str(studio_work.HELD_AT))
        before = kept(page)
        held(data)
        server.end(signal.SIGKILL)
        expect(panel.get_by_text(studio.t("render.offline"))).to_be_visible()
        assert kept(page) == before
        check(page)
        port = int(server.url.rpartition(":")[2])
        with StudioProcess(data, port=port) as again:
            assert again.url == server.url
            expect(panel.get_by_text(studio.t("render.offline"))).to_be_hidden()
            release(data)
            studio.ready()
            assert kept(page) == before
            assert len(again.client.get(TASKS).json()["data"]) == 1


def test_a_key_that_is_revoked(browser: Browser, clip: Path, sound: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = make_key(data, "studio")
    with (
        in_thread(settings(data), QUICK) as client,
        opened(browser, str(client.base_url), refusals=True, size=NARROW) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        field = page.get_by_label(studio.t("header.key"), exact=True)
        use = studio.button("header.key.use")
        check(page)
        field.fill("dk-wrong")
        use.click()
        expect(page.get_by_text(studio.t("header.key.again"))).to_be_visible()
        check(page)
        field.fill(first.secret)
        use.click()
        expect(field).to_be_hidden()
        studio.bring(clip)
        studio.say(sound)
        before = kept(page)
        with closing(Database(f"sqlite:///{data / 'duikou.db'}")) as database:
            Accounts(database).revoke(first.key.id)
        studio.render.click()
        expect(field).to_be_visible()
        expect(alerts(page).filter(has_text=studio.t("error.1000"))).to_be_visible()
        check(page)
        assert kept(page) == before
        field.fill(make_key(data, "studio").secret)
        use.click()
        expect(studio.grip("place", sound)).to_be_visible()
        studio.render.click()
        studio.ready()
        with page.context.expect_page() as opening:
            page.evaluate("open('/', '_blank', 'noopener')")
        other = opening.value
        watched.watch(other)
        expect(other.get_by_label(studio.t("header.key"), exact=True)).to_be_visible()
        elsewhere = "[document.cookie, JSON.stringify(localStorage), location.href].join()"
        assert "dk-" not in page.evaluate(elsewhere)
        assert [one for one in watched.asked if "dk-" in one] == []


def test_two_tabs_do_not_disturb_each_other(browser: Browser, clip: Path, sound: Path, tmp_path: Path) -> None:
    """Not even where the server allows one stream of events: the other page queries its task."""
    another = tmp_path / "another.mp4"
    another.write_bytes(clip.read_bytes())
    data = tmp_path / "data"
    with (
        in_thread(settings(data, events_at_once=1), HELD) as client,
        opened(browser, str(client.base_url), refusals=True) as watched,
    ):
        one = Studio(watched.page)
        one.bring(clip)
        one.say(sound)
        second = watched.page.context.new_page()
        watched.watch(second)
        second.goto(f"{watched.url}/")
        two = Studio(second)
        expect(two.button("bring.choose")).to_be_visible()
        assert kept(second).get("video") is None
        two.bring(another)
        two.say(sound, at=0.1)
        for studio in (one, two):
            studio.page.bring_to_front()
            studio.render.click()
        first_id, second_id = (wait_for_task(studio.page) for studio in (one, two))
        assert first_id != second_id
        for studio in (one, two):
            panel = studio.region("render.title")
            expect(panel.get_by_text(studio.t("render.offline"))).to_be_hidden()
        for studio, name in ((one, "clip.mp4"), (two, "another.mp4")):
            studio.page.bring_to_front()
            release(data)
            studio.ready()
            studio.page.reload()
            Studio(studio.page).ready()
            assert kept(studio.page)["video"]["name"] == name
        assert [kept(studio.page)["taskId"] for studio in (one, two)] == [first_id, second_id]


def wait_for_task(page: Page) -> str:
    """The id of the task that a page has made."""
    page.wait_for_function("() => JSON.parse(sessionStorage.getItem('duikou.state')).taskId")
    return str(kept(page)["taskId"])


def test_a_reload_in_the_middle_of_everything(browser: Browser, clip: Path, sound: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with in_thread(settings(data), HELD) as client, opened(browser, str(client.base_url)) as watched:
        page = watched.page
        studio = Studio(page)
        page.route("**/identify-face", lambda route: None)  # never answers
        drop(page.get_by_role("main"), clip)
        expect(studio.region("bring.title").get_by_text(studio.t("bring.finding", name=clip.name))).to_be_visible()
        page.unroute("**/identify-face")
        page.reload()
        expect(page.get_by_text(studio.t("bring.unfound"))).to_be_visible()
        studio.button("bring.find").click()
        studio.region("faces.title").get_by_role("button").first.wait_for()
        drop(studio.region("stage.title"), sound)  # beside the time line: the face that is chosen says it
        studio.grip("place", sound).wait_for()
        studio.grip("place", sound).press("Shift+ArrowRight")
        before = kept(page)
        page.reload()
        expect(studio.grip("place", sound)).to_be_visible()
        assert kept(page) == before
        studio.render.click()
        progress = studio.region("render.title").get_by_role("progressbar")
        expect(progress).to_have_attribute("value", str(studio_work.HELD_AT))
        page.reload()
        expect(progress).to_have_attribute("value", str(studio_work.HELD_AT))
        release(data)
        studio.ready()
        page.reload()
        studio.ready()
        assert len(client.get(TASKS).json()["data"]) == 1


def test_a_session_that_expired(browser: Browser, clip: Path, sound: Path, tmp_path: Path) -> None:
    """The faces are found again, and the speech stays."""
    data = tmp_path / "data"
    with (
        in_thread(settings(data), QUICK) as client,
        opened(browser, str(client.base_url), refusals=True, language="zh") as watched,
    ):
        page = watched.page
        studio = Studio(page)
        studio.bring(clip)
        studio.say(sound)
        before = kept(page)
        with closing(sqlite3.connect(data / "duikou.db")) as database:
            database.execute("UPDATE sessions SET expires_at = 1")
            database.commit()
        studio.render.click()
        expect(alerts(page).filter(has_text=studio.t("error.session"))).to_be_visible()
        check(page)
        studio.button("notice.again").click()
        page.wait_for_function(
            "id => JSON.parse(sessionStorage.getItem('duikou.state')).session?.id !== id", arg=before["session"]["id"]
        )
        expect(studio.grip("place", sound)).to_be_visible()
        studio.render.click()
        studio.ready()
        assert kept(page)["speeches"] == before["speeches"]
