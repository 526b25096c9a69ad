"""Fetching from hosts that mean harm: names that rebind, hosts that drip, lie and never end. Real DNS, real sockets.

Everything is on loopback: 127.0.0.1 stands for the public internet (it is allowed), the rest of 127/8 for the inside.
"""

from __future__ import annotations

import ast
import asyncio
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from dns_peer import SILENT, dns_peer
from live_server import WAIT_S, until
from repeats import repeats

from duikou.errors import FetchError
from duikou.net import fetch as fetching
from duikou.net import own_loop
from duikou.net.addresses import AddressPolicy
from duikou.net.fetch import fetch, post
from duikou.net.meter import MeteredSocket

OUTSIDE = AddressPolicy((ip_network("127.0.0.1/32"),))
UNREACHABLE = (
    "video_url: the host cannot be reached from here; if its address is private, the operator must allow it in "
    "DUIKOU_PRIVATE_SOURCES."
)
MIB = 1 << 20
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """Raw servers on one port of several loopback addresses; `asked` tells which of them were connected to."""

    def __init__(self, talk: Talk, *addresses: str) -> None:
        self._talk, self._addresses = talk, addresses or ("127.0.0.1",)
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.port = 0

    async def __aenter__(self) -> Peer:
        self._servers = []
        for address in self._addresses:
            server = await asyncio.start_server(self._serve(address), address, self.port)
            self.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def _serve(self, address: str) -> Talk:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(address)
            try:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self._talk(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        return serve


def says(*parts: bytes, pause_s: float = 0.0, times: int = 1) -> Talk:
    """Sends the parts, the last one `times` times with a pause after each."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts[:-1]:
            writer.write(part)
        for _time in range(times):
            writer.write(parts[-1])
            await writer.drain()
            await asyncio.sleep(pause_s)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\n"
WHOLE = HEAD + b"Content-Length: 4\r\n\r\nfile"


def fetched(
    folder: Path,
    peer: Peer,
    url: str = "http://127.0.0.1:{port}/",
    policy: AddressPolicy = OUTSIDE,
    timeout_s: float = WAIT_S,
) -> bytes:
    async def run() -> bytes:
        async with peer:
            made = url.format(port=peer.port)
            to = folder / "file"
            await fetch(made, to, max_bytes=MIB, timeout_s=timeout_s, policy=policy, field="video_url")
            return to.read_bytes()

    return asyncio.run(run())


def refused(folder: Path, peer: Peer, *args: object, **more: object) -> str:
    with pytest.raises(FetchError) as error:
        fetched(folder, peer, *args, **more)  # type: ignore[arg-type]
    assert error.value.field == "video_url"
    assert list(folder.iterdir()) == []
    return str(error.value)


# Names


def test_a_name_that_rebinds_reaches_nothing_inside(tmp_path: Path) -> None:
    peer = Peer(says(WHOLE), "127.0.0.1", "127.0.0.2")
    with dns_peer(rebind__test=[["127.0.0.1"], ["127.0.0.2"]]) as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        assert fetched(tmp_path, peer, "http://rebind.test:{port}/", policy) == b"file"
        (tmp_path / "file").unlink()
        assert refused(tmp_path, peer, "http://rebind.test:{port}/", policy) == UNREACHABLE
    assert peer.asked == ["127.0.0.1"]


def test_a_name_that_rebinds_between_two_redirects_reaches_nothing_inside(tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://rebind.test:%d/\r\n\r\n" % peer.port)

    peer = Peer(talk, "127.0.0.1", "127.0.0.2")
    with dns_peer(rebind__test=[["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"]]) as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        assert refused(tmp_path, peer, "http://rebind.test:{port}/", policy) == UNREACHABLE
    assert peer.asked == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.2"], ["::1"], ["::ffff:127.0.0.2"], ["::7f00:2"], ["0.0.0.0"], ["127.0.0.2", "10.0.0.1", "::1"]],
)
def test_names_of_inner_addresses_are_refused(tmp_path: Path, addresses: list[str]) -> None:
    peer = Peer(says(WHOLE), "127.0.0.1", "127.0.0.2")
    with dns_peer(inner__test=[addresses]) as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        assert refused(tmp_path, peer, "http://inner.test:{port}/", policy) == UNREACHABLE
    assert peer.asked == []


def test_of_several_addresses_only_the_outer_one_is_dialled(tmp_path: Path) -> None:
    peer = Peer(says(WHOLE), "127.0.0.1", "127.0.0.2", "127.0.0.3")
    with dns_peer(many__test=[["127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.2"]]) as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        assert fetched(tmp_path, peer, "http://many.test:{port}/", policy) == b"file"
    assert peer.asked == ["127.0.0.1"]


def test_the_inner_name_server_is_not_asked_where_others_are_set(tmp_path: Path) -> None:
    with dns_peer(known__test=[["127.0.0.1"]]) as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        assert refused(tmp_path, Peer(says(WHOLE)), "http://unknown.test:{port}/", policy) == UNREACHABLE
        assert "unknown.test" in dns.asked


def test_names_that_never_answer_end_like_unknown_ones_and_hold_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "DNS_TIMEOUT_S", 2.0)
    before = threading.active_count()

    async def many(url: str, policy: AddressPolicy) -> list[object]:
        waiting = [
            asyncio.ensure_future(
                fetch(url, tmp_path / str(number), max_bytes=MIB, timeout_s=60, policy=policy, field="video_url")
            )
            for number in range(50)
        ]
        await asyncio.sleep(0)  # all of them ask
        await asyncio.to_thread(lambda: None)
        assert not any(one.done() for one in waiting), "the pool that other work uses is free all the while"
        return await asyncio.gather(*waiting, return_exceptions=True)

    with dns_peer(silent__test=[SILENT]) as dns:
        errors = asyncio.run(many("http://silent.test/", replace(OUTSIDE, nameservers=(dns.address,))))
    assert {str(error) for error in errors} == {UNREACHABLE}
    assert threading.active_count() <= before + 2  # c-ares closes its channels on a thread that it keeps


def test_the_own_port_is_refused_like_any_inner_address(tmp_path: Path) -> None:
    peer = Peer(says(WHOLE))

    async def run() -> str:
        async with peer:
            policy = replace(OUTSIDE, own_port=peer.port)
            with pytest.raises(FetchError) as error:
                await fetch(
                    f"http://127.0.0.1:{peer.port}/",
                    tmp_path / "x",
                    max_bytes=9,
                    timeout_s=WAIT_S,
                    policy=policy,
                    field="video_url",
                )
            return str(error.value)

    assert asyncio.run(run()) == UNREACHABLE
    assert peer.asked == []


OWN_LINK = """
import asyncio, socket, subprocess, sys
from ipaddress import ip_network
from pathlib import Path
from duikou.errors import FetchError
from duikou.net.addresses import AddressPolicy
from duikou.net.fetch import fetch

async def run():
    asked = []

    async def answer(reader, writer):
        asked.append((await reader.readuntil(b"\\r\\n")).split()[1])
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nfile")
        writer.close()

    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server, port = await asyncio.start_server(answer, sock=listener), listener.getsockname()[1]
    there = AddressPolicy((ip_network("fe80::/10"), ip_network("169.254.0.0/16")))
    own = AddressPolicy(there.private, own_port=port)
    for given in ("link set lo up", "address add fe80::99/64 dev lo nodad", "address add 169.254.7.7/16 dev lo"):
        subprocess.run(["ip", *given.split()], check=True)  # while the server runs
    for host in ("[fe80::99%lo]", "[FE80:0::99%1]", "[fe80::99%25lo]", "[fe80::99]", "169.254.7.7"):
        for name, policy in ("there", there), ("own", own):
            for _ in range(10 if name == "there" else 1):  # a new address may take a moment on a busy system
                try:
                    url = f"http://{host}:{port}/{name}"
                    await fetch(url, Path(sys.argv[1], "file"), max_bytes=9, timeout_s=60, policy=policy)
                    break
                except FetchError:
                    await asyncio.sleep(0.2)
    print(sorted(asked))

asyncio.run(run())
"""


def test_the_own_port_is_refused_on_link_local_addresses_that_the_machine_has_just_got(tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--net"]  # a network of its own
    if (
        not shutil.which("ip")
        or not shutil.which("unshare")
        or subprocess.run([*unshare, "true"], check=False).returncode
    ):
        pytest.skip("no network of its own can be made here")
    told = subprocess.run(
        [*unshare, sys.executable, "-c", OWN_LINK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert set(ast.literal_eval(told.stdout)) == {b"/there"}
    assert told.stdout.count("there") >= 3, "the addresses are reached where their port is another one's"


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://2130706434:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
    ],
)
def test_redirects_inwards(tmp_path: Path, status: int, location: str) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        where = location.format(port=peer.port).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % (status, where))

    peer = Peer(talk, "127.0.0.1", "127.0.0.2")
    assert refused(tmp_path, peer) == UNREACHABLE
    assert peer.asked == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        (b"", "the URL redirects to nowhere"),
        (b"http://[::1", "redirects to what is not a URL"),
        (b"http://127.0.0.1:99999/", "is not a URL"),
        (b"file:///etc/passwd", "only http and https"),
        (b"data:video/mp4;base64,AAAA", "only http and https"),
        (b"http://\xff\xfe/", "not a URL|cannot be reached"),
        (b"http://a:b@127.0.0.1/", "must not hold a user"),
        (b"http://127.0.0.1/" + b"a" * 5000, "longer than 4096"),
    ],
)
def test_redirects_to_nonsense(tmp_path: Path, location: bytes, sentence: str) -> None:
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    text = refused(tmp_path, Peer(says(head)))
    assert any(part in text for part in sentence.split("|")), text


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    peer = Peer(says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /again\r\n\r\n"))
    assert "more than 5 times" in refused(tmp_path, peer)
    assert len(peer.asked) == 6


def test_no_secret_goes_along_to_another_host(tmp_path: Path) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = len(peer.heads) == 1
        moved = b"HTTP/1.1 302 Found\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\nLocation: /next\r\n\r\n"
        writer.write(moved if first else WHOLE)

    peer = Peer(talk)
    fetched(tmp_path, peer, "http://127.0.0.1:{port}/?token=SECRET")
    assert len(peer.heads) == 2
    for name in (b"referer", b"cookie", b"authorization", b"secret"):
        assert name not in peer.heads[1].lower()


# Hosts that drip, lie and never end

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("talk", "sentence"),
    [
        (says(b"", pause_s=9), "sent nothing for 1.5 s"),
        (says(HEAD, b"X", pause_s=0.2, times=100), "was not here within 2 s"),  # a header that never ends
        (says(HEAD, b"X: y\r\n", times=200_000), "broke off"),  # headers without end
        (says(HEAD + b"X: " + b"y" * MIB + b"\r\n\r\n"), "broke off"),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.01, times=1000), "was not here within 2 s"),
        (says(HEAD + b"\r\n", b"x" * 65536, times=10_000), "larger than 1 MB"),  # no length, no end
        (says(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", times=10_000), "larger than 1 MB"),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, times=10_000), "too much around its answer"),
        (says(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 1000, times=10_000), "too much around its answer"),
        (says(CHUNKED, b"1\r\nx\r\n" * 1000, times=10_000), "too much around its answer"),
        (says(CHUNKED, b"1;" + b"e" * 65536 + b"\r\nx\r\n", times=1000), "too much around its answer"),
        (says(CHUNKED, b"fffffffffffffffff\r\n"), "broke off"),  # a chunk of 2**68 bytes
        (says(CHUNKED, b"-5\r\nhello\r\n"), "broke off"),
        (says(CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n", times=200_000), "broke off|was not here"),  # trailers
        (says(HEAD + b"Content-Length: 99999999999999999999\r\n\r\nx"), "larger than 1 MB|broke off"),
        (says(HEAD + b"Content-Length: -1\r\n\r\nx"), "broke off"),
        (says(HEAD + b"Content-Length: 4\r\nContent-Length: 9\r\n\r\nfile"), "broke off"),
        (says(HEAD + b"Content-Length: 10\r\n\r\nfile"), "broke off"),  # shorter than it says
        (says(HEAD + b"Content-Length: 0\r\n\r\n"), "is empty"),
        (says(HEAD + b"Content-Length: 4\r\n\r\nfile and more"), "broke off"),  # longer than it says
        (says(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nfile"), "sends the file compressed"),
        (says(HEAD + b"Content-Encoding: br, gzip\r\nContent-Length: 4\r\n\r\nfile"), "sends the file compressed"),
        (says(b"\x00\xff" * 100), "broke off"),
        (says(b"file, and no HTTP at all"), "broke off"),
        (says(b"HTTP/9.9 200 OK\r\n\r\nfile"), "broke off"),
        (says(b"HTTP/1.1 999999 OK\r\n\r\nfile"), "broke off|status"),
        (says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), "status 101"),
        (says(HEAD + b"\r\n", b"x", pause_s=0.05, times=100), "less than 4096 bytes per second"),
    ],
)
def test_hosts_that_mean_harm(tmp_path: Path, talk: Talk, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "second" in sentence or "1.5 s" in sentence:
        monkeypatch.setattr(fetching, "IDLE_TIMEOUT_S", 1.5)
        monkeypatch.setattr(fetching, "SLOW_WINDOW_S", 1.5)
    text = refused(tmp_path, Peer(talk), timeout_s=2 if "within 2 s" in sentence else 60)
    assert any(part in text for part in sentence.split("|")), text
    assert "127.0.0.1" not in text


FLOODS = [
    says(b"HTTP/1.1 100 Continue\r\n\r\n", times=1_000_000),
    says(CHUNKED, b"1\r\nx\r\n", times=1_000_000),
    says(CHUNKED, b"5\r\nwords\r\n" * 1000, times=10_000),  # as many bytes around the content as a host may send
    says(HEAD + b"\r\n", b"x", times=1_000_000),
]


def test_hosts_that_flood_take_half_the_time_of_one_thread_and_nothing_of_the_loop_that_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading: dict[str, int] = {}
    recv = MeteredSocket.recv

    def counted(self: MeteredSocket, *given: int) -> bytes:
        name = threading.current_thread().name
        reading[name] = reading.get(name, 0) + 1
        return recv(self, *given)

    monkeypatch.setattr(MeteredSocket, "recv", counted)

    async def flood(begun: list[int]) -> None:  # the hosts' own loop, in a thread of its own
        async with Peer(FLOODS[0]) as one, Peer(FLOODS[1]) as two, Peer(FLOODS[2]) as three, Peer(FLOODS[3]) as four:
            begun.extend(peer.port for peer in (one, two, three, four))
            await asyncio.to_thread(over.wait)

    async def ask(ports: list[int]) -> list[object]:
        await fetch_once(ports[2])
        net = next(one for one in threading.enumerate() if one.name == "duikou-net")
        assert net.ident is not None
        clock = time.pthread_getcpuclockid(net.ident)
        used_s, began = time.clock_gettime(clock), time.monotonic()
        asking = [asyncio.ensure_future(fetch_once(port)) for port in ports]
        _, waiting = await asyncio.wait(asking, timeout=3)
        shares.append((time.clock_gettime(clock) - used_s) / (time.monotonic() - began))
        for one in waiting:
            one.cancel()
        return await asyncio.gather(*asking, return_exceptions=True)

    async def fetch_once(port: int) -> object:
        to = tmp_path / str(port)
        try:
            return await fetch(f"http://127.0.0.1:{port}/", to, max_bytes=MIB, timeout_s=60, policy=OUTSIDE)
        except FetchError as error:
            return error

    over, ports, shares = threading.Event(), list[int](), list[float]()
    hosts = threading.Thread(target=lambda: asyncio.run(flood(ports)), daemon=True)
    hosts.start()
    try:
        until(lambda: len(ports) == 4)
        asyncio.run(ask(ports))
    finally:
        over.set()
        hosts.join()
    assert set(reading) == {"duikou-net"}
    assert shares[0] < 0.6
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_come_one_by_one_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[float] = []
    recv = MeteredSocket.recv

    def counted(self: MeteredSocket, *given: int) -> bytes:
        reads.append(time.monotonic())
        return recv(self, *given)

    monkeypatch.setattr(MeteredSocket, "recv", counted)
    peer = Peer(says(HEAD + b"Content-Length: 20000\r\n\r\n", b"x", times=20_000))
    assert fetched(tmp_path, peer, timeout_s=300) == b"x" * 20_000
    assert len(reads) < 20 + 2 * (reads[-1] - reads[0]) / own_loop.LEAST_REST_S


def test_a_fetch_that_nobody_waits_for_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 9\r\n\r\nx")
        await reader.read()
        left.set()

    async def run() -> None:
        async with Peer(talk) as peer:
            url = f"http://127.0.0.1:{peer.port}/"
            asking = asyncio.ensure_future(
                fetch(url, tmp_path / "file", max_bytes=MIB, timeout_s=600, policy=OUTSIDE, field="video_url")
            )
            while not list(tmp_path.iterdir()):
                await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert list(tmp_path.iterdir()) == []
            await asyncio.wait_for(left.wait(), WAIT_S)
            unbegun = asyncio.ensure_future(fetch(url, tmp_path / "file", max_bytes=MIB, timeout_s=600, policy=OUTSIDE))
            await asyncio.sleep(0)
            unbegun.cancel()
            with pytest.raises(asyncio.CancelledError):
                await unbegun
            assert list(tmp_path.iterdir()) == []

    asyncio.run(run())


# Callbacks go the same way


def test_a_receiver_that_answers_without_end_is_given_up() -> None:
    peer = Peer(says(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, times=10_000))

    async def run() -> None:
        async with peer:
            with pytest.raises(FetchError, match="callback_url: the host sends too much around its answer"):
                await post(f"http://127.0.0.1:{peer.port}/", b"{}", {}, timeout_s=60, policy=OUTSIDE)

    asyncio.run(run())


def test_callbacks_are_not_delivered_inwards() -> None:
    peer = Peer(says(WHOLE), "127.0.0.2")

    async def run(url: str, policy: AddressPolicy) -> str:
        async with peer:
            with pytest.raises(FetchError) as error:
                await post(url.format(port=peer.port), b"{}", {}, timeout_s=WAIT_S, policy=policy)
            return str(error.value)

    with dns_peer(inner__test=[["127.0.0.2"]]) as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        texts = {
            asyncio.run(run(url, policy))
            for url in ("http://127.0.0.2:{port}/", "http://inner.test:{port}/", "http://0/")
        }
    assert texts == {UNREACHABLE.replace("video_url", "callback_url")}
    assert peer.asked == []


def test_a_callback_follows_no_redirect_and_reads_no_answer() -> None:
    peer = Peer(says(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.2/\r\n\r\n", b"x" * 65536, times=10_000))

    async def run() -> int:
        async with peer:
            return await post(f"http://127.0.0.1:{peer.port}/", b"{}", {}, timeout_s=WAIT_S, policy=OUTSIDE)

    assert asyncio.run(run()) == 307


def drips() -> Talk:
    """A header without an end."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    return talk


@pytest.mark.parametrize("host", ["127.0.0.1", "silent.test"])
def test_a_callback_has_one_deadline_from_its_name_to_the_answer(host: str) -> None:
    """Whatever it is that does not end: the name, or an answer that comes byte by byte."""

    async def run(policy: AddressPolicy) -> str:
        async with Peer(drips()) as peer:
            with pytest.raises(FetchError) as error:
                await post(f"http://{host}:{peer.port}/", b"{}", {}, timeout_s=0.5, policy=policy)
            return str(error.value)

    with dns_peer(silent__test=[SILENT]) as dns:
        said = asyncio.run(run(replace(OUTSIDE, nameservers=(dns.address,))))
    assert said == "callback_url: there was no answer within 0.5 s."


@pytest.mark.slow_repeats
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files are counted through /proc")
def test_many_failures_leave_nothing_behind(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    peers = [says(WHOLE), says(b"junk"), says(HEAD + b"Content-Length: 9\r\n\r\nx"), says(b"HTTP/1.1 404 X\r\n\r\n")]

    async def run() -> None:
        with dns_peer(inner__test=[["127.0.0.2"]]) as dns:
            policy = replace(OUTSIDE, nameservers=(dns.address,))
            for number in range(repeats(200, 60)):
                async with Peer(peers[number % len(peers)]) as peer:
                    host = ("127.0.0.1", "inner.test", "127.0.0.3")[number % 3]
                    try:
                        await fetch(
                            f"http://{host}:{peer.port}/", tmp_path / "x", max_bytes=9, timeout_s=WAIT_S, policy=policy
                        )
                        (tmp_path / "x").unlink()
                    except FetchError:
                        pass

    asyncio.run(own_loop.run(asyncio.sleep(0)))  # the loop of all fetches stays
    before, threads = count(), threading.active_count()
    asyncio.run(run())
    until(lambda: count() <= before)  # name servers' sockets are closed a moment later
    assert threading.active_count() <= threads + 1  # c-ares keeps one to close its channels
    assert list(tmp_path.iterdir()) == []


ODD_HOSTS = (
    *("xn--", "xn--localhost-", "xn--xn--", "xn--a", "XN--.com", "[::1]x@", "[fe80::1%25lo]", "[fe80::1%lo]", "[v1.a]"),
    *(
        "a..b",
        ".",
        "*",
        "a b",
        "a\tb",
        "a\x00b",
        "%00",
        "%zz",
        "%ff",
        "１２７.0.0.2",
        "ß",
        "\ud800",
        "\u202e",
        "ﷺ",
        "\xad",
    ),
    *("a" * 64, "a." * 127, "é" * 63, "127.0.0.2:８０", "localhost\\@a", "对口。", "[", "]", "", "a:b:c"),
)


def test_hosts_that_are_none_are_refused_in_a_sentence_where_they_are_asked_for(tmp_path: Path) -> None:
    async def ask(url: str, policy: AddressPolicy) -> Exception:
        try:
            await fetch(url, tmp_path / "file", max_bytes=MIB, timeout_s=60, policy=policy, field="video_url")
        except Exception as error:
            return error
        raise AssertionError(url)

    async def redirected(policy: AddressPolicy) -> list[Exception]:
        found = []
        for host in ODD_HOSTS:
            head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://%s/\r\n\r\n"
            async with Peer(says(head % host.encode("utf-8", "replace"))) as peer:
                found.append(await ask(f"http://127.0.0.1:{peer.port}/", policy))
        return found

    with dns_peer() as dns:
        policy = replace(OUTSIDE, nameservers=(dns.address,))
        errors = [asyncio.run(ask(f"http://{host}/", policy)) for host in ODD_HOSTS]
        errors += asyncio.run(redirected(policy))
    assert not [error for error in errors if not isinstance(error, FetchError)]
    assert list(tmp_path.iterdir()) == []
