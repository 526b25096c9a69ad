"""Studio's panels that render, compare, write commands and list tasks, in a real browser."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import studio_work
from live_server import create, ended, in_thread, release, until
from playwright.sync_api import Browser, Locator, Page, Route, expect
from server_settings import settings
from small_portrait import repeated_portrait
from studio import NARROW, Studio, barriers, chromium, kept, need_chromium, opened, sideways

from demo import portrait

need_chromium()

CREATE = "/v1/videos/advanced-lip-sync"
CLIP_MS, SOUND_MS, FRAME_S = 2_400, 2_200, 0.04
NAMES = ('-it\'s "mine" $HOME.mp4', "声音 `1`.wav", "b.wav")
KEY = "dk-a-key-that-nobody-may-see"
TIMES = "() => [...document.querySelectorAll('figure video')].map(one => one.currentTime)"
STILL = "() => [...document.querySelectorAll('figure video')].every(one => one.readyState >= 2 && !one.seeking)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A clip and a sound."""
    folder = tmp_path_factory.mktemp("material")
    with wave.open(str(folder / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 16_000, 0, "NONE", ""))
        turns = np.arange(16 * SOUND_MS) * 220 / 16_000
        tone.writeframes((8_000 * np.sin(2 * np.pi * turns)).astype("<i2").tobytes())
    return repeated_portrait(folder / "clip.mp4", CLIP_MS).read_bytes(), (folder / "tone.wav").read_bytes()


def in_hand(client: httpx.Client, files: tuple[bytes, bytes], *, people: int = 1) -> dict[str, Any]:
    """What the page keeps once a video is there and each of its faces has something to say."""
    video, sound = (client.post("/v1/files", content=content).json()["data"] for content in files)
    found = client.post("/v1/videos/identify-face", json={"video_id": video["id"]}).json()["data"]
    faces = [
        {
            "id": face["face_id"],
            "image": face["face_image"],
            "startMs": face["start_time"],
            "endMs": face["end_time"],
            "box": face["bbox"],
            "warnings": [],
        }
        for face in found["face_data"]
    ]
    size = {"width": portrait.WIDTH, "height": portrait.HEIGHT, "frameRate": float(portrait.RATE)}
    return {
        "video": {"id": video["id"], "url": video["url"], "name": NAMES[0], "durationMs": CLIP_MS, **size},
        "session": {"id": found["session_id"], "expiresAt": 4e12, "faces": faces, "rejected": []},
        "speeches": [
            {
                "key": f"speech-{number}",
                "faceId": str(number),
                "audio": {"id": sound["id"], "url": sound["url"], "name": NAMES[1 + number], "durationMs": SOUND_MS},
                "trimStartMs": 0,
                "trimEndMs": 2_100 - 50 * number,
                "insertMs": 100,
                "volume": 1,
            }
            for number in range(people)
        ],
        "originalVolume": 0.25,
    }


def resumed(page: Page, state: dict[str, Any]) -> Studio:
    """The page with a state in hand."""
    page.evaluate("state => sessionStorage.setItem('duikou.state', JSON.stringify(state))", state)
    page.reload()
    return Studio(page)


def made(client: httpx.Client, state: dict[str, Any], **more: Any) -> str:
    """A task that has succeeded; its id."""
    task_id = begun(client, state, **more)
    assert ended(client, task_id)["task_status"] == "succeed"
    return task_id


def begun(client: httpx.Client, state: dict[str, Any], **more: Any) -> str:
    """A new task; its id."""
    choice = {"face_id": "0", "audio_id": state["speeches"][0]["audio"]["id"]}
    times = {"sound_start_time": 0, "sound_end_time": 2_100, "sound_insert_time": 100}
    return create(client, {"session_id": state["session"]["id"], "face_choose": [{**choice, **times}], **more})


def tasks_of(client: httpx.Client) -> list[dict[str, Any]]:
    return list(client.get(CREATE).json()["data"])


def test_a_lost_answer_and_a_reload_make_one_task(browser: Browser, files: tuple[bytes, bytes], tmp_path: Path) -> None:
    with (
        in_thread(settings(tmp_path), studio_work.QUICK) as client,
        opened(browser, str(client.base_url), refusals=True) as watched,
    ):
        page, asked, away = watched.page, [], [True]
        studio = resumed(page, in_hand(client, files))
        expect(studio.region("render.title").get_by_text(studio.t("render.about", time="")[:10])).to_be_visible()

        def lose(route: Route) -> None:
            body: dict[str, Any] = json.loads(route.request.post_data or '{"dry_run": true}')
            if not body.get("dry_run"):
                asked.append(body["external_task_id"])
                client.post(CREATE, json=body)  # it arrives, and only the answer is lost
                return route.abort()
            return route.continue_()

        page.route(f"**{CREATE}", lose)
        page.route(f"**{CREATE}/*", lambda route: route.abort() if away[0] else route.continue_())
        studio.render.click()
        expect(studio.region("render.title").get_by_text(studio.t("render.offline"))).to_be_visible()
        expect(studio.button("render.sending")).to_be_disabled()
        away[0] = False
        page.reload()
        Studio(page).ready()
        until(lambda: kept(page)["ordering"] is None)
        assert len(asked) == 1, "who may have made a task asks for it first"
        (task,) = tasks_of(client)
        assert task["task_id"] == kept(page)["taskId"]
        assert kept(page)["ordering"] is None


def test_the_progress_is_told_and_a_task_cancelled(
    browser: Browser, files: tuple[bytes, bytes], tmp_path: Path
) -> None:
    with in_thread(settings(tmp_path), studio_work.HELD) as client:
        state = in_hand(client, files)
        with opened(browser, str(client.base_url), language="zh", size=NARROW) as watched:
            page = watched.page
            studio = resumed(page, state)
            panel = studio.region("render.title")
            said = studio.t(
                "render.says", face=studio.t("faces.one", number=1), name=NAMES[1], **{"from": "0:00.10"}, to="0:02.20"
            )
            expect(panel.get_by_text(studio.t("render.summary", list=said))).to_be_visible()
            studio.render.click()
            expect(panel.get_by_text(studio.t("stages.rendering"))).to_be_visible()
            expect(panel.get_by_text(f"{int(100 * studio_work.HELD_AT)} %")).to_be_visible()
            bar = panel.get_by_role("progressbar")
            assert bar.evaluate("one => one.value") == studio_work.HELD_AT
            current = panel.locator("[aria-current=step]")
            expect(current).to_have_text(studio.t("stages.short.2"))
            expect(studio.render).to_be_disabled()  # a second click makes no second task
            expect(panel.get_by_text(studio.t("render.already"))).to_be_visible()
            expect(page).to_have_title(re.compile(r"^\d+ % · "))
            assert barriers(page) == []
            assert sideways(page) <= 0
            page.reload()
            studio = Studio(page)
            expect(panel.get_by_text(studio.t("stages.rendering"))).to_be_visible()
            studio.button("render.cancel").click()
            expect(panel.get_by_text(studio.t("render.cancelled"))).to_be_visible()
            (task,) = tasks_of(client)
            expect(panel.get_by_text(studio.t("render.task_id", id=task["task_id"]))).to_be_visible()
            expect(studio.region("tasks.title").get_by_role("listitem")).to_contain_text(
                studio.t("tasks.state.cancelled")
            )
            expect(studio.region("tasks.title").get_by_role("listitem")).to_contain_text("秒")


def test_a_task_that_failed_says_why_and_is_tried_again(
    browser: Browser, files: tuple[bytes, bytes], tmp_path: Path
) -> None:
    with in_thread(settings(tmp_path), studio_work.QUICK) as client:
        state = in_hand(client, files)
        task_id = made(client, state)
        failed = {"task_status": "failed", "task_status_msg": "no room for result.mp4", "fault": "storage"}
        fault = {**tasks_of(client)[0], **failed, "task_result": {"videos": []}}
        with opened(browser, str(client.base_url)) as watched:
            page = watched.page
            event = f"event: task\ndata: {json.dumps(fault)}\n\n"
            page.route(
                f"**{CREATE}/{task_id}/events",
                lambda route: route.fulfill(body=event, content_type="text/event-stream"),
            )
            studio = resumed(page, {**state, "taskId": task_id})
            panel = studio.region("render.title")
            expect(panel.get_by_text(studio.t("fault.storage"))).to_be_visible()
            expect(panel.get_by_text("no room for result.mp4")).to_be_visible()
            expect(panel.get_by_text(task_id)).to_be_visible()
            studio.button("render.retry", panel).click()
            studio.ready()
            assert len(tasks_of(client)) == 2
            assert kept(page)["taskId"] != task_id


def in_step(page: Page, most_s: float) -> bool:
    """Whether the two videos, which play, are less than `most_s` apart in the median of 20 looks."""
    page.wait_for_function(f"() => ({TIMES})().every(one => one > 0.3)")
    apart = [page.evaluate(f"() => {{ const [a, b] = ({TIMES})(); return a - b; }}") for _ in range(20)]
    return bool(np.median(np.abs(apart)) <= most_s)


def test_two_videos_keep_step(browser: Browser, files: tuple[bytes, bytes], tmp_path: Path) -> None:
    with in_thread(settings(tmp_path), studio_work.QUICK) as client:
        state = in_hand(client, files)
        task_id = made(client, state, watermark_info={"enabled": True})
        with opened(browser, str(client.base_url)) as watched:
            page = watched.page
            studio = resumed(page, {**state, "taskId": task_id})
            studio.ready()
            panel = studio.region("compare.title")
            field = panel.get_by_role("group", name=studio.t("compare.field"))
            page.evaluate("() => document.querySelector('[data-panel=stage] video').play()")
            field.focus()
            for key, speed in (("", 1.0), ("[", 0.5)):
                if key:
                    page.keyboard.press(key)
                page.keyboard.press(" ")
                until(partial(in_step, page, FRAME_S * speed))
                assert page.evaluate("() => document.querySelector('[data-panel=stage] video').paused"), "one at a time"
                page.keyboard.press(" ")
                the_same_frame(page)
                page.keyboard.press("ArrowLeft")
                page.keyboard.press("ArrowLeft")
                page.keyboard.press("ArrowLeft")
                the_same_frame(page)
            page.keyboard.press(".")
            page.keyboard.press(".")
            assert the_same_frame(page) == pytest.approx(2.5 * FRAME_S, abs=0.001)
            page.keyboard.press(",")
            assert the_same_frame(page) == pytest.approx(1.5 * FRAME_S, abs=0.001)
            muted = "() => [...document.querySelectorAll('figure video')].map(one => one.muted)"
            assert page.evaluate(muted) == [True, False]
            panel.get_by_label(studio.t("compare.sound"), exact=True).select_option("before")
            assert page.evaluate(muted) == [False, True]
            views_and_zoom(page, studio, panel)
            for name, marked in (("compare.download", False), ("compare.download_marked", True)):
                link = panel.get_by_role("link", name=studio.t(name), exact=True).get_attribute("href")
                assert link is not None
                assert link.startswith(f"{watched.url}/files/")
                assert link.endswith("&download")
                answer = client.get(link)
                assert (answer.status_code, "attachment" in answer.headers["Content-Disposition"]) == (200, True), (
                    marked
                )
            page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
            assert sideways(page) <= 0
            assert barriers(page) == []


def the_same_frame(page: Page) -> float:
    """Both videos stand at one time, which is returned, in s."""
    page.wait_for_function(STILL)
    before, after = page.evaluate(TIMES)
    assert before == pytest.approx(after, abs=0.001)
    return float(after)


def views_and_zoom(page: Page, studio: Studio, panel: Locator) -> None:
    before, after = (panel.get_by_role("figure", name=studio.t(f"compare.{side}")) for side in ("before", "after"))
    panel.get_by_role("radio", name=studio.t("compare.view_one")).check(force=True)
    expect(before).to_be_hidden()
    page.keyboard.press("b")
    expect(after).to_be_hidden()
    panel.get_by_role("radio", name=studio.t("compare.view_wipe")).check(force=True)
    divider = studio.slider("compare.divider")
    divider.press("Home")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    box = after.bounding_box()
    assert box is not None
    grip = divider.bounding_box()
    assert grip is not None
    page.mouse.move(grip["x"] + grip["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20, steps=3)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")
    assert "25%" in after.evaluate("one => one.style.clipPath")
    panel.get_by_label(studio.t("compare.zoom"), exact=True).select_option("0")
    left, top, width, height = studio_work.FACE
    x, y = (left + width / 2) / portrait.WIDTH, (top + 0.72 * height) / portrait.HEIGHT
    place = after.locator("video").evaluate(
        "(one, [x, y]) => { const lens = one.parentElement.getBoundingClientRect(), all = one.getBoundingClientRect();"
        "return [(all.left + x * all.width - lens.left) / lens.width,"
        "(all.top + y * all.height - lens.top) / lens.height, all.width / lens.width]; }",
        [x, y],
    )
    assert place[:2] == pytest.approx([0.5, 0.5], abs=0.01)
    assert place[2] > 1.8


def test_commands_say_exactly_what_is_in_hand_and_never_the_key(
    browser: Browser, files: tuple[bytes, bytes], tmp_path: Path
) -> None:
    with in_thread(settings(tmp_path), studio_work.TWO_HELD) as client:
        state = in_hand(client, files)
        state |= {"syncMode": "cut_off", "watermark": True}
        with opened(browser, str(client.base_url)) as watched:
            page = watched.page
            page.evaluate("key => sessionStorage.setItem('duikou.key', key)", KEY)
            page.route(f"**{CREATE}*", lambda route: route.fulfill(json={"code": 0, "data": []}))
            studio = resumed(page, state)
            sync, program, curl = commands(studio)
            words = shlex.split(sync, comments=True)
            assert words == [
                *("duikou", "sync", f"./{NAMES[0]}", "--say", "0", NAMES[1], "--at", "100", "--trim", "0:2100"),
                *("--volume", "1", "--original-volume", "0.25", "--original-scope", "speech", "--sync-mode", "cut_off"),
                *("--watermark", f"./{NAMES[0][:-4]}.marked.mp4", "-o", f"./{NAMES[0][:-4]}.synced.mp4"),
                *("--server", watched.url),
            ]
            values = {one.value for one in ast.walk(ast.parse(program)) if isinstance(one, ast.Constant)}
            assert {NAMES[0], NAMES[1], "0", 2_100, 100, 0.25, "cut_off", "DUIKOU_KEY"} <= values
            subprocess.run(["bash", "-n"], input=curl, text=True, check=True)
            assert all(part in curl for part in ("Bearer $DUIKOU_KEY", '"original_audio_volume": 0.25', '"sync_mode"'))
            assert not any(KEY in text for text in (sync, program, curl))
            studio = resumed(page, {**in_hand(client, files, people=2), "syncMode": ""})
            sync, _, _ = commands(studio)
            plan = json.loads(sync.split("<<'JSON'\n")[1].split("\nJSON\n")[0])
            assert [(one["face"], one["audio"], one["at"], one["trim"]) for one in plan] == [
                ("0", NAMES[1], 100, "0:2100"),
                ("1", NAMES[2], 100, "0:2050"),
            ]


def commands(studio: Studio) -> list[str]:
    """The texts of the commands: `duikou sync`, Python, curl."""
    studio.page.get_by_text(studio.t("snippets.title"), exact=True).click()
    shown = [
        studio.page.get_by_role("region", name=studio.t(f"snippets.{name}")) for name in ("sync", "python", "curl")
    ]
    return [one.locator("code").inner_text() for one in shown]


def test_tasks_are_listed_found_opened_and_deleted(
    browser: Browser, files: tuple[bytes, bytes], tmp_path: Path
) -> None:
    with (
        in_thread(settings(tmp_path), studio_work.QUICK) as client,
        opened(browser, str(client.base_url), refusals=True) as watched,
    ):
        page = watched.page
        studio = Studio(page)
        panel = studio.region("tasks.title")
        expect(panel.get_by_text(studio.t("tasks.none"))).to_be_visible()
        state = in_hand(client, files)
        ids = [begun(client, state) for _ in range(14)]
        assert {ended(client, task_id)["task_status"] for task_id in ids} == {"succeed"}
        page.reload()
        rows = panel.get_by_role("listitem")
        expect(rows).to_have_count(12)
        expect(rows.first).to_contain_text(ids[-1])
        expect(panel.locator("[data-drawn]").first).to_be_attached()
        studio.button("tasks.more", panel).click()
        expect(rows).to_have_count(14)
        expect(studio.button("tasks.more", panel)).to_be_hidden()
        panel.get_by_label(studio.t("tasks.filter_state")).select_option("failed")
        expect(panel.get_by_text(studio.t("tasks.none_such"))).to_be_visible()
        panel.get_by_label(studio.t("tasks.filter_state")).select_option("")
        panel.get_by_label(studio.t("tasks.filter_text")).fill(ids[0])
        expect(rows).to_have_count(1)
        assert barriers(page) == []
        studio.button("tasks.of", panel, action=studio.t("tasks.open"), id=ids[0]).click()
        expect(studio.region("compare.title")).to_be_visible()
        assert kept(page)["taskId"] == ids[0]
        studio.button("tasks.of", panel, action=studio.t("tasks.remove"), id=ids[0]).click()
        question = page.get_by_role("dialog", name=studio.t("tasks.remove_sure"))
        studio.button("tasks.remove", question).click()
        expect(rows).to_have_count(0)
        expect(studio.region("compare.title")).to_be_hidden()
        assert ids[0] not in {task["task_id"] for task in tasks_of(client)}
        panel.get_by_label(studio.t("tasks.filter_text")).fill(ids[1])
        studio.button("tasks.of", panel, action=studio.t("tasks.retry"), id=ids[1]).click()
        studio.ready()
        assert len(tasks_of(client)) == 14
        refused = {"code": 1000, "message": "the key is unknown.", "request_id": "r-1", "data": None}
        page.route(f"**{CREATE}?*", lambda route: route.fulfill(status=401, json=refused))
        page.reload()
        expect(panel.get_by_text(studio.t("tasks.key"))).to_be_visible()
        expect(page.get_by_label(studio.t("header.key"), exact=True)).to_be_visible()


def test_the_time_that_is_left_is_calm(browser: Browser, tmp_path: Path) -> None:
    """Work of 100 s whose reports are uneven: the time that is left is told late, falls, and never jumps."""
    with in_thread(settings(tmp_path), studio_work.QUICK) as client, opened(browser, str(client.base_url)) as watched:
        told = watched.page.evaluate(
            """async () => {
                const { Remaining } = await import(new URL("studio/remaining.js", document.baseURI));
                const one = new Remaining(), told = [];
                for (let s = 0; s <= 100; s += 0.5) {
                    one.hear((s + 3 * Math.sin(s / 3)) / 100 * (s > 3), s * 1000);
                    told.push(one.left(s * 1000));
                }
                return told;
            }"""
        )
        assert told[:4] == [None] * 4
        known = [one for one in told if one is not None]
        assert known[-1] == 5
        assert np.diff(known).max() <= 30
        assert (np.diff(known) > 0).sum() <= 3


def test_held_work_is_shown_to_its_end(browser: Browser, files: tuple[bytes, bytes], tmp_path: Path) -> None:
    """With two pieces of speech; both faces can be looked at closely."""
    with in_thread(settings(tmp_path), studio_work.TWO_HELD) as client:
        state = {**in_hand(client, files, people=2), "speeches": in_hand(client, files, people=2)["speeches"][:1]}
        with opened(browser, str(client.base_url)) as watched:
            studio = resumed(watched.page, state)
            studio.render.click()
            release(tmp_path)
            studio.ready()
            expect(watched.page).to_have_title("duikou studio")
            zoom = studio.region("compare.title").get_by_label(studio.t("compare.zoom"), exact=True)
            expect(zoom.locator("option")).to_have_count(3)
