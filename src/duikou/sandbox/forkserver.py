"""The process that children are forked from. It holds nothing secret, since every child inherits its memory and files.

It is started with an environment of its own (`clean_environment`), without the server's arguments, and with one file,
the connection to the server. `multiprocessing` has such a process, too, but that one has the server's environment, and
hands each child the server's authentication key and arguments.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Final, NoReturn

from duikou.memory import kept_imports
from duikou.sandbox.child import serve

PASSED: Final = frozenset(
    {
        *("LANG", "LANGUAGE", "TZ", "TZDIR"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"),
        "GLIBC_TUNABLES",
        *("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONSAFEPATH", "PYTHONHASHSEED"),
        *("PYTHONUTF8", "PYTHONMALLOC", "PYTHONFAULTHANDLER", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
        *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "GOMP_CPU_AFFINITY"),
    }
)
"""Variables that children may see: locale, where libraries are, and how they take memory and threads."""
PASSED_FAMILIES: Final = ("LC_", "MALLOC_", "OMP_", "KMP_", "OPENBLAS_", "MKL_", "CUDA_", "NVIDIA_", "COVERAGE_")
"""How further such variables begin: locale, threads, graphics cards, and the coverage of tests."""

END_S = 1.0  # until a process that does not end by itself, since it still imports, is killed
_FORKED = struct.Struct("=i")  # a process id, or an error number below 0; later the exit code
_CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from duikou.sandbox.forkserver import main; "
    "main(int(sys.argv[1]), sys.argv[2])"
)


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What children may see of an environment."""
    return {name: value for name, value in given.items() if name in PASSED or name.startswith(PASSED_FAMILIES)}


class Child:
    """A forked process. pid: its process id, which is also that of its process group once it has made one."""

    def __init__(self, pid: int, ended: Connection) -> None:
        self.pid = pid
        self._ended: Connection | None = ended
        self._code: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        self.wait(0.0)
        return self._ended is not None

    def wait(self, seconds: float) -> int | None:
        """Its exit code once it has ended, negative for a signal; `None` while it runs or if unknown."""
        if self._ended is not None and wait([self._ended], seconds):
            said = os.read(self._ended.fileno(), _FORKED.size)
            self._code = _FORKED.unpack(said)[0] if len(said) == _FORKED.size else None  # else its parent is gone
            self.close()
        return self._code

    def kill(self) -> None:
        """Kill it and its process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ask no more about it."""
        if self._ended is not None:
            self._ended.close()
        self._ended = None


class ForkServer:
    """A process that has imported `preload` and forks children; it is started by the first `fork`."""

    def __init__(self, preload: str) -> None:
        self._preload = preload
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, pipe: Connection, output: Connection) -> Child:
        """A child that serves `pipe` and writes to `output`; the caller closes its own copies of both.

        Raises `OSError` where the system has no room for another process, `EOFError` where this one has died.
        """
        ended, ends = _pipe()
        try:
            with ends, self._lock, suppress(ConnectionError):  # then nobody answers either
                socket.send_fds(self._running(), [b"f"], [pipe.fileno(), output.fileno(), ends.fileno()])
            said = os.read(ended.fileno(), _FORKED.size)
            if len(said) < _FORKED.size:
                raise EOFError("the process that forks others has died")
            (pid,) = _FORKED.unpack(said)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
        except BaseException:
            ended.close()
            raise
        return Child(pid, ended)

    def stop(self) -> None:
        """End it. Its children live on."""
        with self._lock:
            self._end()

    def _running(self) -> socket.socket:
        if self._process is None or self._control is None or self._process.poll() is not None:
            self._end()
            self._control, theirs = socket.socketpair()
            with theirs:
                words = [sys.executable, "-c", _CODE, str(theirs.fileno()), self._preload, json.dumps(sys.path)]
                self._process = subprocess.Popen(
                    words,
                    env=clean_environment(os.environ),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # a terminal's interrupt is for the server
                )
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control = self._process = None


_servers: dict[str, ForkServer] = {}
_servers_lock = threading.Lock()


def with_preloaded(preload: str) -> ForkServer:
    """This process's fork server for work whose modules `preload` imports. It ends with this process."""
    with _servers_lock:
        if not _servers:
            atexit.register(_stop_all)
        return _servers.setdefault(preload, ForkServer(preload))


def _stop_all() -> None:
    for server in _servers.values():
        server.stop()


def _pipe() -> tuple[Connection, Connection]:
    reading, writing = os.pipe()
    return Connection(reading, writable=False), Connection(writing, readable=False)


# What runs in the process itself


def main(control: int, preload: str) -> None:
    """Fork a child for each three descriptors that arrive: its pipe, its output, and where its id and end are told."""
    connection = socket.socket(fileno=control)
    with kept_imports():
        import_module(preload)
    ends: dict[int, int] = {}  # where the end of each child is told
    with _wakened_by_ends() as wakes:
        while True:
            ready, _, _ = select.select([control, wakes], [], [])
            if wakes in ready:
                os.read(wakes, 4096)
                _tell_ends(ends)
            if control in ready:
                word, given, *_ = socket.recv_fds(connection, 1, 3)
                if not word:
                    return
                _fork(given, ends, (control, wakes))


def _fork(given: Sequence[int], ends: dict[int, int], own: tuple[int, ...]) -> None:
    """Fork one child. own: what it must not have of this process's files."""
    pipe, output, told = given
    try:
        pid = os.fork()
    except OSError as error:
        pid = -(error.errno or 1)
    if pid == 0:
        _be_child(pipe, output, (told, *own, *ends.values()))
    os.close(pipe)
    os.close(output)
    _tell(told, pid)
    if pid < 0:
        os.close(told)
    else:
        ends[pid] = told


def _be_child(pipe: int, output: int, others: Sequence[int]) -> NoReturn:
    code = 1
    try:
        waking = signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in {waking, *others}:
            os.close(descriptor)
        serve(Connection(pipe), Connection(output, readable=False))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)


@contextmanager
def _wakened_by_ends() -> Iterator[int]:
    """A descriptor that can be read whenever a child has ended."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    yield reading


def _tell_ends(ends: dict[int, int]) -> None:
    while ends:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if (told := ends.pop(pid, None)) is not None:
            _tell(told, os.waitstatus_to_exitcode(status))
            os.close(told)


def _tell(told: int, number: int) -> None:
    with suppress(OSError):  # nobody asks any more
        os.write(told, _FORKED.pack(number))
