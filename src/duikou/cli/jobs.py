"""The jobs of `duikou batch`: a CSV or JSONL file with one lip sync a line, by the fields of a plan file."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duikou
from duikou.cli.files import named, video_of
from duikou.cli.order import Order
from duikou.cli.plan import FIELDS, Row, csv_rows, place_of, read_choice, read_choices, require_known
from duikou.errors import InputError
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode

if TYPE_CHECKING:
    from duikou.pipeline.choice import FaceChoice
    from duikou.provenance.producer import Producer

JOB_FIELDS: Final = ("video", "output", *FIELDS, "sync_mode", "watermark", "faces")
"""The fields of a job. Only `video`, and `audio` or `faces`, are required."""
LATER_FIELDS: Final = {"original_scope": OriginalScope.SPEECH, "exclude": ()}
"""Defaults of fields that former versions lacked. They count only where they are used: what is done stays done."""
KINDS: Final = (".csv", ".jsonl")
_OPTION: Final = re.compile(
    r"--(at|trim|face|reference|volume|original-volume|original-scope|exclude|sync-mode|output|watermark)\b"
)


@dataclass(frozen=True)
class Job:
    """A lip sync that a line asks for. line: from 1. folder: that of the jobs file, from which paths count."""

    line: int
    folder: Path
    order: Order

    def encoded_by(self, encoder: str) -> Job:
        """The same job with another encoder."""
        return replace(self, order=replace(self.order, output=replace(self.order.output, encoder=encoder)))

    def digest(self) -> str:
        """A digest of the fields, and of the sizes and times of change of the files. Raises `OSError` without them."""
        order = self.order
        facts: dict[str, Any] = {
            "output": self.output,
            "watermark": self._relative(order.output.watermark),
            "video": self._fact(order.video),
            "sync_mode": order.sync_mode,
            "faces": [
                {
                    **{name: value for name, value in vars(choice).items() if LATER_FIELDS.get(name) != value},
                    "audio": self._fact(choice.audio),
                    "references": [self._fact(path) for path in choice.references],
                }
                for choice in order.choices
            ],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def output(self) -> str:
        """The output as it counts from the folder: the same wherever the command is called."""
        return self._relative(self.order.output.path) or ""

    def _fact(self, file: str | Path) -> list[Any]:
        if not isinstance(file, Path):
            return [file]
        found = file.stat()
        return [self._relative(file), found.st_size, found.st_mtime_ns]

    def _relative(self, path: Path | None) -> str | None:
        return None if path is None else os.path.relpath(path, self.folder)

    def in_own_words(self, error: InputError) -> str:
        """The sentence of an error of the library, beginning with the field of the jobs file."""
        reason, place = as_fields(error.reason), place_of(error)
        if place is None:
            return f"{error.field}: {reason}" if error.field else reason
        number, field = place
        return f"faces {number + 1}: {field}: {reason}" if len(self.order.choices) > 1 else f"{field}: {reason}"


@dataclass(frozen=True)
class Fault:
    """A line that cannot be done, and why, in one sentence. video, output: as far as they are known."""

    line: int
    reason: str
    video: str = ""
    output: str = ""


def as_fields(sentence: str) -> str:
    """A sentence with the fields of a job in place of the options of `duikou sync`."""
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), sentence)


def read_jobs(path: Path, made_by: Producer, server: str | None) -> list[Job | Fault]:
    """What each line asks for, or why it cannot be done. Opens no file but this one.

    Raises `InputError` that names `JOBS` where nothing can be read.
    """
    if path.suffix.lower() not in KINDS:
        raise InputError(f"{path.name} ends in neither .csv nor .jsonl, so its form is unknown.", field="JOBS")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv_rows(text, JOB_FIELDS) if path.suffix.lower() == ".csv" else _json_rows(text))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}", field="JOBS") from error
    if not rows:
        raise InputError(f"{path} holds no jobs.", field="JOBS")
    found = [_read(row, path.parent, made_by, server) for row in rows]
    return _distinct(found)


def _json_rows(text: str) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            fields = json.loads(content)
            json.dumps(fields, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            yield Row(line, {}, f"it is not JSON: {error}")
            continue
        yield Row(line, fields) if isinstance(fields, dict) else Row(line, {}, "it is not a JSON object")


def _read(row: Row, folder: Path, made_by: Producer, server: str | None) -> Job | Fault:
    if row.fault:
        return Fault(row.line, row.fault)
    try:
        return Job(row.line, folder, _order(row.fields, folder, made_by, server))
    except InputError as error:
        return Fault(row.line, str(error), str(row.fields.get("video", "")), str(row.fields.get("output", "")))


def _order(fields: Mapping[str, Any], folder: Path, made_by: Producer, server: str | None) -> Order:
    require_known(fields, JOB_FIELDS, "")
    text = _text(fields, "video")
    if text is None:
        raise InputError("the field 'video' must name a file")
    video = video_of(text, server, "video")
    if isinstance(video, Path):
        video = folder / video
    choices = tuple(_choices(fields, folder))
    output, watermark = _text(fields, "output"), _text(fields, "watermark")
    beside = folder if isinstance(video, str) else video.parent
    usual = beside / f"{named(video).stem}.{Path(choices[0].audio).stem}.synced.mp4"
    written = duikou.Output(folder / output if output else usual, folder / watermark if watermark else None, made_by)
    order = Order(video, choices, written, SyncMode.of(_text(fields, "sync_mode")))
    for name, path in (*_inputs(order), *written.paths(Path(video)).items()):
        if "\0" in str(path):
            raise InputError("a name of a file holds a NUL character", field=name)
    return order


def _choices(fields: Mapping[str, Any], folder: Path) -> list[FaceChoice]:
    one = {name: value for name, value in fields.items() if name in FIELDS}
    if "faces" not in fields:
        return [read_choice(one, "", folder)]
    entries = fields["faces"]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("must be a list with one entry for each face", field="faces")
    if one:
        raise InputError(f"holds what each face speaks; leave {', '.join(one)} out", field="faces")
    return read_choices(entries, "faces", folder)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{value!r} is not a text", field=name)
    return value or None


def _distinct(found: Sequence[Job | Fault]) -> list[Job | Fault]:
    """The lines, with a fault for each job that would write what another one writes or reads."""
    jobs = [job for job in found if isinstance(job, Job)]
    read = {_real(path): f"{name} of line {job.line}" for job in jobs for name, path in _inputs(job.order)}
    written: dict[str, str] = {}
    return [job if isinstance(job, Fault) else _checked(job, read, written) for job in found]


def _checked(job: Job, read: Mapping[str, str], written: dict[str, str]) -> Job | Fault:
    own = {_real(path): name for name, path in _inputs(job.order)}
    for name, path in job.order.output.paths(Path(job.order.video)).items():
        real, output = _real(path), str(job.order.output.path)
        taken = written.get(real) or (None if own.get(real) == "video" else read.get(real))  # that has its own sentence
        if taken:
            return Fault(job.line, f"{name}: {path} is the {taken}; choose another name.", str(job.order.video), output)
        written[real] = f"{name} of line {job.line}"
    return job


def _inputs(order: Order) -> Iterator[tuple[str, Path]]:
    if isinstance(order.video, Path):
        yield "video", order.video
    for choice in order.choices:
        yield "audio", Path(choice.audio)
        for path in choice.references:
            yield "reference", Path(path)


def _real(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))
