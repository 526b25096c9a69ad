"""Private services for tests: a database, a broker, an object storage, and a gateway that can cut the connection.

Each is a context manager, so a fixture is three lines:

    @pytest.fixture(scope="session")
    def postgres():
        need("postgres")
        with Postgres() as service:
            yield service

They listen on free loopback ports and keep their data in a temporary folder. They can be killed and restarted on the
same port and data. They end with the tests, even if the tests are killed.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

START_S = 180  # a broker on a busy machine
STOP_S = 120
POLL_S = 0.05
PORTS = range(15_000, 32_000)  # below those of outgoing connections, which would take the port of a killed service
LOG_TAIL = 4_000  # characters of a service's log that are shown where it does not start
REQUIRED = "TEST_SERVICES"  # `required`: a missing service fails a test instead of skipping it
HOST = "127.0.0.1"


def available(name: str) -> str:
    """Why the service (`postgres`, `rabbit`, `s3`) cannot run here; empty if it can."""
    return _SERVICES[name].missing()


def need(*names: str) -> None:
    """Skip the test if one of these services is missing; fail it if the environment requires them."""
    for name in names:
        if reason := available(name):
            if os.environ.get(REQUIRED) == "required":
                pytest.fail(f"{reason}, and {REQUIRED} says that it must be there")
            pytest.skip(reason)


class Service:
    """A server process with its own folder."""

    user: ClassVar[str] = ""  # as whom it runs where the tests run as root

    def __init__(self) -> None:
        self.port = _free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="duikou-service-"))
        _REAPER.tell("folder", self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if self.user and os.getuid() == 0:
            account = pwd.getpwnam(self.user)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)

    @classmethod
    def missing(cls) -> str:
        """Why the service cannot run here; empty if it can."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command that runs it in the foreground."""
        raise NotImplementedError

    def surroundings(self) -> dict[str, str]:
        """Its environment variables."""
        return dict(os.environ)

    def answers(self) -> bool:
        """Whether it is ready."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        _REAPER.tell("gone", self.folder)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready."""
        assert self._process is None, "it runs already"
        log = self.folder / "log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self.surroundings(),
                cwd=self.folder,
                start_new_session=True,
                **self._as,
            )
        _REAPER.tell("process", self.pid)
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-LOG_TAIL:]
                self.kill()
                raise AssertionError(f"{type(self).__name__} did not start:\n{tail}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop it gracefully, if it runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and all its children at once, as a crash of the machine would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        family = _descendants(self.pid)
        self._process.send_signal(how)
        try:
            if how != signal.SIGKILL:
                self._process.wait(STOP_S)
        finally:
            for pid in family:  # postgres gives each of its processes a group of its own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(STOP_S)
            _until_gone(family)
            _REAPER.tell("ended", self.pid)
            self._process = None


class Postgres(Service):
    """A database cluster of its own."""

    user = "postgres"

    def __init__(self) -> None:
        super().__init__()
        self.url = self._url("postgres")
        self._data = self.folder / "data"

    @classmethod
    def missing(cls) -> str:
        if importlib.util.find_spec("psycopg") is None:
            return "the package psycopg is not installed"
        return "" if _postgres_program("initdb") else "PostgreSQL is not installed"

    def command(self) -> list[str]:
        options = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",  # what is committed survives its death, not the machine's
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "200",
        }
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [_postgres_program("postgres"), "-D", str(self._data), "-p", str(self.port), *given]

    def start(self) -> None:
        if not self._data.exists():
            subprocess.run(
                [
                    *(_postgres_program("initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust"),
                    *("--no-sync", "-E", "UTF8", "--locale", "C"),
                ],
                cwd=self.folder,
                capture_output=True,
                check=True,
                **self._as,
            )
        super().start()

    def answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast` lets it tidy up, `immediate` leaves the tidying to the next start."""
        self._end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])

    def fresh(self) -> str:
        """The address of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def execute(self, statement: str) -> None:
        """Run one statement in the database `postgres`."""
        import psycopg

        address = self.url.replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{database}"


class Rabbit(Service):
    """A broker node of its own, with the management plugin, through which virtual hosts are made in no time."""

    def __init__(self) -> None:
        super().__init__()
        self._management, self._distribution = _free_port(), _free_port()
        self._node = f"duikou-{secrets.token_hex(6)}@localhost"
        self.url = self._url("/")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = {HOST}:{self.port}\n"
            f"management.tcp.ip = {HOST}\nmanagement.tcp.port = {self._management}\n"
            "vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 10MB\nlog.console = true\n"
        )
        (self.folder / "env").touch()
        (self.folder / "plugins").write_text("[rabbitmq_management].\n")

    @classmethod
    def missing(cls) -> str:
        return "" if _rabbit_program() else "RabbitMQ is not installed"

    def command(self) -> list[str]:
        return [_rabbit_program()]

    def surroundings(self) -> dict[str, str]:
        place = str(self.folder)
        return {
            **os.environ,
            "HOME": place,  # where the cookie lies
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": f"{place}/mnesia",
            "RABBITMQ_LOG_BASE": f"{place}/logs",
            "RABBITMQ_PID_FILE": f"{place}/pid",
            "RABBITMQ_CONF_ENV_FILE": f"{place}/env",  # the system's names the system's node
            "RABBITMQ_CONFIG_FILE": f"{place}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{place}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
            "RUNNING_UNDER_SYSTEMD": "1",  # the virtual machine in place of the script, so that it hears our signals
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": HOST,
        }

    def answers(self) -> bool:
        return _listens(self.port) and _listens(self._management) and self._managed("GET", "overview") is not None

    def fresh(self, password: str = "") -> str:
        """The address of a new, empty virtual host, for a user of its own where a password is given."""
        name = f"test_{secrets.token_hex(6)}"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        user = name if password else "guest"
        if password:
            assert self._managed("PUT", f"users/{user}", {"password": password, "tags": ""}) is not None
        for path, body in ((f"vhosts/{name}", {}), (f"permissions/{name}/{user}", everything)):
            assert self._managed("PUT", path, body) is not None, f"{path} was refused"
        return self._url(name).replace("guest:guest", f"{user}:{password}") if password else self._url(name)

    def queues(self, url: str) -> dict[str, int]:
        """The queues of a virtual host, with how many messages are ready or in hand in each, as last counted."""
        name = url.removeprefix(self._url("")).replace("/", "%2F")
        found = json.loads(self._managed("GET", f"queues/{name}") or b"[]")
        return {queue["name"]: queue.get("messages", 0) for queue in found}

    def _managed(self, method: str, path: str, body: Any = None) -> bytes | None:
        """What the management says; `None` where it does not."""
        request = urllib.request.Request(
            f"http://{HOST}:{self._management}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": "Basic " + b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json",
            },
        )
        return _fetched(request)

    def _url(self, virtual_host: str) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}/{virtual_host}"


class S3(Service):
    """An object storage that keeps everything in memory: what it held is gone with its process."""

    environment: ClassVar[dict[str, str]] = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = f"http://{HOST}:{self.port}"

    @classmethod
    def missing(cls) -> str:
        packages = [name for name in ("obstore", "moto", "flask") if importlib.util.find_spec(name) is None]
        return f"the package {packages[0]} is not installed" if packages else ""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]

    def answers(self) -> bool:
        return _listens(self.port) and _fetched(urllib.request.Request(f"{self.endpoint}/moto-api/")) is not None

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"test-{secrets.token_hex(6)}"
        assert _fetched(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")) is not None
        return name

    def fresh(self, prefix: str = "", endpoint: str = "") -> str:
        """The address of a new bucket, as `storage_url` takes it. endpoint: of a gateway before this service."""
        return f"s3://{self.bucket()}/{prefix}?endpoint={endpoint or self.endpoint}&region=us-east-1"


class Gateway:
    """A proxy in front of a service that can cut connections, respond in its place, or stay silent."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = target_host, target_port
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._lines: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._serve: Callable[[socket.socket], None] = self._relay
        self.requests = 0  # connections accepted so far, in any state
        self.port = _free_port()

    @property
    def endpoint(self) -> str:
        """The URL of the HTTP service behind it."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Forward everything."""
        self._become(self._relay)

    def answer503(self) -> None:
        """Respond to every HTTP request as a storage that asks its callers to slow down."""
        self.answer(503, "SlowDown")

    def answer(self, status: int, code: str) -> None:
        """Respond to every HTTP request with this status and error code."""

        def serve(line: socket.socket) -> None:
            with line.makefile("rb") as reader:
                while _read_request(reader):
                    body = f"<Error><Code>{code}</Code><Message>in the way</Message></Error>"
                    line.sendall(f"HTTP/1.1 {status} {code}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

        self._become(serve)

    def hang(self) -> None:
        """Accept every connection and never respond."""
        self._become(_listen_in_vain)

    def close(self) -> None:
        """Refuse new connections and cut the open ones."""
        with self._lock:
            listener, self._listener = self._listener, None
            threads = list(self._threads)
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.cut()
        for thread in threads:
            thread.join(STOP_S)
            assert not thread.is_alive(), "a line did not end"

    def cut(self) -> None:
        """Cut the open connections; new ones are accepted."""
        with self._lock:
            for line in self._lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def _become(self, serve: Callable[[socket.socket], None]) -> None:
        """Switch to another way to serve. Open connections are cut, so that the change applies to all of them."""
        self.close()
        self._serve = serve
        listener = socket.create_server((HOST, self.port), backlog=64)
        with self._lock:
            self._listener = listener
        self._spawn(self._accept, listener)

    def _spawn(self, what: Callable[..., None], *given: socket.socket) -> None:
        def run() -> None:
            try:
                with contextlib.suppress(OSError):
                    what(*given)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._threads.add(thread)
            thread.start()  # under the lock, so that every thread in the set can be joined

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                line, _ = listener.accept()
                with self._lock:
                    if self._listener is not listener:
                        line.close()
                        return
                    self.requests += 1
                    self._lines.add(line)
                self._spawn(self._attend, line)

    def _attend(self, line: socket.socket) -> None:
        try:
            self._serve(line)
        finally:
            with self._lock:
                self._lines.discard(line)
                # Closed with a reset: a service that dies does not say goodbye.
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.close()

    def _relay(self, line: socket.socket) -> None:
        with socket.create_connection(self._target) as far:
            back = threading.Thread(target=_pump, args=(far, line), daemon=True)
            back.start()
            _pump(line, far)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until one side ends; then both do."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for side in (source, sink):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


def _listen_in_vain(line: socket.socket) -> None:
    while line.recv(1 << 16):
        pass


def _read_request(reader: Any) -> bool:
    """Read one HTTP request with its body; whether there was one."""
    if not reader.readline():
        return False
    length = 0
    while (header := reader.readline().strip()) != b"":
        name, _, value = header.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    reader.read(length)
    return True


def _fetched(request: urllib.request.Request) -> bytes | None:
    """The body of an answer; `None` where there is none or a refusal."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _free_port() -> int:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def _descendants(pid: int) -> list[int]:
    """What a process started, and what that started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [one for child in children for one in (int(child), *_descendants(int(child)))]


def _until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + STOP_S
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process that was killed is still there"
        time.sleep(POLL_S)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _postgres_program(name: str) -> str:
    """Where a program of PostgreSQL is; distributions keep them off the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name), reverse=True)
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        places.insert(0, Path(told.stdout.strip()))
    found = next((place / name for place in places if (place / "postgres").exists()), None)
    return str(found) if found else shutil.which(name) or ""


def _rabbit_program() -> str:
    """The server's own script; the one on Debian's path insists on another user and other places."""
    own = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(own) if own.exists() else shutil.which("rabbitmq-server") or ""


class _Reaper:
    """A process that ends what we leave behind where we are killed ourselves and no `finally` runs."""

    CODE = """
import os, shutil, signal, sys
left = set()
for line in sys.stdin:
    what, name = line.rstrip("\\n").split(" ", 1)
    if what in ("process", "folder"):
        left.add((what, name))
    else:
        left.discard(("process" if what == "ended" else "folder", name))
for what, name in sorted(left, reverse=True):
    try:
        if what == "process":
            os.killpg(int(name), signal.SIGKILL)
        else:
            shutil.rmtree(name, ignore_errors=True)
    except OSError:
        pass
"""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def tell(self, what: str, which: object) -> None:
        """`process`, `folder`: there is one more. `ended`, `gone`: there is one less."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", self.CODE], stdin=subprocess.PIPE, text=True, start_new_session=True
                )
                atexit.register(self._close)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{what} {which}\n")
            self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()  # its word to end what is left
        self._process.wait()


_REAPER = _Reaper()
_SERVICES: dict[str, type[Service]] = {"postgres": Postgres, "rabbit": Rabbit, "s3": S3}
