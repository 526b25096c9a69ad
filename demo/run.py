"""The demo: makes a clip and a sentence, starts the real server, runs its three calls, saves the result and a sheet.

Finally prints `video: PATH` and `sheet: PATH`; progress goes to standard error.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from demo import portrait, speech
from demo.sheet import Box, sheet
from duikou.cli.terminal import show_progress

OUTPUT = Path("out/demo")
INSERT_MS = 500
READY = "duikou is ready at "
START_TIMEOUT_S = 60  # a cold start imports every model runtime
CALL_TIMEOUT_S = 120  # identify-face answers when it has finished
TASK_TIMEOUT_S = 1200  # a slow machine renders a second of video in well under a minute
POLL_S = 0.5
LOG_LINES = 20  # of the server's log to show after a failure


class DemoError(Exception):
    """The demo failed; the text says why."""


def main() -> int:
    """Run the demo in the current folder and return its exit status."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    before, after = OUTPUT / "before.mp4", OUTPUT / "after.mp4"
    with tempfile.TemporaryDirectory(prefix="duikou-demo-") as name:
        work = Path(name)
        try:
            video, audio = _make_input(work)
            with serving(work) as source, running_server(work / "data", work / "server.log") as base:
                lip_sync_over_http(base, f"{source}/{video.name}", audio, INSERT_MS, after)
            shutil.copyfile(video, before)
            page = sheet(OUTPUT / "sheet.png", before, after, face_box(), audio, INSERT_MS)
        except DemoError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    print(f"video: {after}")
    print(f"sheet: {page}")
    return 0


def _make_input(folder: Path) -> tuple[Path, Path]:
    with show_progress("making the demo's input") as progress:
        audio = speech.speak(folder / "speech.wav")
        video = portrait.write(folder / "portrait.mp4", progress=lambda share: progress("clip", share))
    return video, audio


def lip_sync_over_http(base: str, video_url: str, audio: Path, insert_ms: int, output: Path) -> None:
    """The three calls of the contract for the first face, then the download. Raises `DemoError`."""
    with show_progress("identify-face") as progress:
        progress("finding faces", 0.0)
        session = _call(f"{base}/v1/videos/identify-face", {"video_url": video_url})
        progress("done", 1.0)
    if not session["face_data"]:
        raise DemoError("the server found no face in the demo's clip")
    choice = {
        "face_id": session["face_data"][0]["face_id"],
        "sound_file": base64.b64encode(audio.read_bytes()).decode(),
        "sound_start_time": 0,
        "sound_end_time": duration_ms(audio),
        "sound_insert_time": insert_ms,
        "original_audio_volume": 0,
    }
    body = {"session_id": session["session_id"], "face_choose": [choice]}
    task = _call(f"{base}/v1/videos/advanced-lip-sync", body)
    address = _wait(f"{base}/v1/videos/advanced-lip-sync/{task['task_id']}")
    with urllib.request.urlopen(address, timeout=CALL_TIMEOUT_S) as answer, output.open("wb") as file:
        shutil.copyfileobj(answer, file)


def _wait(query: str) -> str:
    """Poll until the task has ended; the URL of its video."""
    deadline = time.monotonic() + TASK_TIMEOUT_S
    with show_progress("advanced-lip-sync") as progress:
        while time.monotonic() < deadline:
            task = _call(query)
            progress(task.get("stage") or task["task_status"], float(task.get("progress") or 0.0))
            if task["task_status"] == "succeed":
                return str(task["task_result"]["videos"][0]["url"])
            if task["task_status"] == "failed":
                raise DemoError(f"the task failed: {task['task_status_msg']}")
            time.sleep(POLL_S)
    raise DemoError(f"the task did not finish within {TASK_TIMEOUT_S} s")


def _call(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call of the contract: POST of `body` or GET; its `data`."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise DemoError(f"{address} answered {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise DemoError(f"{address} did not answer: {error}") from error
    return data


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A small web server for `folder` on loopback, in place of a caller's storage."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def running_server(data: Path, log: Path) -> Iterator[str]:
    """The real server in its own process on a free port. Yields its address and stops it afterwards."""
    environment = os.environ | {"DUIKOU_PRIVATE_SOURCES": "127.0.0.0/8"}  # the clip is on this machine
    command = [sys.executable, "-m", "duikou", "serve", "--host", "127.0.0.1", "--port", "0", "--data", str(data)]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment) as process,
    ):
        try:
            yield address_of(process)
        except DemoError as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise DemoError(f"{error}\nthe end of the server's log:\n{tail}") from error
        finally:
            process.terminate()
            try:
                process.wait(START_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def address_of(process: subprocess.Popen[bytes]) -> str:
    """The address that the server prints when it is ready; a watchdog kills a server that takes too long."""
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout or ():
            text = line.decode(errors="replace").strip()
            if text.startswith(READY):
                return text.removeprefix(READY).rstrip("/")
    finally:
        watchdog.cancel()
    raise DemoError(f"the server exited, or was not ready within {START_TIMEOUT_S} s")


def duration_ms(audio: Path) -> int:
    """Duration of a WAV file in whole milliseconds."""
    with wave.open(str(audio), "rb") as file:
        return file.getnframes() * 1000 // file.getframerate()


def face_box() -> Box:
    """The part of the portrait that contains the face, with room for its motion."""
    x, y = portrait.FACE_CENTRE
    half_width, half_height = portrait.FACE_RADII
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    left, top, right, bottom = (
        round((value - start) * portrait.ZOOM)
        for value, start in zip(corners, (portrait.LEFT, portrait.TOP) * 2, strict=True)
    )
    return left, top, right, bottom


if __name__ == "__main__":
    sys.exit(main())
