"""Tables of figures: on the terminal, and between the markers of a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column is aligned left, the others right. note: the meaning of the columns."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def show(made: Sequence[Table], console: Console) -> None:
    """Print the tables."""
    for table in made:
        console.print(table.title, style="bold", highlight=False)
        if table.note:
            console.print(table.note, style="dim", highlight=False)
        rich = RichTable(*table.columns[:1], box=None, pad_edge=False)
        for column in table.columns[1:]:
            rich.add_column(column, justify="right")
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich)
        console.print()


def markdown(table: Table) -> str:
    """The table as Markdown."""
    rule = ["---", *("---:" for _ in table.columns[1:])]
    lines = [" | ".join(row) for row in (table.columns, rule, *table.rows)]
    head = [f"**{table.title}**", "", *([table.note, ""] if table.note else [])]
    return "\n".join([*head, *(f"| {line} |" for line in lines)])


def markers(name: str, command: str) -> tuple[str, str]:
    """The comments on a page between which a command writes."""
    return f"<!-- {name}: begin, written by `{command}` -->", f"<!-- {name}: end -->"


def write_between(page: Path, marked: tuple[str, str], text: str) -> None:
    """Put a text between two markers of a page. Raises `ValueError` for a page without them."""
    before, begin, rest = page.read_text().partition(marked[0])
    _, end, after = rest.partition(marked[1])
    if not begin or not end:
        raise ValueError(f"{page} has no markers {marked[0]}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
