"""The one mapping between `duikou.tasks.models` and stored data: database rows, and tasks as JSON in the outbox.

Columns and JSON keys are those of the first version, and rows and JSON of every former version stay readable. Where a
value has none, its column holds "" or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from duikou.faces.track import FaceWarning, Speaking
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.tasks.models import (
    Analysis,
    FaceRecord,
    FoundFaces,
    IdentifyTask,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    Task,
    TaskCallback,
    TaskResult,
    TaskSource,
)
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.timebase import Interval

Values = Mapping[Any, Any]
"""A row, or the JSON of one."""

# Media and sessions


def media_row(media: Media) -> dict[str, Any]:
    """The columns of a file."""
    return asdict(media)


def media_from(row: Values) -> Media:
    """The file of a row."""
    values = {field.name: row[field.name] for field in fields(Media)}
    return Media(**{**values, "kind": MediaKind(values["kind"])})


def session_row(session: SessionRecord) -> dict[str, Any]:
    """The columns of a session."""
    return {
        "id": session.id,
        "account": session.account,
        "source_id": session.source.id,
        "faces": [_face_json(face) for face in session.faces],
        "rejected": [asdict(reason) for reason in session.rejected],
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "digest": session.digest,
        "analyser": session.analyser,
        "size": session.size,
    }


def session_from(row: Values, source: Media) -> SessionRecord:
    """The session of a row, on its source."""
    analysis = analysis_from(row)
    return SessionRecord(
        id=row["id"],
        account=row["account"],
        source=source,
        faces=analysis.found.faces,
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        rejected=analysis.found.rejected,
        digest=analysis.digest,
        analyser=analysis.analyser,
        size=analysis.size,
    )


def analysis_from(row: Values) -> Analysis:
    """The analysis that the session of a row holds."""
    faces = tuple(_face_from(face) for face in row["faces"])
    rejected = tuple(_warning_from(reason) for reason in row["rejected"])
    return Analysis(row["id"], FoundFaces(faces, rejected), row["digest"], row["analyser"], row["size"])


def _face_json(face: FaceRecord) -> dict[str, Any]:
    values = asdict(face)
    values["notes"] = values.pop("warnings")
    return values


def _face_from(value: Mapping[str, Any]) -> FaceRecord:
    warnings = tuple(_warning_from(note) for note in value["notes"])
    x, y, width, height = value.get("box", (0, 0, 0, 0))  # sessions of the first version have none
    # Sessions of former versions do not tell who speaks.
    speaking = tuple(Speaking(Interval(**one["interval"]), one["score"]) for one in value.get("speaking", ()))
    return FaceRecord(value["id"], Interval(**value["interval"]), warnings, (x, y, width, height), speaking)


def _warning_from(value: Mapping[str, Any]) -> FaceWarning:
    return FaceWarning(value["code"], value["message"], Interval(**value["interval"]))


# Tasks


def task_row(task: Task) -> dict[str, Any]:
    """Every column of a task; also its JSON in the outbox."""
    return _OF_ONE_TYPE | task_columns({field.name: getattr(task, field.name) for field in fields(task)})


def task_columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of some fields of a task."""
    columns: dict[str, Any] = {}
    for name, value in changes.items():
        if name in _COLUMNS:
            columns |= _COLUMNS[name](value)
        else:
            columns[name] = _NONE.get(name) if value is None else value
    return columns


def task_from(values: Values) -> Task:
    """The task of a row, or of JSON in the outbox."""
    if _queue(values.get("queue", Queue.RENDER)) is not Queue.IDENTIFY:
        return render_task_from(values)
    values = {**_LATER_COLUMNS, **values}
    own = {"session_id": values["session_id"] or None, "digest": values["digest"], "callers": values["callers"]}
    return IdentifyTask(**_common(values), **own)


def render_task_from(values: Values) -> RenderTask:
    """The same where it is a lip sync."""
    values = {**_LATER_COLUMNS, **values}
    callback = TaskCallback(values["callback_url"], values["files_url"]) if values["callback_url"] else None
    result = None
    if values["result_id"]:
        result = TaskResult(values["result_id"], values["result_duration_ms"], values["watermark_id"] or None)
    return RenderTask(
        **_common(values),
        session_id=values["session_id"] or None,
        choices=tuple(_choice_from(choice) for choice in values["choices"]),
        fingerprint=values["fingerprint"],
        sync_mode=SyncMode(values["sync_mode"]) if values["sync_mode"] else None,
        watermark=values["watermark"],
        external_id=values["external_id"],
        former_external_id=values["former_external_id"],
        callback=callback,
        result=result,
        size=values["size"],
    )


def _common(values: Values) -> dict[str, Any]:
    values = {**_LATER_COLUMNS, **values}
    return {
        **{name: values[name] for name in _SAME},
        "source": TaskSource(values["source_id"], values["source_suffix"], values["source_duration_ms"]),
        "queue": _queue(values["queue"]),
        "status": TaskStatus(values["status"]),
        "fault": Fault(values["fault"]) if values["fault"] else None,
        "began_at": values["began_at"] or None,
        "expires_at": values["expires_at"] or None,
        "heartbeat": values["beat"],
    }


def _queue(name: str) -> Queue:
    return Queue(_FORMER_QUEUES.get(name, name))


def _choice_json(choice: FaceChoice) -> dict[str, Any]:
    later: dict[str, Any] = {}  # fields that former versions lack
    if choice.references:
        later["references"] = [str(key) for key in choice.references]
    if choice.original_scope != OriginalScope.SPEECH:
        later["original_scope"] = choice.original_scope
    if choice.exclude:
        later["exclude"] = [list(pair) for pair in choice.exclude]
    return later | {
        "sound": str(choice.audio),
        "face_id": choice.face_id,
        "sound_start_ms": choice.trim_start_ms,
        "sound_end_ms": choice.trim_end_ms,
        "insert_ms": choice.insert_ms,
        "sound_volume": choice.audio_volume,
        "original_volume": choice.original_volume,
    }


def _choice_from(value: Mapping[str, Any]) -> FaceChoice:
    return FaceChoice(
        value["sound"],
        face_id=value["face_id"],
        trim_start_ms=value["sound_start_ms"],
        trim_end_ms=value["sound_end_ms"],
        insert_ms=value["insert_ms"],
        audio_volume=value["sound_volume"],
        original_volume=value["original_volume"],
        # Choices of former versions have none: the volume applied while the speech lasted.
        original_scope=OriginalScope(value.get("original_scope", OriginalScope.SPEECH)),
        references=tuple(value.get("references", ())),
        exclude=tuple((start, end) for start, end in value.get("exclude", ())),
    )


def _source_columns(source: TaskSource) -> dict[str, Any]:
    return {"source_id": source.id, "source_suffix": source.suffix, "source_duration_ms": source.duration_ms}


def _result_columns(result: TaskResult | None) -> dict[str, Any]:
    if result is None:
        return {"result_id": "", "result_duration_ms": 0, "watermark_id": ""}
    return {
        "result_id": result.id,
        "result_duration_ms": result.duration_ms,
        "watermark_id": result.watermark_id or "",
    }


def _callback_columns(callback: TaskCallback | None) -> dict[str, Any]:
    if callback is None:
        return {"callback_url": "", "files_url": ""}
    return {"callback_url": callback.url, "files_url": callback.files_url}


_COLUMNS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "source": _source_columns,
    "result": _result_columns,
    "callback": _callback_columns,
    "choices": lambda choices: {"choices": [_choice_json(choice) for choice in choices]},
    "heartbeat": lambda count: {"beat": count},
}
"""Fields that have other columns than one of their own name."""
_NONE = {"began_at": 0, "expires_at": 0, "fault": "", "session_id": "", "sync_mode": ""}
"""What a column holds where the field is `None`; any other holds NULL."""
_OF_ONE_TYPE: dict[str, Any] = {
    "external_id": None,
    "former_external_id": None,
    "fingerprint": "",
    "choices": [],
    "sync_mode": "",
    "watermark": False,
    **_callback_columns(None),
    **_result_columns(None),
    "size": 0,
    "digest": "",
    "callers": 1,
}
"""The columns that only renders or only identify tasks have, in the row of the other type."""
_LATER_COLUMNS: dict[str, Any] = {
    "sync_mode": "",
    "watermark": False,
    "watermark_id": "",
    "callback_url": "",
    "files_url": "",
    "began_at": 0,
    "queue": Queue.RENDER,
    "turn": 0.0,
    "beat": 0,
    "fault": "",
    "request_id": "",
    "trace": "",
    "former_external_id": None,
    "digest": "",
    "callers": 1,
    "size": 0,
}
"""Columns that came after the first version: JSON of former versions lacks them."""
_FORMER_QUEUES = {"analysis": "identify"}
"""Queues of rows that a server of a former version writes while a fleet is upgraded."""
_SAME = (
    *("id", "account", "not_before", "created_at", "updated_at", "reason"),
    *("attempt", "tries", "progress", "stage", "turn", "request_id", "trace"),
)
"""Fields of every task that have a column of their own name and type."""
