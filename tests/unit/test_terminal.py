"""Progress on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from duikou.cli.terminal import PLAIN_STEPS, show_progress


def test_plain_lines_are_few() -> None:
    text = io.StringIO()
    with show_progress("clip.mp4", Console(file=text)) as progress:
        for n in range(1001):
            progress("rendering", n / 1000)
    lines = text.getvalue().splitlines()
    assert lines[0] == "clip.mp4: rendering 0%"
    assert lines[-1] == "clip.mp4: rendering 100%"
    assert len(lines) == PLAIN_STEPS + 1


def test_each_stage_gets_a_line() -> None:
    text = io.StringIO()
    with show_progress("clip", Console(file=text)) as progress:
        progress("[decode]", 0.1)
        progress("render", 0.1)
    assert text.getvalue().splitlines() == ["clip: [decode] 10%", "clip: render 10%"]


def test_a_bar_on_a_terminal_is_cleared_at_the_end() -> None:
    text = io.StringIO()
    with show_progress("clip[1]", Console(file=text, force_terminal=True, width=80)) as progress:
        progress("render", 0.4)
    assert "clip[1]" in text.getvalue()
    assert "\x1b[2K" in text.getvalue()


def test_the_bar_ends_with_an_error() -> None:
    with (
        pytest.raises(ValueError, match="boom"),
        show_progress("clip", Console(file=io.StringIO(), force_terminal=True)),
    ):
        raise ValueError("boom")


def test_a_quiet_command_reports_nothing() -> None:
    text = io.StringIO()
    with show_progress("clip", Console(file=text, force_terminal=True), quiet=True) as progress:
        progress("render", 0.4)
    assert text.getvalue() == ""


def test_the_time_left_is_told_once_it_is_more_than_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    text, now = io.StringIO(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with show_progress("clip", Console(file=text)) as progress:
        for seconds, share in ((0, 0.0), (4, 0.25), (40, 0.5), (60, 0.75), (80, 1.0)):
            now[0] = float(seconds)
            progress("render", share)
    assert text.getvalue().splitlines() == [
        "clip: render 0%",
        "clip: render 25%",
        "clip: render 50%, about 0:40 left",
        "clip: render 75%, about 0:20 left",
        "clip: render 100%",
    ]
