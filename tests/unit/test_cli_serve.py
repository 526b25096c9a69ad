"""`duikou serve` and `duikou studio`: what they print, and how they start the server. No server runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from duikou.cli import main
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
