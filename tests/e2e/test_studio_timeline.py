"""Studio's stage and time line in a real browser: what is seen, dragged, refused before any request, and heard."""

from __future__ import annotations

import random
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import studio_work
from live_server import in_thread
from media_maker import make_video
from media_maker import tone as made_tone
from playwright.sync_api import Browser, Page, Route, expect
from server_settings import settings
from studio import NARROW, Studio, barriers, chromium, drop, kept, need_chromium, opened, sideways, value

from duikou.errors import InputError
from duikou.media.mix import Insert, mix
from duikou.media.scope import OriginalScope
from duikou.media.sound import Audio
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import ChoiceValidator, FaceChoice
from duikou.server.validation import CHOICE, MAX_MS
from duikou.timebase import Interval

need_chromium()

CLIP_MS, SOUND_MS, LONG_MS = 4_000, 2_600, 9_000
LEAVES_MS = CLIP_MS - 600  # when the second face is no longer seen: studio_work.find_two
FRAME_MS = 100
WRITTEN = {
    "1.5s": 1_500,
    "1.5": 1_500,
    "2": 2_000,
    "0:03.2": 3_200,
    "1:02": 62_000,
    " 1500 ms ": 1_500,
    "1500": 1_500,
    "1,25 s": 1_250,
    "1.5秒": 1_500,
    "200毫秒": 200,
    "0：03": 3_000,
    ".5": 500,
    "": None,
    "soon": None,
    "1:70": None,
    "-1": None,
    "1 h": None,
}
"""What people write, and the ms that they mean."""
SMALL = {"max_audio_mb": 1}
PROBLEMS = """
async ([states, settings]) => {
    const {problems} = await import("/studio/limits.js");
    return states.map(state => problems(state, settings).map(one => one.sentence));
}
"""
LIMIT = """
async samples => {
    const context = new OfflineAudioContext(1, samples.length, 48000);
    await context.audioWorklet.addModule("/studio/limiter.js");
    const buffer = context.createBuffer(1, samples.length, 48000);
    buffer.copyToChannel(Float32Array.from(samples), 0);
    const limiter = new AudioWorkletNode(context, "limiter", {parameterData: {limiting: 1}});
    const source = new AudioBufferSourceNode(context, {buffer});
    source.connect(limiter).connect(context.destination);
    source.start();
    return Array.from((await context.startRendering()).getChannelData(0));
}
"""
LEVELS = """
async asked => {
    const {originalLevel} = await import("/studio/mix.js");
    const times = Array.from({length: 40}, (_, at) => 20 + 50 * at);
    return asked.map(one => times.map(originalLevel(...one).levelAt));
}
"""
COMMAND = """
async () => {
    const [{commandLine}, {get}] = await Promise.all([import("/studio/commands.js"), import("/studio/state.js")]);
    return commandLine(get(), "http://127.0.0.1", false);
}
"""
MONO = """
async channels => {
    const {mono} = await import("/studio/sound.js");
    const read = number => Float32Array.from(channels[number]);
    return Array.from(mono({numberOfChannels: 2, sampleRate: 8000, getChannelData: read}));
}
"""
NOTE_STARTS = """
() => {
    window.starts = [];
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (when, offset, duration) {
        window.starts.push({when, offset, duration, context: this.context});
        return start.call(this, when, offset, duration);
    };
}
"""
NOTE_DRIFTS = """
insertS => {
    const video = document.querySelector("video");
    window.drifts = new Promise(resolve => {
        const found = [];
        const timer = setInterval(() => {
            if (!video.paused && window.starts.length) {
                const {when, offset, context} = window.starts.at(-1);
                found.push(1000 * (video.currentTime - insertS - offset - context.currentTime + when));
            }
            if (found.length < 12 && !(found.length && video.paused)) return;
            clearInterval(timer);
            resolve(found);
        }, 100);
    });
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 4 s whose face is where `studio_work` says."""
    return make_video(
        tmp_path_factory.mktemp("clip") / "clip.mp4", size=(720, 1280), fps=10, frames=CLIP_MS // FRAME_MS
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with in_thread(settings(tmp_path_factory.mktemp("data"), **SMALL), studio_work.TWO_HELD) as found:
        yield found


@pytest.fixture(scope="module")
def untouched(browser: Browser, client: httpx.Client) -> Iterator[Page]:
    """A page for tests that only call its modules."""
    with opened(browser, str(client.base_url)) as watched:
        Studio(watched.page)
        yield watched.page


def tone(path: Path, ms: int, rate: int = 16_000) -> Path:
    """Write a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        turns = np.arange(rate * ms // 1000) * 220 / rate
        file.writeframes((8_000 * np.sin(2 * np.pi * turns)).astype("<i2").tobytes())
    return path


def speeches(page: Page) -> list[dict[str, Any]]:
    return list(kept(page)["speeches"])


def piece(chance: random.Random, video_ms: int, interval: Interval) -> tuple[FaceChoice, int, dict[str, Any]]:
    """A piece of speech as the server has it, the length of its sound, and the piece as the page has it."""
    audio_ms = chance.randrange(2_000, 60_000)
    trim_ms = chance.choice([0, chance.randrange(audio_ms)])
    end_ms = min(trim_ms + chance.randrange(1_900, 12_000), audio_ms + chance.choice([0, 99, 101]))
    insert_ms = chance.choice([0, interval.start_ms, chance.randrange(video_ms + 200)])
    exclude = []
    if chance.random() < 0.2:
        from_ms = chance.randrange(video_ms)
        exclude = [(from_ms, from_ms + chance.choice([-1, 0, 1, video_ms - from_ms + 100, video_ms - from_ms + 101]))]
    choice = FaceChoice("a", "0", trim_ms, end_ms, insert_ms, exclude=exclude)
    times = {"trimStartMs": trim_ms, "trimEndMs": end_ms, "insertMs": insert_ms, "exclude": exclude}
    audio = {"durationMs": audio_ms, "name": "a"}
    return choice, audio_ms, {"key": "k", "faceId": "0", "audio": audio, "volume": 1, **times}


def test_what_the_page_refuses_is_what_the_server_refuses(untouched: Page, client: httpx.Client) -> None:
    chance = random.Random(1)
    states, refused = [], []
    for number in range(800):
        video_ms = chance.randrange(2_000, 20_000)
        start_ms = chance.randrange(0, video_ms // 2)
        interval = Interval(start_ms, chance.choice([video_ms, chance.randrange(start_ms, video_ms) + 1]))
        mode = chance.choice([None, *SyncMode])
        pieces = [piece(chance, video_ms, interval) for _ in range(1 + number % 3 // 2)]
        choices, lengths = [one[0] for one in pieces], [one[1] for one in pieces]
        try:
            ChoiceValidator({"0": interval}, video_ms, mode, CHOICE).check_all(choices, lengths)
            refused.append(False)
        except InputError:
            refused.append(True)
        face = {"id": "0", "startMs": interval.start_ms, "endMs": interval.end_ms}
        states.append(
            {
                "video": {"durationMs": video_ms},
                "session": {"faces": [face]},
                "speeches": [one[2] for one in pieces],
                "syncMode": mode or "",
            }
        )
    assert 200 < sum(refused) < 700
    given = client.get("/studio/settings.json").json()
    assert (given["max_audio_ms"], given["min_overlap_ms"]) == (MAX_MS, CHOICE.min_overlap_ms)
    told = untouched.evaluate(PROBLEMS, [states, given])
    assert [bool(one) for one in told] == refused


def test_what_is_heard_is_limited_as_what_is_rendered(untouched: Page) -> None:
    random_ = np.random.default_rng(1)
    loud = random_.normal(0, 0.5, 24_000) * np.where(np.arange(24_000) // 6_000 % 2, 1.2, 0.05)
    samples = loud.astype(np.float32)
    heard = np.array(untouched.evaluate(LIMIT, (2 * samples).tolist()))
    rendered = mix(None, [Insert(Audio(samples[:, None], 48_000), 0, 2.0, 1.0)], 500).held().samples[:, 0]
    delay = 480
    assert np.abs(rendered).max() > 0.95
    np.testing.assert_allclose(heard[delay:][500:-500], rendered[:-delay][500:-500], atol=1e-6)


def test_the_original_is_as_loud_as_in_the_result(untouched: Page) -> None:
    chance = random.Random(2)
    asked, rendered = [], []
    for volume in (0.0, 0.5, 1.0, 1.7):
        for scope in OriginalScope:
            starts = sorted(chance.sample(range(100, 1_800, 50), 3))
            silence = Audio(np.zeros((4_800, 1), np.float32), 16_000)  # 300 ms
            inserts = [Insert(silence, start, 1.0, volume, scope) for start in starts]
            levels = (
                mix(Audio(np.full((32_000, 1), 0.25, np.float32), 16_000), inserts, 2_000).held().samples[:, 0] / 0.25
            )
            asked.append([[[start, start + 300] for start in starts], volume, scope])
            rendered.append(levels[np.arange(20, 2_000, 50) * 16].tolist())
    heard = untouched.evaluate(LEVELS, asked)
    np.testing.assert_allclose(heard, rendered, atol=1e-5)


def test_a_waveform_shows_channels_that_cancel(untouched: Page) -> None:
    wave = made_tone(300, 500, 8_000)[:, 0]
    inverted, weaker = np.stack([wave, -wave]), np.stack([0.5 * wave, wave])
    drawn = [untouched.evaluate(MONO, one.tolist()) for one in (inverted, weaker)]
    for shown, given in zip(drawn, (inverted, weaker), strict=True):
        np.testing.assert_allclose(shown, Audio(given.T, 8_000).converted(channels=1).held().samples[:, 0], atol=1e-6)


def test_times_are_read_as_people_write_them(untouched: Page) -> None:
    read = "async texts => { const {readTime} = await import('/studio/times.js'); return texts.map(readTime); }"
    assert untouched.evaluate(read, list(WRITTEN)) == list(WRITTEN.values())


def test_speech_is_dragged_trimmed_and_refused_in_words(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    sound = tone(tmp_path / "voice.wav", SOUND_MS)
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        expect(page.locator("[data-panel=stage]")).to_be_hidden()
        expect(page.locator("[data-panel=timeline]")).to_be_hidden()
        studio.bring(clip)
        studio.say(sound, at=0.002)
        place, start, end = (studio.grip(what, sound) for what in ("place", "start", "end"))
        assert (value(place), value(end)) == (0, SOUND_MS)  # it snapped to the beginning
        calls = len(watched.asked)

        studio.drag(place, (700, 0), release=False)
        expect(page.locator(".tl-tip.refused")).to_contain_text("after the video")
        page.keyboard.press("Escape")
        page.mouse.up()
        assert value(place) == 0
        studio.drag(place, (700, 0))
        card = page.get_by_role("listitem").filter(has_text=sound.name)
        expect(card).to_contain_text("after the video, which lasts 4 s")
        expect(page.locator(".tl-block.refused")).to_have_count(1)
        expect(studio.render).to_be_disabled()
        studio.button("timeline.undo").click()
        assert (value(place), card.locator(".tl-reason").inner_text()) == (0, "")

        studio.drag(end, (-900, 0), release=False)
        expect(page.locator(".tl-tip")).to_contain_text(studio.t("edit.short", least=2))
        page.mouse.up()
        assert value(end) == 2_000
        end.press("ArrowRight")
        start.press("Shift+ArrowRight")
        assert (value(start), value(end), speeches(page)[0]["trimStartMs"]) == (10, 2_010, 10)  # 2 s are left
        place.press("End")
        assert value(place) == CLIP_MS - 2_000
        assert not [url for url in watched.asked[calls:] if url.endswith("/v1/files")]


def test_speech_goes_to_another_face_and_comes_back_after_a_reload(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    sound = tone(tmp_path / "voice.wav", 2_000)
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        studio.say(sound)
        place = studio.grip("place", sound)
        card = page.get_by_role("listitem").filter(has_text=sound.name)
        place.press("End")
        studio.drag(place, (0, 68))  # to the lane of the other face, which leaves early
        assert speeches(page)[0]["faceId"] == "1"
        expect(place).to_be_focused()
        expect(card).to_contain_text("shares 1.4 s")
        field = card.get_by_label(studio.t("speech.place"))
        field.fill("0:01.2")
        field.press("Enter")
        assert (value(place), field.input_value()) == (1_200, "1.20 s")
        field.fill("soon")
        field.press("Enter")
        expect(card).to_contain_text(studio.t("speech.time_unread"))
        card.get_by_label(studio.t("speech.face")).select_option("0")
        assert speeches(page)[0]["faceId"] == "0"

        before = speeches(page)
        page.reload()
        expect(studio.grip("place", sound)).to_have_attribute("aria-valuenow", "1200")
        assert speeches(page) == before
        studio.grip("place", sound).press("Delete")
        expect(card).to_have_count(0)
        expect(studio.button("add.choose")).to_be_focused()


def test_a_face_says_two_pieces_and_keeps_its_mouth_for_a_while(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    first, second = tone(tmp_path / "first.wav", 2_000), tone(tmp_path / "second.wav", 2_200)
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        studio.say(first, at=0.002)
        studio.say(second, at=0.002)  # it goes where the first piece ends
        assert [(one["faceId"], one["insertMs"], one["trimEndMs"]) for one in speeches(page)] == [
            ("0", 0, 2_000),
            ("0", 2_000, 2_000),
        ]
        expect(page.locator(".tl-reason:not(:empty)")).to_have_count(0)
        studio.grip("place", second).press("ArrowLeft")
        overlapping = studio.t("limits.pieces_overlap", name=first.name, face=1, **{"from": 0, "to": 2})
        expect(page.locator(".tl-reason").last).to_have_text(overlapping)
        expect(studio.render).to_be_disabled()
        studio.button("timeline.undo").click()
        kept_out = page.get_by_label(studio.t("speech.exclude")).first
        for written, fault in (("soon", "speech.exclude_unread"), ("0:02-0:01", ""), ("0:00.5-0:01, 1.5s–1.7s", "")):
            kept_out.fill(written)
            kept_out.press("Enter")
            expect(page.locator("[id^=exclude][role=alert]").first).to_have_text(studio.t(fault) if fault else "")
            expect(page.locator(".tl-reason").first).to_have_text(
                studio.t("limits.exclude_empty", **{"from": 2, "to": 1}) if written == "0:02-0:01" else ""
            )
        assert speeches(page)[0]["exclude"] == [[500, 1_000], [1_500, 1_700]]
        assert kept_out.input_value() == "0.5s-1s, 1.5s-1.7s"
        expect(page.locator(".tl-kept")).to_have_count(2)
        expect(studio.render).to_be_enabled()
        cut = page.get_by_role("button", name=studio.t("speech.split_name", name=first.name))
        expect(cut).to_be_disabled()  # 2 s give no two pieces of 2 s
        sync = page.evaluate(COMMAND)
        assert '"exclude": [' in sync and '"at": 2000' in sync
        assert (sideways(page), barriers(page)) == (0, [])


def test_speech_is_cut_in_two_at_the_playhead(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    sound = tone(tmp_path / "whole.wav", CLIP_MS)
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        studio.say(sound, at=0.002)
        cut = page.get_by_role("button", name=studio.t("speech.split_name", name=sound.name))
        expect(cut).to_be_disabled()
        head = studio.slider("timeline.playhead")
        head.press("PageUp")
        head.press("PageUp")
        expect(head).to_have_attribute("aria-valuenow", "2000")
        cut.click()
        first, second = speeches(page)
        assert (first["insertMs"], first["trimStartMs"], first["trimEndMs"]) == (0, 0, 2_000)
        assert (second["insertMs"], second["trimStartMs"], second["trimEndMs"]) == (2_000, 2_000, CLIP_MS)
        assert (first["audio"], first["key"] == second["key"]) == (second["audio"], False)
        expect(page.locator(".tl-block")).to_have_count(2)
        expect(page.locator(".tl-reason:not(:empty)")).to_have_count(0)
        studio.button("timeline.undo").click()
        expect(page.locator(".tl-block")).to_have_count(1)
        assert (sideways(page), barriers(page)) == (0, [])


def test_speech_snaps_and_the_time_line_scrolls_in_itself(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    sound, other = tone(tmp_path / "voice.wav", 2_000), tone(tmp_path / "other.wav", 2_100)
    with opened(browser, str(client.base_url), size=NARROW) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        studio.say(sound)
        studio.say(other, number=2)
        place = studio.grip("place", sound)
        per_ms = page.locator(".tl-shown").first.evaluate("one => one.clientWidth") / CLIP_MS
        speaks = page.locator(".tl-speaks")  # of the first face, in studio_work.find_two
        times = {"from": "0:00.20", "to": f"0:{(CLIP_MS - 900) / 1000:05.2f}"}
        assert speaks.get_attribute("title") == studio.t("timeline.speaks", number=1, **times)
        assert speaks.evaluate("one => one.clientWidth") == pytest.approx(per_ms * (CLIP_MS - 1_100), abs=4)
        studio.drag(place, (per_ms * LEAVES_MS - per_ms * 2_000 + 4, 0), snap=True)
        assert value(place) == LEAVES_MS - 2_000  # its end lies at the end of the other face's interval
        studio.drag(place, (6 - per_ms * value(place), 0))
        assert 0 < value(place) < 200  # Alt was held
        for _ in range(3):
            studio.button("timeline.zoom_in").click()
        scroller = page.locator(".tl-scroller")
        assert scroller.evaluate("one => one.scrollWidth > 2 * one.clientWidth")
        assert (sideways(page), barriers(page)) == (0, [])
        studio.button("timeline.fit").click()
        assert scroller.evaluate("one => one.scrollWidth - one.clientWidth") <= 1
        head = studio.slider("timeline.playhead")
        head.press("End")
        expect(head).to_have_attribute("aria-valuenow", str(CLIP_MS))


def test_long_speech_is_trimmed_with_a_reason_or_lengthens_the_video(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    sound = tone(tmp_path / "long.wav", LONG_MS)
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        studio.say(sound, at=0.002)
        card = page.get_by_role("listitem").filter(has_text=sound.name)
        expect(card).to_contain_text(studio.t("speech.trimmed_video", used=4, whole=9))
        page.get_by_role("radio", name=studio.t("sync.silence")).check()
        assert (speeches(page)[0]["trimEndMs"], kept(page)["syncMode"]) == (LONG_MS, "silence")
        expect(page.get_by_text(studio.t("sync.preview"))).to_be_visible()
        page.get_by_role("radio", name=studio.t("sync.none")).check()
        expect(card).to_contain_text("ends 5 s after the video")
        studio.say(sound, number=2)
        expect(page.get_by_text("because face 2 can be synced until 3.4 s")).to_be_visible()


def test_files_that_are_no_speech_are_named_before_they_are_sent(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    picture, ogg = tmp_path / "me.png", tmp_path / "voice.ogg"
    picture.write_bytes(b"\x89PNG")
    ogg.write_bytes(b"OggS")
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        sent = [url for url in watched.asked if url.endswith("/v1/files")]
        for file, sentence, line in (
            (picture, "This is a picture", ""),
            (clip, "This is a video", "ffmpeg -i clip.mp4 -vn"),
            (ogg, "ogg files are not taken", "ffmpeg -i"),
            (tone(tmp_path / "short.wav", 1_200), "lasts 1.2 s. Speech lasts at least 2 s", "apad=whole_dur=2"),
            (tone(tmp_path / "large.wav", 12_000, 48_000), "1.1 MB. At most 1 MB", "-b:a 96k"),
            (tone(tmp_path / "endless.wav", 61_000, 8_000), "lasts 61 s. At most 60 s", "-t 60"),
        ):
            drop(studio.lane(), file)
            said = page.get_by_role("alert").filter(has_text=file.name)
            expect(said).to_contain_text(sentence)
            expect(said).to_contain_text(line)
        assert [url for url in watched.asked if url.endswith("/v1/files")] == sent
        assert speeches(page) == []
        studio.button("add.dismiss").click()
        page.get_by_label(studio.t("add.address")).fill("speech.mp3")
        studio.button("add.fetch", studio.region("add.title")).click()
        expect(page.get_by_text(studio.t("add.address_bad"))).to_be_visible()


def test_speech_is_fetched_and_recorded_and_one_face_may_speak(browser: Browser, clip: Path, tmp_path: Path) -> None:
    sound = tone(tmp_path / "voice.wav", SOUND_MS)
    with in_thread(settings(tmp_path / "data", several_faces=False), studio_work.TWO_HELD) as client:
        stored = client.post("/v1/files", content=sound.read_bytes()).json()["data"]
        with opened(browser, str(client.base_url)) as watched:
            page, studio = watched.page, Studio(watched.page)
            studio.bring(clip)
            page.get_by_label(studio.t("add.address")).fill(stored["url"])
            studio.button("add.fetch", studio.region("add.title")).click()
            expect(page.locator(".tl-block")).to_have_count(1)
            studio.button("add.record").click()
            expect(page.get_by_role("timer")).to_contain_text(re.compile("^0:(0[2-9]|[1-5])"))
            page.get_by_role("button", name=studio.t("record.stop")).click()
            page.get_by_role("button", name=studio.t("record.use")).click()
            expect(page.locator(".tl-title")).to_contain_text("speech-")  # it replaced what the face had
            studio.say(sound, number=2)
            expect(page.locator(".tl-reason").last).to_have_text(studio.t("limits.one_piece"))


def test_the_mix_is_heard_at_its_place_and_volume(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    sound = tone(tmp_path / "voice.wav", SOUND_MS)
    with opened(browser, str(client.base_url)) as watched:
        page, studio = watched.page, Studio(watched.page)
        studio.bring(clip)
        studio.say(sound, at=0.002)
        studio.grip("place", sound).press("PageUp")
        studio.slider("mix.original").fill("0.5")
        studio.slider("mix.speech_face", face=1, name=sound.name).fill("1.5")
        assert (kept(page)["originalVolume"], speeches(page)[0]["volume"]) == (0.5, 1.5)
        assert kept(page)["originalScope"] == "speech"
        page.get_by_label(studio.t("mix.throughout")).check()
        assert kept(page)["originalScope"] == "video"
        expect(page.get_by_text(studio.t("mix.kept"))).to_have_count(0)
        page.evaluate(NOTE_STARTS)
        page.evaluate(NOTE_DRIFTS, speeches(page)[0]["insertMs"] / 1_000)
        stage = page.get_by_role("group", name=studio.t("stage.picture"))
        stage.press("Space")
        drifts = page.evaluate("window.drifts")
        assert len(drifts) > 2  # a busy page takes few before the clip ends
        assert np.median(np.abs(drifts)) < 40, drifts
        studio.slider("timeline.playhead").press("Home")
        if studio.button("stage.pause", studio.region("stage.title")).is_visible():  # else the clip has ended
            stage.press("Space")
        expect(studio.button("stage.play", studio.region("stage.title"))).to_be_visible()
        stage.press("Home")
        stage.press("ArrowRight")
        expect(studio.slider("timeline.playhead")).to_have_attribute("aria-valuenow", str(FRAME_MS * 3 // 2))
        box = page.locator(".stage-picture").get_by_role("button", name=studio.t("stage.face", number=2))
        box.press("Enter")
        expect(box).to_have_attribute("aria-pressed", "true")
        stage.press("End")
        expect(box).to_be_hidden()  # the second face has left


def test_the_time_line_works_where_the_browser_cannot_show_the_video(
    browser: Browser, client: httpx.Client, clip: Path, tmp_path: Path
) -> None:
    def spoil(route: Route) -> None:
        route.fulfill(status=200, content_type="video/mp4", body=b"no video")

    sound = tone(tmp_path / "voice.wav", SOUND_MS)
    with opened(browser, str(client.base_url), language="zh", dark=True, size=NARROW) as watched:
        page, studio = watched.page, Studio(watched.page)
        page.route("**/files/**.mp4*", spoil)
        studio.bring(clip)
        expect(page.get_by_text(studio.t("stage.broken"))).to_be_visible()
        studio.say(sound)
        studio.button("stage.play", studio.region("stage.title")).click()
        head = studio.slider("timeline.playhead")
        expect(head).not_to_have_attribute("aria-valuenow", "0")
        studio.button("stage.pause", studio.region("stage.title")).click()
        assert 0 < value(head) < CLIP_MS
        assert (sideways(page), barriers(page)) == (0, [])
