"""Every refused request names a field of the wire, whichever layer refused it: schema, validation, fetch or worker."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contract
import httpx
import pytest
import stub_work
from live_server import identify, in_thread, order, sources
from server_settings import settings

IDENTIFY, CREATE, FILES = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync", "/v1/files"
EXTENSIONS = {
    *("video_id", "audio_id", "callback_url", "watermark_info", "enabled", "sync_mode", "dry_run", "file"),
    *("reference_urls", "original_audio_scope", "exclude"),
    *("pageNum", "pageSize"),
}
"""Fields beside the contract's: Kling's own further ones, and duikou's."""
FIELDS = contract.request_fields() | EXTENSIONS
ENTRY = "face_choose[0]"


@dataclass(frozen=True)
class Server:
    """A running server with a session of two faces, 0 to 10 s and 7.5 to 10 s, and files to fetch from `site`."""

    client: httpx.Client
    site: str
    session_id: str

    def identify(self, **fields: Any) -> httpx.Response:
        return self.client.post(IDENTIFY, json=fields)

    def create(self, entry: dict[str, Any] | None = None, **fields: Any) -> httpx.Response:
        payload = order(self.session_id, f"{self.site}/s.mp3", **(entry or {}))
        return self.client.post(CREATE, json=payload | fields)

    def upload(self, content: bytes) -> str:
        return str(self.client.post(FILES, content=content).json()["data"]["id"])

    def url(self, name: str) -> str:
        return f"{self.site}/{name}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    video, sound = stub_work.video, stub_work.sound
    files = {
        "a__mp4": video(faces=[[0, 10_000], [7_500, 10_000]]),
        "short__mp4": video(duration_ms=1_999),
        "small__mp4": video(width=640, height=480),
        "photo__jpg": stub_work.PHOTO,
        "hour__mp4": video(duration_ms=60_101),
        "large__mp4": video(width=2_160, height=2_160),
        "damaged__mp4": video(identify="damaged"),
        "text__mp4": b"#EXTM3U",
        "void__mp4": b"",
        "s__mp3": sound(),
        "short__mp3": sound(duration_ms=1_999),
        "long__mp3": sound(duration_ms=60_101),
        "minute__mp3": sound(duration_ms=60_000),
        "void__mp3": b"",
    }
    given = settings(tmp_path_factory.mktemp("data"), max_video_mb=1, max_audio_mb=1, tasks_at_once=0)
    with sources(**files) as site, in_thread(given, stub_work.WORK) as client:
        yield Server(client, site, identify(client, f"{site}/a.mp4")["session_id"])


def at(site: str, value: Any) -> Any:
    """A value of a request with the address of the files in place of SITE."""
    if isinstance(value, list):
        return [at(site, one) for one in value]
    return value.replace("SITE", site) if isinstance(value, str) else value


def entry(name: str, field: str = "", **changes: Any) -> tuple[str, str, Callable[[Server], httpx.Response]]:
    """A request whose one entry of `face_choose` is wrong in `name`; SITE in a value is where the files are."""
    shown = f"{ENTRY}.{field or name}"

    def ask(server: Server) -> httpx.Response:
        return server.create({key: at(server.site, value) for key, value in changes.items()})

    return f"{shown}: {changes}"[:100], shown, ask


def row(field: str, name: str, ask: Callable[[Server], httpx.Response]) -> tuple[str, str, Callable[..., Any]]:
    return f"{field}: {name}", field, ask


ROWS = [
    # The schema of the request
    row("video_url", "number", lambda server: server.identify(video_url=7)),
    row("video_id", "number", lambda server: server.identify(video_id=7)),
    row("session_id", "null", lambda server: server.create(session_id=None)),
    row("face_choose", "empty", lambda server: server.create(face_choose=[])),
    row("face_choose[0]", "number", lambda server: server.create(face_choose=[1])),
    entry("face_id", face_id=None),
    entry("sound_file", sound_file=5),
    entry("audio_id", audio_id=5),
    entry("sound_start_time", sound_start_time=-1),
    entry("sound_end_time", sound_end_time=86_400_001),
    entry("sound_insert_time", sound_insert_time=-1),
    entry("sound_volume", sound_volume=2.01),
    entry("original_audio_volume", original_audio_volume=3),
    entry("original_audio_scope", original_audio_scope="here"),
    entry("exclude", exclude=3),
    entry("exclude[0]", exclude=[[2, 1]]),
    row("external_task_id", "long", lambda server: server.create(external_task_id="x" * 257)),
    row("callback_url", "list", lambda server: server.create(callback_url=["a"])),
    row("watermark_info", "bool", lambda server: server.create(watermark_info=True)),
    row("watermark_info.enabled", "text", lambda server: server.create(watermark_info={"enabled": "yes"})),
    row("sync_mode", "unknown", lambda server: server.create(sync_mode="stretch")),
    row("dry_run", "number", lambda server: server.create(dry_run=1)),
    row("pageNum", "zero", lambda server: server.client.get(f"{CREATE}?pageNum=0")),
    row("pageSize", "zero", lambda server: server.client.get(f"{CREATE}?pageSize=0")),
    # What the request refers to
    row("video_url", "neither", lambda server: server.identify()),
    row("video_url", "both", lambda server: server.identify(video_url=server.url("a.mp4"), video_id="1")),
    row("video_id", "unknown", lambda server: server.identify(video_id="1")),
    row("video_id", "an audio file", lambda server: server.identify(video_id=server.upload(stub_work.sound()))),
    row("session_id", "unknown", lambda server: server.create(session_id="1")),
    row(ENTRY, "neither", lambda server: server.create({"sound_file": ""})),
    row(ENTRY, "both", lambda server: server.create({"audio_id": "1"})),
    entry("audio_id", sound_file="", audio_id="1"),
    row(
        f"{ENTRY}.audio_id",
        "a video",
        lambda server: server.create({"sound_file": "", "audio_id": server.upload(stub_work.video())}),
    ),
    # Received files: URLs, content and headers of files
    row("video_url", "scheme", lambda server: server.identify(video_url="file:///etc/passwd")),
    row("video_url", "private", lambda server: server.identify(video_url="http://10.0.0.1/a.mp4")),
    row("video_url", "missing", lambda server: server.identify(video_url=server.url("nothing.mp4"))),
    row("video_url", "empty", lambda server: server.identify(video_url=server.url("void.mp4"))),
    row("video_url", "not media", lambda server: server.identify(video_url=server.url("text.mp4"))),
    row("video_url", "audio", lambda server: server.identify(video_url=server.url("s.mp3"))),
    row("video_url", "short", lambda server: server.identify(video_url=server.url("short.mp4"))),
    row("video_url", "small", lambda server: server.identify(video_url=server.url("small.mp4"))),
    row("video_url", "large", lambda server: server.identify(video_url=server.url("large.mp4"))),
    row("callback_url", "scheme", lambda server: server.create(callback_url="ftp://127.0.0.1/")),
    entry("sound_file", sound_file="not base64!"),
    entry("sound_file", sound_file="data:audio/mpeg,abc"),
    entry("sound_file", sound_file="SITE/nothing.mp3"),
    entry("sound_file", sound_file="SITE/void.mp3"),
    entry("sound_file", sound_file="SITE/a.mp4"),
    entry("sound_file", sound_file="SITE/short.mp3", sound_end_time=2_000),
    entry("sound_file", sound_file="SITE/long.mp3"),
    row("file", "empty", lambda server: server.client.post(FILES, content=b"")),
    row("file", "not media", lambda server: server.client.post(FILES, content=b"junk")),
    row("file", "absent", lambda server: server.client.post(FILES, files={"other": b"x"})),
    *(
        entry("reference_urls", field=f"reference_urls[{len(urls) - 1}]", reference_urls=urls)
        for urls in (
            ["ftp://127.0.0.1/a.mp4"],
            ["http://10.0.0.1/a.mp4"],
            ["SITE/nothing.jpg"],
            ["SITE/photo.jpg", "SITE/void.mp4"],
            ["SITE/a.mp4", "SITE/photo.jpg", "SITE/text.mp4"],
            ["SITE/hour.mp4"],
            ["SITE/s.mp3"],
            [7],
        )
    ),
    entry("reference_urls", reference_urls=["SITE/photo.jpg"] * 5),
    entry("reference_urls", reference_urls="SITE/photo.jpg"),
    # Validation of the choice against the session and the audio
    entry("face_id", face_id="7"),
    row(
        "face_choose[1].sound_insert_time",
        "overlapping",
        lambda server: server.create(face_choose=order("", server.url("s.mp3"))["face_choose"] * 2),
    ),
    entry("sound_end_time", sound_end_time=1_999),
    entry("sound_start_time", field="sound_end_time", sound_start_time=4_000),
    entry("sound_end_time", sound_end_time=5_101, sound_insert_time=0),
    entry("sound_insert_time", sound_insert_time=7_101),
    entry("sound_insert_time", face_id="1", sound_insert_time=0),
    row(
        "sync_mode",
        "too long a result",
        lambda server: server.create(
            {"sound_file": server.url("minute.mp3"), "sound_end_time": 60_000, "sound_insert_time": 9_000},
            sync_mode="loop",
        ),
    ),
    # What a worker finds
    row("video_url", "damaged", lambda server: server.identify(video_url=server.url("damaged.mp4"))),
    row(
        "video_id",
        "damaged",
        lambda server: server.identify(video_id=server.upload(stub_work.video(identify="damaged"))),
    ),
]


@pytest.mark.parametrize(("field", "ask"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_refusal_names_a_field_of_the_wire(server: Server, field: str, ask: Callable[[Server], Any]) -> None:
    answer = ask(server)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201), answer.text
    named, _, _ = answer.json()["message"].partition(": ")
    assert named == field
    assert set(re.findall(r"[^.\[\]\d]+", named)) <= FIELDS


def test_every_field_of_a_request_is_named_by_some_refusal() -> None:
    assert {name for _, field, _ in ROWS for name in re.findall(r"[^.\[\]\d]+", field)} == FIELDS


def test_the_extensions_are_those_of_the_served_document_and_are_documented(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    schemas = ("IdentifyRequest", "LipSyncRequest", "FaceChoose", "WatermarkInfo")
    body = {name for schema in schemas for name in document["components"]["schemas"][schema]["properties"]}
    assert body == FIELDS - {"file", "pageNum", "pageSize"}
    text = Path(__file__).parents[2].joinpath("docs", "extensions.md").read_text()
    assert not [name for name in EXTENSIONS - {"pageNum", "pageSize"} if not re.search(rf"\b{name}\b", text)]
