"""What a worker process may try after an untrusted file took it over. Each function has the form of real work."""

from __future__ import annotations

import errno
import math
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from duikou import parallel, spool
from duikou.errors import MediaError
from duikou.media.probe import VideoInfo
from duikou.progress import Progress
from duikou.sandbox import child
from duikou.spool import Rows
from duikou.workers import work


def attempts(places: dict[str, Path], progress: Progress) -> str:
    """Try what is forbidden by the means of Python; the names of what succeeded or failed other than by a refusal."""
    inner, outer, writable = places["reads"], places["outside"], places["writes"]
    tries: dict[str, Callable[[], object]] = {
        "tcp": lambda: socket.create_connection(("127.0.0.1", 9)),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
        "ipv6": lambda: socket.socket(socket.AF_INET6),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "netlink": lambda: socket.socket(socket.AF_NETLINK),
        "program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "process": _fork,
        "secret": outer.read_bytes,
        "listing": lambda: list(outer.parent.iterdir()),
        "passwords": Path("/etc/passwd").read_bytes,
        "environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "home": lambda: list(Path.home().iterdir()),
        "overwrite": lambda: inner.write_bytes(b""),
        "delete": inner.unlink,
        "temporary": lambda: Path("/tmp/duikou-hostile").write_bytes(b""),
        "link": lambda: (writable / "link").symlink_to(outer),
        "hard_link": lambda: (writable / "hard").hardlink_to(inner),
        "device": lambda: os.mkfifo(writable / "fifo"),
        "signal": lambda: os.kill(os.getppid(), 0),
    }
    done = []
    for name, attempt in tries.items():
        try:
            attempt()
        except (PermissionError, FileNotFoundError, subprocess.SubprocessError):
            continue
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EROFS):  # refusals of links between folders, and of writing
                done.append(f"{name}: {error!r}")
        else:
            done.append(name)
    assert inner.read_bytes() == b"inner"
    (writable / "own").write_bytes(b"own")
    (writable / "own").rename(writable / "renamed")
    return ", ".join(done)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def spin(progress: Progress) -> None:
    """Compute endlessly on two threads."""
    threading.Thread(target=_spin, daemon=True).start()
    _spin()


def _spin() -> None:
    while True:
        pass


def write(path: Path, megabytes: int, progress: Progress) -> int:
    """Write a large file; its size."""
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
    return path.stat().st_size


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.mark}",))


INFO = (
    '{"container":"mp4","codec":"h264","width":2,"height":2,"rotation":0,"frames":1,"rate":"25/1","duration_ms":40,'
    '"audio":null}'
)
FALSE_MESSAGES = {
    "noise": b"noise",
    "binary": b"\xff\xfe\0",
    "kind": b'{"kind":"posix.system"}',
    "no kind": b"[]",
    "key": b'{"kind":"done","value":%b,"more":1}' % INFO.encode(),
    "inner key": b'{"kind":"done","value":%b}' % INFO.replace('"rotation"', '"more":1,"rotation"').encode(),
    "other type": b'{"kind":"done","value":"a text"}',
    "number as text": b'{"kind":"done","value":%b}' % INFO.replace("40", '"40"').encode(),
    "negative": b'{"kind":"done","value":%b}' % INFO.replace("40", "-40").encode(),
    "huge": b'{"kind":"done","value":%b}' % INFO.replace("40", "9" * 5_000).encode(),
    "bomb": b'{"kind":"done","value":%b}' % INFO.replace("25/1", "1e999999999").encode(),
    "long rate": b'{"kind":"done","value":%b}' % INFO.replace("25/1", "9" * 40 + "/1").encode(),
    "no rate": b'{"kind":"done","value":%b}' % INFO.replace("25/1", "1/0").encode(),
    "nul": b'{"kind":"done","value":%b}' % INFO.replace("h264", "h\\u0000").encode(),
    "surrogate": b'{"kind":"done","value":%b}' % INFO.replace("h264", "h\\ud800 ").encode(),
    "long text": b'{"kind":"done","value":%b}' % INFO.replace("h264", "h" * 70_000).encode(),
    "deep": b'{"kind":"done","value":' + b"[" * 100_000,
    "error's class": b'{"kind":"failed","error":"posix.system","reason":""}',
    "error's field": b'{"kind":"failed","error":"InputError","reason":"","field":["x"]}',
    "error's number": b'{"kind":"failed","error":"OSError","reason":"","errno":-1}',
    "nan": b'{"kind":"progress","stage":"x","share":NaN}',
    "infinity": b'{"kind":"progress","stage":"x","share":1e999}',
    "share": b'{"kind":"progress","stage":"x","share":1.1}',
    "stage": b'{"kind":"progress","stage":"%b","share":0.5}' % (b"x" * 65),
    "level": b'{"kind":"log","level":"exit","event":"x","fields":{}}',
    "field of a line": b'{"kind":"log","level":"info","event":"x","fields":{"x":{"y":1}}}',
    "many fields": b'{"kind":"log","level":"info","event":"x","fields":{%b}}'
    % b",".join(b'"%d":1' % number for number in range(65)),
}
"""What is no message of a child that returns a `VideoInfo`."""


def send(what: str, mark: Path, progress: Progress) -> VideoInfo:
    """Send what is no message, and go on as if nothing were wrong."""
    match what:
        case "pickle":
            send_raw(pickle.dumps(("done", _Evil(mark))))
        case "large":
            send_raw(b'{"kind":"done","value":"%b"}' % (b"x" * (32 << 20)))
        case "silence":
            os.write(_pipe(), b"\0\0\1\0half a word")
        case _:
            send_raw(FALSE_MESSAGES[what])
    time.sleep(600)
    raise AssertionError(what)


FLOODS = {
    "progress": "sent [0-9]+ messages within a short time",
    "lines": "sent more than 16777216 bytes|sent [0-9]+ messages",
    "questions": "though nobody answers this work",
    "long lines": "more than 196608 bytes",
    "many items": "more than 150000 items",
    "many faults": "[0-9]+ faults",
}


def flood(what: str, progress: Progress) -> VideoInfo:
    """Send more than honest work does, for ever."""
    line = b'{"kind":"log","level":"info","event":"x","fields":{%b}}'
    content = {
        "progress": b'{"kind":"progress","stage":"x","share":0.5}',
        "lines": line % b",".join(b'"%d":"%b"' % (number, b"x" * 1500) for number in range(64)),
        "questions": b'{"kind":"question","content":"AAAA"}',
        "long lines": line % b",".join(b'"%d":"%b"' % (number, b"x" * 16_000) for number in range(64)),
        "many items": b'{"kind":"done","value":[' + b"1," * 2_000_000 + b"1]}",
        "many faults": b'{"kind":"done","value":{' + b",".join(b'"%d":1' % number for number in range(149_000)) + b"}}",
    }[what]
    while True:
        send_raw(content)


def drip(progress: Progress) -> VideoInfo:
    """Send one byte of a message after the other."""
    os.write(_pipe(), struct.pack("!i", 1 << 20))
    while True:
        os.write(_pipe(), b"x")
        time.sleep(0.01)


def drip_and_hog(progress: Progress) -> VideoInfo:
    """The same while memory is taken."""
    taken = bytearray(b"x") * (800 << 20)
    assert taken
    return drip(progress)


def say_much(progress: Progress) -> VideoInfo:
    """Log and fail with texts of megabytes."""
    import structlog

    for _ in range(100):
        structlog.get_logger().info("x" * 1_000_000, **{str(number): "y" * 1_000_000 for number in range(10)})
    raise MediaError("z" * 12_000_000)


def go_back(progress: Progress) -> int:
    """Say that less is done than before."""
    for stage, share in (("a", 0.5), ("b", 0.25), ("c", 0.75)):
        progress(stage, share)
    return 0


def ask(progress: Progress) -> str:
    """What the parent answers."""
    return child.ask(b"answered").decode()


def fail(name: str, number: int, progress: Progress) -> int:
    """Say that an error of that class, and of that number of the system's, was raised."""
    text = '{"kind":"failed","error":"%s","reason":"/a/private/file","errno":%s}'
    send_raw((text % (name, number or "null")).encode())
    time.sleep(600)
    raise AssertionError(name)


def wrong_type(progress: Progress) -> int:
    """Return something else than was promised, by mistake."""
    return "a text"  # type: ignore[return-value]


def untyped(progress: Progress):  # type: ignore[no-untyped-def]
    """Promise nothing."""


def odd_texts(progress: Progress) -> str:
    """Say with every kind of message what no database takes."""
    import structlog

    structlog.get_logger().info("odd \0", ratio=math.nan, name="\ud800")
    progress("stage \0" + "x" * 100, 1.5)
    raise MediaError("the file \ud800 is damaged", field="video")


def send_raw(content: bytes) -> None:
    """Send a message as `Connection` frames it."""
    pipe = _pipe()
    content = struct.pack("!i", len(content)) + content
    while content:
        content = content[os.write(pipe, content) :]


def _pipe() -> int:
    """The connection to the server: the one descriptor that is a socket."""
    return next(fd for fd in range(3, 64) if _is_socket(fd))


def _is_socket(fd: int) -> bool:
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("socket:")
    except OSError:
        return False


def logs(progress: Progress) -> None:
    """Write a line to the log."""
    import structlog

    structlog.get_logger().info("told by the child", figure=7, where=Path("a"))
    for number in range(2_000):
        structlog.get_logger().info("noise", number=number)


def meet(folder: Path, number: int, progress: Progress) -> int:
    """Wait until another call is in the same folder at the same time; this child's process id."""
    (folder / str(number)).touch()
    until = time.monotonic() + 20
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < until, "nobody else came"
        time.sleep(0.01)
    return os.getpid()


def threads_for_work(progress: Progress) -> int:
    """How many threads this process makes for its work."""
    return parallel.cores()


def standing(progress: Progress) -> list[int]:
    """How far this process steps back: its main thread, a thread that it starts, and its session where that counts."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    with ThreadPoolExecutor(1) as pool:
        found = [niceness(), pool.submit(niceness).result()]
    with suppress(OSError):
        found.append(int(Path("/proc/self/autogroup").read_text().split()[-1]))
    return found


def hold_core(core: int, seconds: float, mark: Path, progress: Progress) -> float:
    """Keep one core busy for so many seconds of processor time, which it returns. mark: a file; it has begun."""
    os.sched_setaffinity(0, {core})
    mark.touch()
    began = time.process_time()
    while time.process_time() < began + seconds:
        pass
    return time.process_time() - began


def copy(source: Path, to: Path, progress: Progress) -> str:
    """Copy a file, as honest work does; what is in it."""
    to.write_bytes(source.read_bytes())
    to.rename(to.with_suffix(".part")).rename(to)
    return to.read_text()


def spooled(folder: Path, progress: Progress) -> int:
    """The sum of rows in a file without a name, which are large enough for one."""
    with work.temporary_files(folder):
        rows = Rows((spool.LEAST, 1), np.uint8, iter([np.ones((spool.LEAST, 1), np.uint8)]))
        return int(rows[:10].sum())


def end(how: int, progress: Progress) -> int:
    """End with an exit code, or by a signal where it is negative."""
    if how < 0:
        signal.raise_signal(-how)
    os._exit(how)
