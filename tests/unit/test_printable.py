"""What strangers wrote shows, and does nothing else."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import duikou
from duikou.cli import terminal
from duikou.printable import cut, printable

HARMLESS = "对口.mp4 \u0639\u0631\u0628\u064a \U0001f600 caf\u00e9 \\ \" '"
ACTING = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
ACTING += [0xD800, 0xDBFF, 0xDC00, 0xDC80, 0xDFFF]
HOSTILE = "\x1b]0;owned\x07\u202e\x9b2J\ud800\ndone"


def test_ordinary_text_of_any_script_stays() -> None:
    assert printable(HARMLESS) == HARMLESS


@pytest.mark.parametrize("code", ACTING, ids=hex)
def test_what_acts_becomes_an_escape_that_json_reads_back(code: int) -> None:
    shown = printable(f"a{chr(code)}b")
    assert shown.isprintable()
    assert shown.isascii()
    assert json.loads(f'"{shown}"') == f"a{chr(code)}b"


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_can_be_written_on_one_line(text: str) -> None:
    shown = printable(text)
    assert len(f"{shown}.".splitlines()) == 1
    assert shown.encode().decode() == shown
    assert printable(shown) == shown


def test_what_is_kept_stays() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\u001b"


def test_a_long_text_says_that_it_was_cut() -> None:
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "abc [cut]")


def test_every_command_prints_through_the_terminal_module() -> None:
    """So nothing reaches a terminal that was not escaped."""
    found = set()
    for path in Path(duikou.__file__).parent.joinpath("cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.echo", "typer.secho", "print"):
                found.add(path.name)
    assert found == {"terminal.py"}


def test_nothing_that_is_printed_acts(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_json({HOSTILE: HOSTILE})
    told = capsys.readouterr().out
    assert json.loads(told) == {HOSTILE: HOSTILE}
    terminal.print_table([(HOSTILE, "对口")], (HOSTILE, ""))
    terminal.warn([HOSTILE])
    terminal.complain(HOSTILE)
    with terminal.show_progress(HOSTILE) as progress:
        progress("reading", 0.5)
    said = capsys.readouterr()
    assert said.out.count("对口") == 1
    for line in (*told.split("\n"), *said.out.split("\n"), *said.err.split("\n")):
        assert line.isprintable(), ascii(line)
    assert len(said.err.splitlines()) == 3


def test_a_path_is_itself_where_a_program_reads_it(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("a\x1b\udcff.mp4")
    terminal.print_path(path)
    assert capfdbinary.readouterr().out == b"a\x1b\xff.mp4\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.print_path(path)
    assert capfdbinary.readouterr().out == b"a\\u001b\\udcff.mp4\n"
