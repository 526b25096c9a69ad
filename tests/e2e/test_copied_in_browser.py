"""Chromium decodes, plays and seeks videos that are partly copied and partly encoded: every frame, on both sides."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from h264_rules import Track, read_track
from playwright.sync_api import Page
from spliced import FRAMES, GROUP, Spliced, spliced
from studio import chromium, need_chromium

need_chromium()

ONE, TWO = ((70, 80),), ((30, 40), (126, 136))
"""The frames that change: in the middle, or within the first and the last group, of which the beginning is copied."""
MADE = [
    *((kind, ONE) for kind in ("medium", "one_key_frame", "many_references", "baseline", "slices", "late")),
    *((kind, TWO) for kind in ("medium", "late")),
]

DECODE = """
async ({codec, description, chunks}) => {
    const bytes = text => Uint8Array.from(atob(text), one => one.charCodeAt(0));
    const found = [];
    let failed = null;
    const hashed = [];
    const decoder = new VideoDecoder({
        output: frame => {
            const shown = frame.timestamp;
            const {width, height} = frame.visibleRect;
            const pixels = new Uint8Array(frame.allocationSize());
            hashed.push(frame.copyTo(pixels).then(async planes => {
                const rows = [];
                planes.forEach((plane, number) => {
                    const [across, down] = number ? [width / 2, height / 2] : [width, height];
                    for (let row = 0; row < down; row++) {
                        const at = plane.offset + row * plane.stride;
                        rows.push(pixels.slice(at, at + across));
                    }
                });
                const digest = await crypto.subtle.digest("SHA-256", await new Blob(rows).arrayBuffer());
                const text = Array.from(new Uint8Array(digest), one => one.toString(16).padStart(2, "0")).join("");
                found.push([shown, frame.format, text]);
                frame.close();
            }));
        },
        error: error => failed = String(error),
    });
    decoder.configure({codec, description: bytes(description), hardwareAcceleration: "prefer-software"});
    for (const [timestamp, type, data] of chunks) {
        decoder.decode(new EncodedVideoChunk({timestamp, type, data: bytes(data)}));
        while (decoder.decodeQueueSize > 8) {
            await new Promise(done => decoder.addEventListener("dequeue", done, {once: true}));
        }
    }
    await decoder.flush();
    await Promise.all(hashed);
    return {failed, found};
}
"""

LOAD = """
async text => {
    const video = document.createElement("video");
    const bytes = Uint8Array.from(atob(text), one => one.charCodeAt(0));
    const met = new Promise(done => { video.onloadeddata = done; video.onerror = done; });
    Object.assign(video, {muted: true, src: URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}))});
    document.body.append(video);
    window.video = video;
    await met;
    return video.error && video.error.message;
}
"""

SEEK = """
async ([second, bits]) => {
    const sought = new Promise(done => video.onseeked = done);
    const presented = new Promise(done => video.requestVideoFrameCallback((_, told) => done(told.mediaTime)));
    video.currentTime = second;
    await sought;
    const time = await presented;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight).getContext("2d");
    canvas.drawImage(video, 0, 0);
    const pixels = canvas.getImageData(0, 0, video.videoWidth, video.videoHeight).data;
    const across = Math.floor(Math.floor(video.videoWidth / 2) / bits), down = Math.floor(video.videoHeight / 4);
    let number = 0;
    for (let bit = 0; bit < bits; bit++) {
        const at = 4 * (Math.floor(down / 2) * video.videoWidth + bit * across + Math.floor(across / 2));
        number |= (pixels[at + 1] > 128) << bit;
    }
    return [time, number];
}
"""

PLAY = """
async () => {
    const ended = new Promise(done => { video.onended = done; video.onerror = done; });
    const times = [];
    const note = (_, told) => { times.push(told.mediaTime); video.requestVideoFrameCallback(note); };
    video.requestVideoFrameCallback(note);
    Object.assign(video, {currentTime: 0, playbackRate: 4});  // all frames are decoded, in a quarter of the time
    await video.play();
    await ended;
    const {totalVideoFrames, corruptedVideoFrames} = video.getVideoPlaybackQuality();
    return {error: video.error && video.error.message, times, totalVideoFrames, corruptedVideoFrames};
}
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    """One for all tests: a new one takes longer than most of them."""
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.route("**/*", lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
        yield page


@pytest.fixture
def page(tab: Page) -> Page:
    """An empty page."""
    tab.goto("https://video.example/")  # decoders need a secure context
    return tab


@pytest.fixture(scope="module", params=MADE, ids=[f"{kind}-{len(parts)}" for kind, parts in MADE])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Spliced:
    kind, parts = request.param
    found = spliced(tmp_path_factory.mktemp(kind), kind, *parts)
    encoded = [one for one in found.stretches if not one.copied]
    assert len(encoded) == len(parts)
    assert all(one.start % GROUP for one in encoded), "what precedes a change in its group is copied"
    return found


def test_the_decoder_gives_every_frame_with_the_pixels_that_ffmpeg_gives(made: Spliced, page: Page) -> None:
    track = read_track(made.output)
    given = page.evaluate(DECODE, chunks(made.output, track))
    assert given["failed"] is None
    assert sorted(given["found"]) == [[pts, "I420", digest] for pts, digest in sorted(digests(made.output))]
    assert len(given["found"]) == FRAMES


def chunks(path: Path, track: Track) -> dict[str, Any]:
    with av.open(str(path)) as file:
        record = file.streams.video[0].codec_context.extradata or b""
    return {
        "codec": f"avc1.{record[1:4].hex()}",
        "description": base64.b64encode(record).decode(),
        "chunks": [
            [unit.pts, "key" if unit.is_key else "delta", base64.b64encode(unit.data).decode()] for unit in track.units
        ],
    }


def digests(path: Path) -> Iterator[tuple[int, str]]:
    with av.open(str(path)) as file:
        for frame in file.decode(file.streams.video[0]):
            assert frame.pts is not None
            yield frame.pts, hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()


def test_it_plays_over_the_seams_and_seeks_to_both_sides(made: Spliced, page: Page) -> None:
    assert page.evaluate(LOAD, base64.b64encode(made.output.read_bytes()).decode()) is None
    times = made.source.frame_times
    starts = [float(pts * times.time_base) for pts in times.pts]
    seams = [one.start for one in made.stretches[1:]]
    assert seams
    for number in [one + near for one in reversed(seams) for near in (0, -1, 1)]:
        middle = (starts[number] + starts[min(number + 1, FRAMES - 1)]) / 2
        shown, read = page.evaluate(SEEK, [middle, 8])
        assert shown == pytest.approx(starts[number], abs=2e-3)
        assert read == (255 - number if made.changed[number] else number)
    played = page.evaluate(PLAY)
    assert played["error"] is None
    assert played["corruptedVideoFrames"] == 0
    assert played["times"] == sorted(played["times"])
