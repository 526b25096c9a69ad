"""Who speaks what: the options `--say`, or a plan file in JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from duikou.cli.times import parse_time, parse_trim
from duikou.errors import InputError
from duikou.pipeline.choice import FaceChoice

FIELDS: Final = ("face", "audio", "at", "trim", "volume", "original_volume", "references")
"""The fields of an entry: the options of `duikou sync` for one face. Only `audio` is required."""
REFERENCE_SEPARATOR: Final = ";"  # between the references of one face in CSV


def read_plan(path: Path) -> list[FaceChoice]:
    """The choices in a plan file; a face that is left out is the empty id. Paths count from the file's folder.

    Raises `InputError` that names `--plan` and the entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = _csv(text) if path.suffix.lower() == ".csv" else json.loads(text)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}", field="--plan") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} must hold a list with one entry for each face", field="--plan")
    choices = [_choice(entry, f"--plan {number}", path.parent) for number, entry in enumerate(entries, 1)]
    for number, choice in enumerate(choices, 1):
        if len(choices) > 1 and not choice.face_id:
            raise InputError("the field 'face' is needed where several faces speak", field=f"--plan {number}")
    return choices


def _csv(text: str) -> list[dict[str, Any]]:
    rows = csv.DictReader(text.splitlines(), strict=True)
    return [
        {
            str(name): value.split(REFERENCE_SEPARATOR) if name == "references" else value
            for name, value in row.items()
            if value
        }
        for row in rows
    ]


def _choice(entry: Mapping[str, Any], field: str, folder: Path) -> FaceChoice:
    unknown = [name for name in entry if name not in FIELDS]
    if unknown:
        raise InputError(f"there is no field {unknown[0]!r}; the fields are {', '.join(FIELDS)}", field=field)
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
        references=tuple(folder / one for one in references),
    )


def _volume(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is not a number from 0 to 2") from None


def _parsed(parse: Any, entry: Mapping[str, Any], name: str, default: Any, field: str) -> Any:
    try:
        return parse(entry.get(name, default))
    except ValueError as error:
        raise InputError(f"{name}: {error}", field=field) from error
