"""Runs the real server under honest and hostile callers at once, and watches it from outside.

Honest callers run whole jobs on a real clip and fetch each result. Hostile callers send damaged media, playlists,
internal addresses, slow and lying hosts, floods of connections, partial requests and nonsense, and disconnect midway.
At the end every accepted task must be finished, the server must be the same process, and it must hold no more open
files, children or temporary files than at the start.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import portrait, run, speech

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
import mutants
from receiver import receiver

CLIP_MS, INSERT_MS = 3_200, 600
SENTENCE = "Hello, my name is Eileen, how are you?"
SAMPLE_S = 5.0
WARM_UP = 0.1  # of the time, before which caches and pools are still filling
SETTLE_S = 90.0  # after the last call: slow connections time out, tasks end
IDENTIFY, CREATE, FILES = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync", "/v1/files"
SEEDS = ("mp4", "mov", "mp3", "wav", "m4a")
PLAYLISTS = (
    b"ffconcat version 1.0\nfile 'secret.mp4'\n",
    b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
    b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    b"<?xml version='1.0'?><MPD><Period/></MPD>",
)
INSIDE = (
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://2130706433/",
    "http://192.168.0.1:22/",
    "http://127.0.0.2:{port}/",
    "file:///etc/passwd",
    "http://127.0.0.1:{own}/v1/videos/advanced-lip-sync",
)
NONSENSE = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 100_000,
    b'{"session_id": "1", "session_id": "2"}',
    b'{"video_url": "\\ud800"}',
    b'{"video_url": 1e999}',
    b"\xff\xfe\x00",
    b"[" + b"[]," * 1_000_000 + b"[]]",
)


@dataclass
class Figures:
    """What is counted while it runs; samples are (seconds, resident MB, files, threads, children)."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    samples: list[tuple[float, int, int, int, int]] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    ended: Counter[str] = field(default_factory=Counter)

    def count(self, what: str, answer: httpx.Response | None = None) -> None:
        """Count a call, and record a response that no caller should get."""
        self.counts[what] += 1
        if answer is not None and answer.status_code >= 500 and answer.status_code != 503:
            self.faults.append(f"{what}: {answer.status_code} {answer.text[:200]}")


@dataclass(frozen=True)
class Place:
    """Addresses and files of the run. site: serves the files. inside: forbidden connections."""

    base: str
    site: str
    hook: str
    hostile: int
    inside: list[str]
    clip: Path
    sound: bytes
    stop: threading.Event


def honest(place: Place, figures: Figures) -> None:
    """Whole jobs, one after another."""
    with httpx.Client(base_url=place.base, timeout=300, trust_env=False) as client:
        while not place.stop.is_set():
            answer = client.post(IDENTIFY, json={"video_url": f"{place.site}/{place.clip.name}"})
            figures.count(f"honest identify {answer.status_code}", answer)
            if answer.status_code != 200:
                time.sleep(2)  # too many wait
                continue
            data = answer.json()["data"]
            times = {"sound_start_time": 0, "sound_end_time": 2_200, "sound_insert_time": INSERT_MS}
            choice = {"face_id": data["face_data"][0]["face_id"], "sound_file": base64.b64encode(place.sound).decode()}
            order = {"session_id": data["session_id"], "face_choose": [choice | times], "callback_url": place.hook}
            answer = client.post(CREATE, json=order)
            figures.count(f"honest create {answer.status_code}", answer)
            if answer.status_code != 200:
                time.sleep(2)
                continue
            task_id = answer.json()["data"]["task_id"]
            figures.accepted.add(task_id)
            _await(client, task_id, place, figures)


def _await(client: httpx.Client, task_id: str, place: Place, figures: Figures) -> None:
    while True:
        task = client.get(f"{CREATE}/{task_id}").json()["data"]
        if task["task_status"] in ("succeed", "failed"):
            figures.ended[task["task_status"]] += 1
            if task["task_status"] == "failed":
                figures.faults.append(f"task: {task['task_status_msg']}")
            else:
                result = client.get(task["task_result"]["videos"][0]["url"])
                figures.count(f"result {result.status_code}", result)
            return
        if place.stop.wait(0.5):
            time.sleep(0.5)


def damaged(place: Place, figures: Figures) -> None:
    """Damaged media and playlists, as uploads."""
    with httpx.Client(base_url=place.base, timeout=120, trust_env=False) as client:
        number = 0
        while not place.stop.is_set():
            number += 1
            content = PLAYLISTS[number // 6 % len(PLAYLISTS)]
            if number % 6:
                content = mutants.bytes_of(SEEDS[number % len(SEEDS)], 1_000_000 + number)
            answer = client.post(FILES, content=content)
            figures.count(f"damaged upload {answer.status_code}", answer)
            if answer.status_code == 200 and not number % 6:
                figures.faults.append("a playlist was opened")
            time.sleep(0.1)


def addresses(place: Place, figures: Figures) -> None:
    """Addresses of the inside, and hosts that drip, lie and redirect inwards."""
    own = urlsplit(place.base).port
    with httpx.Client(base_url=place.base, timeout=120, trust_env=False) as client:
        number = 0
        while not place.stop.is_set():
            number += 1
            url = INSIDE[number % len(INSIDE)].format(port=place.hostile, own=own)
            if number % 3 == 0:
                url = f"http://127.0.0.1:{place.hostile}/{number}"
            answer = client.post(IDENTIFY, json={"video_url": url})
            figures.count(f"hostile address {answer.status_code}", answer)
            time.sleep(0.2)


def connections(place: Place, figures: Figures) -> None:
    """Connections that say nothing, half of something, or leave in the middle."""
    where = (urlsplit(place.base).hostname, urlsplit(place.base).port)
    head = b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    held: list[socket.socket] = []
    while not place.stop.is_set():
        with suppress(OSError):
            line = socket.create_connection(where, timeout=5)
            match random.randrange(5):
                case 0:
                    held.append(line)
                case 1:
                    line.sendall(head[: random.randrange(1, len(head))])
                    held.append(line)
                case 2:
                    line.sendall(head + bytes(random.randrange(100_000)))
                    line.close()
                case 3:
                    line.sendall(random.randbytes(500))
                    line.close()
                case _:
                    line.sendall(b"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    line.recv(10)
                    line.close()
            figures.count("odd connection")
        while len(held) > 100:
            held.pop(0).close()
        time.sleep(0.1)
    for line in held:
        line.close()


def nonsense(place: Place, figures: Figures) -> None:
    """Bodies that are no request, and requests by pages of other sites."""
    with httpx.Client(base_url=place.base, timeout=120, trust_env=False) as client:
        number = 0
        while not place.stop.is_set():
            number += 1
            body = NONSENSE[number % len(NONSENSE)]
            path = (IDENTIFY, CREATE)[number % 2]
            headers = {"Origin": "https://evil.example"} if number % 4 == 0 else {}
            answer = client.post(path, content=body, headers=headers)
            figures.count(f"nonsense {answer.status_code}", answer)
            time.sleep(0.2)


def hostile_host(stop: threading.Event) -> tuple[int, list[str]]:
    """A slow, lying, endless host that redirects inwards; an internal one on the same port records connections."""
    inside: list[str] = []
    outer = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = outer.getsockname()[1]
    inner = socket.create_server(("127.0.0.2", port), backlog=128)

    def serve(listener: socket.socket) -> None:
        number = 0
        while True:
            line, _ = listener.accept()
            number += 1
            if listener is inner:
                inside.append("connected")
                line.close()
            else:
                threading.Thread(target=_mislead, args=(line, number, port, stop), daemon=True).start()

    for listener in (outer, inner):
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    return port, inside


def _mislead(line: socket.socket, number: int, port: int, stop: threading.Event) -> None:
    """Answer one request in one of six hostile ways. port: where a redirect leads, on an address inside."""
    with line, suppress(OSError):
        line.settimeout(60)
        line.recv(4096)
        match number % 6:
            case 0:
                line.sendall(b"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: http://127.0.0.2:%d/\r\n\r\n" % port)
            case 1:
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort")
            case 2:
                line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not stop.is_set():
                    line.sendall(bytes(1 << 16))
            case 3:
                for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello":
                    line.sendall(bytes([byte]))
                    time.sleep(0.3)
            case 4:
                line.sendall(random.randbytes(300))
            case _:
                stop.wait(20)


def sample(pid: int) -> tuple[int, int, int, int]:
    """Resident MB, open files, threads and child processes of a process. Raises `OSError` if it is gone."""
    place = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines() if ":\t" in line)
    children = sum(len(path.read_text().split()) for path in place.glob("task/*/children"))
    return (
        int(status["VmRSS"].split()[0]) // 1024,
        len(list((place / "fd").iterdir())),
        int(status["Threads"]),
        children,
    )


def main() -> int:
    """Run it; the exit status is 1 if anything was lost, leaked, reached or restarted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long callers call (default: 1800)")
    parser.add_argument("--output", type=Path, default=Path("out/soak.json"), help="where the figures go")
    given = parser.parse_args()
    figures, stop = Figures(), threading.Event()
    with tempfile.TemporaryDirectory() as made, receiver(200) as ear:
        folder = Path(made)
        media, data = folder / "media", folder / "data"
        media.mkdir()
        clip = portrait.write(media / "clip.mp4", CLIP_MS)
        sound = speech.speak(folder / "speech.wav", SENTENCE).read_bytes()
        hostile, inside = hostile_host(stop)
        with run.serving(media) as site, serving(data, folder / "server.log") as (process, base):
            place = Place(base, site, f"{ear.url}/hook", hostile, inside, clip, sound, stop)
            workers: list[Callable[[Place, Figures], None]] = [honest, honest, damaged, damaged, addresses, connections]
            threads = [
                threading.Thread(target=_guarded, args=(work, place, figures), daemon=True)
                for work in (*workers, nonsense)
            ]
            for thread in threads:
                thread.start()
            _watch(process, figures, given.seconds)
            stop.set()
            for thread in threads:
                thread.join(300)
            _settle(base, data)
            end = End(
                sample=(given.seconds, *sample(process.pid)),
                alive=process.poll() is None,
                left=[str(path.relative_to(data)) for path in (data / "incoming").iterdir()],
                heard={told.task["task_id"] for told in ear.heard if told.status in ("succeed", "failed")},
                inside=inside,
            )
        return _report(given, figures, end)


def _guarded(work: Callable[[Place, Figures], None], place: Place, figures: Figures) -> None:
    while not place.stop.is_set():
        try:
            work(place, figures)
        except httpx.HTTPError as error:
            figures.count(f"{work.__name__} lost its connection ({type(error).__name__})")
            time.sleep(1)
        except Exception as error:
            figures.faults.append(f"{work.__name__}: {error!r}")
            return


@contextmanager
def serving(data: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the real server as its own process; the process and its URL."""
    command = [sys.executable, "-m", "duikou", "serve", "--host", "127.0.0.1", "--port", "0", "--data", str(data)]
    told = {"DUIKOU_PRIVATE_SOURCES": "127.0.0.1/32", "DUIKOU_REQUESTS_PER_S": "0", "DUIKOU_CONNECTIONS": "200"}
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | told) as process,
    ):
        try:
            yield process, run.address_of(process)
        finally:
            process.terminate()


def _watch(process: subprocess.Popen[bytes], figures: Figures, seconds: float) -> None:
    columns = (TextColumn("soak"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=seconds)
        while (at := time.monotonic() - began) < seconds and process.poll() is None:
            figures.samples.append((at, *sample(process.pid)))
            text = (
                f"{sum(figures.counts.values())} calls, {figures.ended['succeed']} jobs, {len(figures.faults)} faults"
            )
            progress.update(bar, completed=at, description=text)
            time.sleep(min(SAMPLE_S, seconds))


def _settle(base: str, data: Path) -> None:
    """Wait until all tasks are finished."""
    until = time.monotonic() + SETTLE_S
    with httpx.Client(base_url=base, timeout=60, trust_env=False) as client:
        while time.monotonic() < until:
            tasks = client.get(f"{CREATE}?pageSize=500").json()["data"]
            unfinished = [task for task in tasks if task["task_status"] in ("submitted", "processing")]
            if not unfinished and not list((data / "incoming").iterdir()):
                break
            time.sleep(1)
    time.sleep(20)  # connections that were left open time out


@dataclass(frozen=True)
class End:
    """What is there once all calls are over.

    sample: seconds, and what `sample` gives. alive: whether the server runs. left: temporary files that remain.
    heard: tasks whose end a callback reported. inside: connections to an address inside.
    """

    sample: tuple[float, int, int, int, int]
    alive: bool
    left: list[str]
    heard: set[str]
    inside: list[str]


def _report(given: argparse.Namespace, figures: Figures, end: End) -> int:
    warm = [one for one in figures.samples if one[0] >= WARM_UP * given.seconds]
    first, last = figures.samples[0], end.sample
    rows = {
        "seconds": round(given.seconds),
        "calls": sum(figures.counts.values()),
        "tasks accepted": len(figures.accepted),
        "tasks ended": sum(figures.ended.values()),
        "tasks failed": figures.ended["failed"],
        "tasks whose end was told": len(figures.accepted & end.heard),
        "server restarts": 0 if end.alive else 1,
        "inside addresses reached": len(end.inside),
        "answers that are faults of the server": len(figures.faults),
        "temporary files left": len(end.left),
        "open files, first and last": f"{first[2]}, {last[2]}",
        "threads, first and last": f"{first[3]}, {last[3]}",
        "children, first and last": f"{first[4]}, {last[4]}",
        "resident MB, warm median, peak, last": f"{statistics.median(one[1] for one in warm):.0f}, "
        f"{max(one[1] for one in figures.samples)}, {last[1]}",
    }
    table = Table("what", "figure")
    for name, value in rows.items():
        table.add_row(name, str(value))
    for name, count in sorted(figures.counts.items()):
        table.add_row(f"  {name}", str(count))
    Console().print(table)
    for fault in figures.faults[:20]:
        Console(stderr=True).print(fault, markup=False)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    found = {"figures": rows, "counts": figures.counts, "samples": figures.samples, "faults": figures.faults}
    given.output.write_text(json.dumps(found, indent=1))
    lost = len(figures.accepted) - sum(figures.ended.values())
    grown = last[2] > first[2] + 8 or last[4] > first[4]
    return int(bool(lost or not end.alive or end.inside or figures.faults or end.left or grown))


if __name__ == "__main__":
    sys.exit(main())
