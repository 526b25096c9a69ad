"""Who speaks what: the options `--say`, or a plan file in JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from duikou.cli.times import parse_interval, parse_time, parse_trim
from duikou.errors import InputError
from duikou.media.scope import OriginalScope
from duikou.pipeline.choice import FaceChoice

FIELDS: Final = ("face", "audio", "at", "trim", "volume", "original_volume", "original_scope", "exclude", "references")
"""The fields of an entry: the options of `duikou sync` for one face. Only `audio` is required."""
SEPARATOR: Final = ";"  # between the references, or the times to exclude, of one entry in CSV
_CHOICE: Final = re.compile(r"choices\[(\d+)\]\.(\w+)")
_NAMES: Final = {"face_id": "face", "insert_ms": "at", "trim_start_ms": "trim", "trim_end_ms": "trim"} | {
    "audio_volume": "volume"
}


def read_plan(path: Path) -> list[FaceChoice]:
    """The choices in a plan file; a face that is left out is the empty id. Paths count from the file's folder.

    Raises `InputError` that names `--plan` and the entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = _csv(text) if path.suffix.lower() == ".csv" else json.loads(text)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}", field="--plan") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} must hold a list with one entry for each face", field="--plan")
    return read_choices(entries, "--plan", path.parent)


@dataclass(frozen=True)
class Row:
    """An entry of a file with a line for each. line: its number. fault: why it has no fields."""

    line: int
    fields: Mapping[str, Any]
    fault: str = ""


def csv_rows(text: str, fields: Sequence[str] = FIELDS) -> Iterator[Row]:
    """The rows of a CSV text, each with the number of its last line, without empty cells. The first names the fields.

    fields: those that there are. Raises `ValueError` and `csv.Error`.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = list(rows.fieldnames or ())
    if unknown := next((name for name in names if name not in fields), None):
        raise ValueError(f"the first line names {unknown!r}; the fields are {','.join(fields)}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the first line names {twice!r} twice")
    for row in rows:
        cells = {name: value for name, value in row.items() if value}
        if None in cells:  # where DictReader puts what has no name
            yield Row(rows.line_num, {}, f"it has more than the {len(names)} cells that the first line names")
            continue
        for name in {"references", "exclude"} & cells.keys():
            cells[name] = cells[name].split(SEPARATOR)
        yield Row(rows.line_num, cells)


def _csv(text: str) -> list[Mapping[str, Any]]:
    rows = list(csv_rows(text))
    for row in rows:
        if row.fault:
            raise ValueError(f"line {row.line}: {row.fault}")
    return [row.fields for row in rows]


def read_choices(entries: Sequence[Mapping[str, Any]], field: str, folder: Path) -> list[FaceChoice]:
    """The choices of entries, whose paths count from `folder`; a face that is left out is the empty id.

    Raises `InputError` that names `field` and the number of the entry.
    """
    choices = [read_choice(entry, f"{field} {number}", folder) for number, entry in enumerate(entries, 1)]
    for number, choice in enumerate(choices, 1):
        if not choice.face_id and any(one.face_id for one in choices):
            raise InputError("the field 'face' is needed where several faces speak", field=f"{field} {number}")
    return choices


def require_known(entry: Mapping[str, Any], fields: Sequence[str], field: str) -> None:
    """Raise `InputError` that names `field` for an entry with other fields than these."""
    unknown = [name for name in entry if name not in fields]
    if unknown:
        raise InputError(f"there is no field {unknown[0]!r}; the fields are {', '.join(fields)}", field=field)


def place_of(error: InputError) -> tuple[int, str] | None:
    """The number of the entry, from 0, and the field that an error of the library is about; `None` for other errors."""
    found = _CHOICE.match(error.field)
    return (int(found[1]), _NAMES.get(found[2], found[2])) if found else None


def read_choice(entry: Mapping[str, Any], field: str, folder: Path) -> FaceChoice:
    """The choice of an entry. Raises `InputError` that names `field`."""
    require_known(entry, FIELDS, field)
    audio, references = entry.get("audio"), entry.get("references", [])
    if not isinstance(audio, str) or not audio:
        raise InputError("the field 'audio' must name a file", field=field)
    if not isinstance(references, list) or not all(isinstance(one, str) for one in references):
        raise InputError("the field 'references' must be a list of files", field=field)
    start_ms, end_ms = _parsed(parse_trim, entry, "trim", None, field)
    return FaceChoice(
        audio=folder / audio,
        face_id=str(entry.get("face", "")),
        trim_start_ms=start_ms,
        trim_end_ms=end_ms,
        insert_ms=_parsed(parse_time, entry, "at", 0, field),
        audio_volume=_parsed(_volume, entry, "volume", 1.0, field),
        original_volume=_parsed(_volume, entry, "original_volume", 0.0, field),
        original_scope=_parsed(_scope, entry, "original_scope", OriginalScope.SPEECH, field),
        references=tuple(folder / one for one in references),
        exclude=_parsed(_exclusions, entry, "exclude", [], field),
    )


def _volume(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a number from 0 to 2") from None


def _scope(value: Any) -> OriginalScope:
    try:
        return OriginalScope(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of {', '.join(OriginalScope)}") from None


def _exclusions(value: Any) -> tuple[tuple[int, int], ...]:
    """Intervals, each as `--exclude` takes one or as a pair of times."""
    if not isinstance(value, list):
        raise ValueError('it must be a list of times, such as ["0:01-0:02.5"]')
    return tuple(_pair(one) if isinstance(one, list) else parse_interval(one) for one in value)


def _pair(times: Sequence[Any]) -> tuple[int, int]:
    if len(times) != 2:
        raise ValueError(f"a start and an end are expected, not {len(times)} times")
    return parse_time(times[0]), parse_time(times[1])


def _parsed(parse: Any, entry: Mapping[str, Any], name: str, default: Any, field: str) -> Any:
    try:
        return parse(entry.get(name, default))
    except ValueError as error:
        raise InputError(f"{name}: {error}", field=field) from error
