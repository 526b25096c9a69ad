"""Builds the bodies of answers from sessions, tasks, files and settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Literal

import duikou
from duikou.faces.track import FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.scope import OriginalScope
from duikou.pipeline.choice import MAX_CHOICES, MAX_EXCLUSIONS, MAX_REFERENCES, FaceChoice
from duikou.pipeline.losses import clip_warnings
from duikou.server import validation
from duikou.server.schemas import answers
from duikou.server.signed_urls import FileUrls
from duikou.server.validation import in_wire_words, without_choice
from duikou.settings import Settings
from duikou.storage import keys
from duikou.tasks.models import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Media, RenderTask, SessionRecord
from duikou.tasks.service import Estimate


def identify_data(session: SessionRecord, video: VideoInfo, links: FileUrls) -> answers.IdentifyData:
    """The answer to identify-face. video: the session's, as its probe describes it."""
    source = session.source
    return answers.IdentifyData(
        session_id=session.id,
        face_data=[
            answers.FaceData(
                face_id=face.id,
                face_image=links.picture(session, face.id),
                start_time=face.interval.start_ms,
                end_time=face.interval.end_ms,
                bbox=answers.BoxData(**dict(zip(answers.BoxData.model_fields, face.box, strict=True))),
                warnings=face_warnings(face.warnings),
                speaking=[
                    answers.SpeakingData(
                        start_time=one.interval.start_ms, end_time=one.interval.end_ms, score=round(one.score, 2)
                    )
                    for one in face.speaking
                ],
            )
            for face in session.faces
        ],
        video=answers.SourceVideoData(
            id=source.id,
            url=links.media(source.id, source.suffix, source.key),
            duration=seconds_text(source.duration_ms),
            width=video.width,
            height=video.height,
            frame_rate=round(float(video.rate), 3),
            warnings=face_warnings(clip_warnings(video)),
        ),
        rejected=face_warnings(session.rejected),
    )


def face_warnings(warnings: Iterable[FaceWarning]) -> list[answers.FaceWarningData]:
    """Warnings as the wire has them."""
    return [
        answers.FaceWarningData(
            code=warning.code,
            message=warning.message,
            start_time=warning.interval.start_ms,
            end_time=warning.interval.end_ms,
        )
        for warning in warnings
    ]


def task_data(task: RenderTask, links: FileUrls, position: int | None = None) -> answers.TaskData:
    """The answer that describes a task. position: among the waiting tasks."""
    results = []
    if task.result is not None:
        key = keys.result_key(task.id, task.attempt)
        results.append(_video(task.result.id, ".mp4", key, task.result.duration_ms, links))
        if marked := task.result.watermark_id:
            results[0].watermark_url = links.media(marked, ".mp4", keys.marked_key(task.id, task.attempt))
    source = task.source
    source_key = keys.source_key(source.id, source.suffix)
    return answers.TaskData(
        task_id=task.id,
        task_status=answers.STATUSES[task.status],
        task_status_msg=in_wire_words(task.reason) if task.session_id else without_choice(task.reason),
        task_info=answers.TaskInfo(
            parent_video=_video(source.id, source.suffix, source_key, source.duration_ms, links),
            external_task_id=task.external_id or task.former_external_id,
        ),
        task_result=answers.TaskResult(videos=results),
        watermark_info=answers.WatermarkData(enabled=True) if task.watermark else None,
        progress=round(task.progress, 4),
        stage=task.stage,
        fault=task.fault,
        queue_position=position,
        session_id=task.session_id,
        request=requested_data(task.choices) if task.session_id else [],
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


def requested_data(choices: Iterable[FaceChoice]) -> list[answers.RequestedFaceData]:
    """Checked choices as the wire has them."""
    return [_requested(choice) for choice in choices]


def _requested(choice: FaceChoice) -> answers.RequestedFaceData:
    assert choice.trim_end_ms is not None  # set when the request was checked
    return answers.RequestedFaceData(
        face_id=choice.face_id,
        sound_start_time=choice.trim_start_ms,
        sound_end_time=choice.trim_end_ms,
        sound_insert_time=choice.insert_ms,
        sound_volume=choice.audio_volume,
        original_audio_volume=choice.original_volume,
        original_audio_scope=OriginalScope.of(choice.original_scope),
        exclude=list(choice.exclude),
    )


def dry_run_data(
    session: SessionRecord,
    choices: Sequence[FaceChoice],
    doubts: Iterable[FaceWarning],
    result_ms: int,
    estimate: Estimate,
) -> answers.DryRunData:
    """The answer to a dry run. doubts: about the faces that `auto` found. result_ms: how long the result would last."""
    speaking = {choice.face_id for choice in choices}
    warnings = [warning for face in session.faces if face.id in speaking for warning in face.warnings]
    return answers.DryRunData(
        duration=seconds_text(result_ms),
        estimated_time=f"{estimate.seconds:.1f}",
        queue_position=estimate.position,
        warnings=face_warnings([*warnings, *doubts]),
        request=requested_data(choices),
    )


def task_json(task: RenderTask, links: FileUrls) -> bytes:
    """The body of a callback: the task without an envelope."""
    return task_data(task, links).model_dump_json().encode()


def upload_data(media: Media, links: FileUrls) -> answers.UploadData:
    """The answer to an upload."""
    return answers.UploadData(
        id=media.id,
        url=links.media(media.id, media.suffix, media.key),
        type=_kind(media.suffix),
        size=media.size,
        duration=seconds_text(media.duration_ms),
        expires_at=media.expires_at,
    )


def _kind(suffix: str) -> Literal["video", "audio", "image"]:
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "image" if suffix in PHOTO_SUFFIXES else "audio"


def seconds_text(ms: int) -> str:
    """Milliseconds as text in seconds, without trailing zeros: 5100 is `5.1`, 10000 is `10`."""
    whole, rest = divmod(ms, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


def _video(media_id: str, suffix: str, key: str, duration_ms: int, links: FileUrls) -> answers.VideoData:
    return answers.VideoData(id=media_id, url=links.media(media_id, suffix, key), duration=seconds_text(duration_ms))


def studio_settings(settings: Settings, *, needs_key: bool) -> answers.StudioSettings:
    """What a page must know of a server with these settings."""
    return answers.StudioSettings(
        version=duikou.__version__,
        needs_key=needs_key,
        several_faces=settings.several_faces,
        any_size=settings.any_size,
        session_hours=settings.session_hours,
        max_entries=MAX_CHOICES if settings.several_faces else 1,
        max_exclusions=MAX_EXCLUSIONS,
        max_references=MAX_REFERENCES,
        max_video_mb=settings.max_video_mb,
        max_audio_mb=settings.max_audio_mb,
        min_video_ms=validation.MIN_MS,
        max_video_ms=validation.MAX_MS,
        min_audio_ms=validation.MIN_MS,
        max_audio_ms=validation.MAX_MS,
        min_speech_ms=validation.CHOICE.min_trim_ms,
        min_overlap_ms=validation.CHOICE.min_overlap_ms,
        max_frame_rate=validation.MAX_RATE,
        **asdict(validation.ANY_SIZE if settings.any_size else validation.CONTRACT_SIZES),
    )
