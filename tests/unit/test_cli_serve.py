"""`duikou serve` and `duikou studio`: what they print, and how they start the server. No server runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from duikou.cli import main
from duikou.net.reach import reachable_urls
from duikou.settings import Settings


@dataclass
class Server:
    """Takes the place of the server: what it was started with, and the pages that were opened."""

    url: str = "http://127.0.0.1:8765"
    opens: bool = True
    settings: list[Settings] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def serve(self, settings: Settings, ready: Callable[[str], None]) -> None:
        self.settings.append(settings)
        ready(self.url)

    def open(self, page: str) -> bool:
        self.pages.append(page)
        return self.opens


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr("duikou.server.serve", server.serve)
    monkeypatch.setattr("webbrowser.open", server.open)
    return server


def wait_for_browser() -> None:
    """Wait until the browser was opened, or could not be."""
    for thread in threading.enumerate():
        if thread.name == "duikou-browser":
            thread.join()


def test_serve_says_where_the_page_is(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["serve", "--port", "8765"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("duikou is ready at http://127.0.0.1:8765\nStudio: http://127.0.0.1:8765/\n", "")
    assert main.run(["serve", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "ready", "url": server.url}
    assert server.pages == []


@pytest.mark.parametrize(
    ("url", "own", "others"),
    [
        ("http://0.0.0.0:8765", "http://127.0.0.1:8765", "http://box:8765 or http://10.1.2.3:8765"),
        ("http://[::]:8765", "http://[::1]:8765", "http://box:8765 or http://[fd00::7]:8765"),
        ("http://192.168.7.9:8765", "http://192.168.7.9:8765", "http://192.168.7.9:8765"),
    ],
)
def test_serve_says_what_others_will_see(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, own: str, others: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    monkeypatch.setattr("duikou.net.reach._outward", lambda family: "10.1.2.3" if family == AF_INET else "fd00::7")
    server.url = url
    assert main.run(["serve"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"duikou is ready at {own}",
        f"Studio: {own}/",
        f"Other machines reach it at {others}",
        "Addresses in answers begin with what each caller calls this server; behind a proxy, set DUIKOU_PUBLIC_URL",
    ]
    monkeypatch.setenv("DUIKOU_PUBLIC_URL", "https://lips.example/base/")
    assert main.run(["serve"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["Addresses in answers begin with https://lips.example/base"]
    assert main.run(["serve", "--json"]) == 0
    told = {"event": "ready", "url": own, "public_url": "https://lips.example/base/"}
    assert json.loads(capsys.readouterr().out) == told


def test_a_machine_without_a_network_has_no_address_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duikou.net.reach.FAR", {AF_INET: "127.0.0.1", AF_INET6: "no address"})
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert reachable_urls("http://0.0.0.0:1") == reachable_urls("http://[::]:1") == []


def test_studio_opens_its_page_from_a_free_port_of_this_machine(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DUIKOU_HOST", "0.0.0.0")
    monkeypatch.setenv("DUIKOU_ANY_SIZE", "1")
    assert main.run(["studio", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Studio: http://127.0.0.1:8765/\n"
    wait_for_browser()
    assert server.pages == ["http://127.0.0.1:8765/"]
    (given,) = server.settings
    assert (given.host, given.port, given.data, given.any_size) == ("127.0.0.1", 0, tmp_path, True)


def test_studio_takes_a_port_and_leaves_the_browser_alone(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.run(["studio", "--no-browser", "--port", "9001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"event": "ready", "url": server.url}
    monkeypatch.setenv("DUIKOU_PORT", "9000")
    assert main.run(["studio", "--no-browser"]) == 0
    assert [given.port for given in server.settings] == [9001, 9000]
    assert server.pages == []


def test_studio_says_so_where_there_is_no_browser(capsys: pytest.CaptureFixture[str], server: Server) -> None:
    server.opens = False
    assert main.run(["studio"]) == 0
    wait_for_browser()
    assert capsys.readouterr().err == "no browser could be opened; open http://127.0.0.1:8765/ in one\n"
