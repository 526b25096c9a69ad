"""What a worker process may try after an untrusted file took it over. Each function has the form of real work."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from duikou.errors import InputError
from duikou.progress import Progress


def attempts(places: dict[str, Path], progress: Progress) -> str:
    """Try everything forbidden; the names of what succeeded or failed in another way than by a refusal."""
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
        except (PermissionError, subprocess.SubprocessError):
            continue
        except OSError as error:
            if error.errno != errno.EXDEV:  # Landlock's refusal of links between folders
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


class _Foreign:
    pass


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Fraction, (1 << 999_999, (1 << 999_999) - 1))


def answers(what: str, mark: Path, progress: Progress) -> Any:
    """Answer with what is no answer."""
    match what:
        case "code":
            return _Evil(mark)
        case "class":
            return _Foreign()
        case "bomb":
            return _Bomb()
        case "function":
            return print
        case "error":
            raise InputError("x", field=pickle.PicklingError)  # type: ignore[arg-type]
        case "large":
            return bytes(32 << 20)
        case "silence":
            os.write(_pipe(), b"\0\0\1\0half a word")
            time.sleep(600)
        case "noise":
            os.write(_pipe(), b"\0\0\0\5noise")
            time.sleep(600)
    raise AssertionError(what)


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
