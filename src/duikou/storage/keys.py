"""Keys of stored files, relative to the storage. Only this module makes them; no part of one comes from a caller.

media/ID.mp4      source videos and uploads
sessions/ID/      the faces of a video: tracks and pictures
tasks/ID/sound_0  the speech of a task
tasks/ID/reference_0_1
                  the second reference of its first choice
tasks/ID/N/       what attempt N of the task writes
"""

from __future__ import annotations

PLACES = ("media", "sessions", "tasks")
RESULT, MARKED = "result.mp4", "marked.mp4"


def session_key(session_id: str) -> str:
    """Folder of a session."""
    return f"sessions/{session_id}"


def session_of(key: str) -> str:
    """Id of the session that has this folder."""
    return key.removeprefix("sessions/")


def picture_key(session_id: str, face_id: str) -> str:
    """Picture of a face, as `duikou.pipeline.session.Session.save` names it."""
    return f"{session_key(session_id)}/face_{face_id}.jpg"


def source_key(media_id: str, suffix: str) -> str:
    """File of a source video."""
    return f"media/{media_id}{suffix}"


def task_key(task_id: str) -> str:
    """Folder of a task."""
    return f"tasks/{task_id}"


def audio_key(task_id: str, number: int) -> str:
    """Speech of a task's choice."""
    return f"{task_key(task_id)}/sound_{number}"


def reference_key(task_id: str, number: int, place: int) -> str:
    """A reference of a task's choice."""
    return f"{task_key(task_id)}/reference_{number}_{place}"


def attempt_key(task_id: str, attempt: int) -> str:
    """Folder of one attempt at a task."""
    return f"{task_key(task_id)}/{attempt}"


def result_key(task_id: str, attempt: int) -> str:
    """Result of an attempt."""
    return f"{attempt_key(task_id, attempt)}/{RESULT}"


def marked_key(task_id: str, attempt: int) -> str:
    """Result of an attempt with a visible mark."""
    return f"{attempt_key(task_id, attempt)}/{MARKED}"
