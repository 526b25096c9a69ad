"""A real browser: a page of another site can do nothing to a server on its user's machine, and our page works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import stub_work
from live_server import Process, create, identify, in_thread, make_key, order, sources, task
from media_maker import make_video
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright
from server_settings import settings
from studio import CHROMIUM, QUIET, need_chromium
from web_server import web_server

CREATE, IDENTIFY, FILES = "/v1/videos/advanced-lip-sync", "/v1/videos/identify-face", "/v1/files"
NAME = "rebound.example"  # a stranger's name that the browser has just been told is this machine

need_chromium()

ATTACK = """
async ([server, victim, session]) => {
    const simple = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}};
    const tries = {
        cancel: () => fetch(`${server}/v1/videos/advanced-lip-sync/${victim}/cancel`, simple),
        create: () => fetch(`${server}/v1/videos/advanced-lip-sync`, {...simple, body: session}),
        upload: () => fetch(`${server}/v1/files`, {...simple, body: "x"}),
        json: () => fetch(`${server}/v1/videos/advanced-lip-sync`,
            {method: "POST", headers: {"Content-Type": "application/json"}, body: session}),
        remove: () => fetch(`${server}/v1/videos/advanced-lip-sync/${victim}`, {method: "DELETE"}),
        read: async () => (await fetch(`${server}/v1/videos/advanced-lip-sync`)).text(),
        beacon: async () => navigator.sendBeacon(`${server}/v1/videos/advanced-lip-sync/${victim}/cancel`, "{}"),
        form: async () => {
            const frame = Object.assign(document.createElement("iframe"), {name: "sink"});
            const form = document.createElement("form");
            Object.assign(form, {method: "post", enctype: "text/plain", target: "sink",
                action: `${server}/v1/videos/advanced-lip-sync/${victim}/cancel`});
            document.body.append(frame, form);
            form.submit();
            await new Promise(done => frame.onload = done);
        },
    };
    const told = {};
    for (const [name, attempt] of Object.entries(tries)) {
        try { const got = await attempt(); told[name] = typeof got === "string" ? got : "sent"; }
        catch (error) { told[name] = String(error); }
    }
    return told;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        rules = f"MAP {NAME} 127.0.0.1, EXCLUDE 127.0.0.1"
        arguments = [*QUIET, "--no-sandbox", f"--host-resolver-rules={rules}"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(120_000)  # on a machine that does much else
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another site on this machine."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "index.html").write_text("<!DOCTYPE html><title>win a prize</title><body></body>")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

    with web_server(Handler) as url:
        yield f"{url}/index.html"


def test_a_page_of_another_site_does_and_learns_nothing(page: Page, evil: str, tmp_path: Path) -> None:
    with (
        sources(a__mp4=stub_work.video(), hang__mp3=stub_work.sound(render="hang")) as site,
        Process(tmp_path) as server,
    ):
        client = server.client
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        victim = create(client, order(session_id, f"{site}/hang.mp3"))
        body = f'{{"session_id": "{session_id}"}}'
        page.goto(evil)
        told = page.evaluate(ATTACK, [server.url, victim, body])
        assert {told[name][:9] for name in ("cancel", "create", "upload", "json", "remove", "read")} == {"TypeError"}
        arrived = [line for line in server.log if '"event": "refused"' in line and "pages of other sites" in line]
        assert len(arrived) >= 5  # what a browser sends without asking first did come, and was refused
        assert task(client, victim)["task_status"] in ("submitted", "processing")
        assert len(client.get(CREATE).json()["data"]) == 1
        assert not list((tmp_path / "incoming").iterdir())


def test_a_name_that_rebinds_to_this_machine_does_and_learns_nothing(page: Page, tmp_path: Path) -> None:
    with (
        sources(a__mp4=stub_work.video(), hang__mp3=stub_work.sound(render="hang")) as site,
        in_thread(settings(tmp_path), stub_work.WORK) as client,
    ):
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        victim = create(client, order(session_id, f"{site}/hang.mp3"))
        own = f"http://{NAME}:{client.base_url.port}"
        page.goto(f"{own}/docs")  # the page's own site now, as its browser sees it
        ask = "([url, how]) => fetch(url, how).then(async got => [got.status, await got.text()])"
        for path, how in (
            (CREATE, {}),
            (f"{CREATE}/{victim}", {}),
            (f"{CREATE}/{victim}/cancel", {"method": "POST", "body": "{}"}),
            (f"{CREATE}/{victim}", {"method": "DELETE"}),
        ):
            status, text = page.evaluate(ask, [f"{own}{path}", how])
            assert (status, "is not a name of this server" in text) == (403, True), text
        assert task(client, victim)["task_status"] in ("submitted", "processing")


CALLS = """
async ([server, key, sound]) => {
    const told = {};
    const call = async (name, path, how = {}) => {
        const headers = {Authorization: `Bearer ${key}`, ...how.headers};
        try {
            const got = await fetch(path.startsWith("http") ? path : server + path, {...how, headers});
            const text = await got.text();
            const [id, range] = [got.headers.get("X-Request-Id"), got.headers.get("Content-Range")];
            told[name] = {status: got.status, id: Boolean(id), range, text};
        } catch (error) { told[name] = String(error); }
        return told[name];
    };
    const json = body => ({method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    const kept = await call("upload", "/v1/files", {method: "POST", body: sound});
    const url = kept.text ? JSON.parse(kept.text).data.url : `${server}/files/media/1.mp3`;
    await call("list", "/v1/videos/advanced-lip-sync");
    await call("fault", "/v1/videos/identify-face", json({}));
    await call("remove", "/v1/videos/advanced-lip-sync/1", {method: "DELETE"});
    await call("nothing", "/v1/nothing");
    await call("part", url, {headers: {Range: "bytes=0-3"}});
    key = "wrong";
    await call("stranger", "/v1/videos/advanced-lip-sync");
    return told;
}
"""


def test_a_page_of_a_named_origin_calls_with_a_key_and_no_other_page_does(
    page: Page, evil: str, tmp_path: Path
) -> None:
    key = make_key(tmp_path, "app").secret
    host, port = evil.split("/")[2].split(":")
    given = settings(tmp_path, allowed_origins=f"http://localhost:{port}")
    with in_thread(given, stub_work.WORK) as client:
        own = str(client.base_url).rstrip("/")
        sound = stub_work.sound().decode()
        page.goto(evil)  # by its address: not the name that is allowed
        told = page.evaluate(CALLS, [own, key, sound])
        assert {answer[:9] for answer in told.values()} == {"TypeError"}
        page.goto(evil.replace(host, "localhost"))
        told = page.evaluate(CALLS, [own, key, sound])
        statuses = [
            told[name]["status"] for name in ("upload", "list", "fault", "remove", "nothing", "part", "stranger")
        ]
        assert statuses == [200, 200, 400, 404, 404, 206, 401]
        assert all(answer["id"] for answer in told.values())
        assert told["part"]["range"] == f"bytes 0-3/{len(sound)}"


RUN = (
    "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
    "document.body.append(s); return window.ran; }"
)
"""Whether a script that got into the page runs."""


@dataclass(frozen=True)
class Heard:
    """What a page says on its console, and which hosts it asks."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def listen(self) -> None:
        def note(message: ConsoleMessage) -> None:
            self.said.append(message.text)

        self.page.on("console", note)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    @property
    def refused(self) -> list[str]:
        return [text for text in self.said if "Content Security Policy" in text or "Refused" in text]

    @property
    def hosts(self) -> set[str]:
        return {url.split("/")[2] for url in self.asked if not url.startswith(("data:", "blob:"))}


def test_the_page_of_calls_works_under_its_policy_and_asks_nobody_else(page: Page, tmp_path: Path) -> None:
    heard = Heard(page)
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        own = str(client.base_url).rstrip("/")
        heard.listen()
        page.goto(f"{own}/docs")
        page.wait_for_selector(".opblock")
        page.click(f".opblock-summary-path:has-text('{IDENTIFY}') >> nth=0")
        page.wait_for_selector(".opblock-body")
        assert page.locator(".opblock").count() > 5
        assert heard.refused == []
        assert heard.hosts == {own.split("/")[2]}
        assert page.evaluate(RUN) is None


@pytest.mark.parametrize("place", ["", "/a/proxys/path"])
def test_studio_works_under_its_policy_and_asks_nobody_else(page: Page, tmp_path: Path, place: str) -> None:
    heard = Heard(page)
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        own = str(client.base_url).rstrip("/")

        paths: list[str] = []

        def hand_on(route: Route) -> None:  # as a proxy does that serves it under another path
            paths.append(route.request.url.removeprefix(f"{own}{place}"))
            route.continue_(url=f"{own}{paths[-1]}")

        page.route(f"{own}{place}/**", hand_on)
        heard.listen()
        with page.expect_response(lambda answer: answer.url.endswith("/studio/main.js")) as script:
            page.goto(f"{own}{place}/")
        assert script.value.status == 200
        assert {"/", "/studio/main.js", "/studio/studio.css"} <= set(paths)
        page.wait_for_load_state("networkidle")
        assert heard.refused == []
        assert heard.hosts == {own.split("/")[2]}
        told = page.evaluate("async () => (await (await fetch('studio/settings.json')).json()).needs_key")
        assert told is False
        assert page.evaluate(RUN) is None
        assert page.evaluate("() => navigator.permissions.query({name: 'camera'}).then(got => got.state)") == "prompt"


def test_a_kept_video_plays_by_itself_and_in_an_apps_page(page: Page, evil: str, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", frames=60).read_bytes()
    with in_thread(settings(tmp_path / "data"), stub_work.REAL_HEADERS) as client:
        url = client.post(FILES, content=clip).json()["data"]["url"]
        ready = "() => { const v = document.querySelector('video'); return v && v.readyState >= 2 && v.videoWidth; }"
        page.goto(url)
        page.wait_for_function(ready)
        page.goto(evil)
        page.evaluate(
            "url => document.body.append(Object.assign(document.createElement('video'), {src: url, muted: true}))", url
        )
        page.wait_for_function(ready)
