"""`--server`: a duikou server finds the faces and renders, by the calls that the library has.

`work_at` yields the library itself, or a `Server`. What the two return has the same attributes, as far as the commands
print them.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

import duikou
from duikou.cli.files import named
from duikou.cli.terminal import warn
from duikou.errors import DuikouError, InputError, StorageError
from duikou.progress import scaled, split

if TYPE_CHECKING:
    from duikou import client
    from duikou.faces.track import FaceWarning
    from duikou.media.probe import VideoInfo
    from duikou.media.sync_mode import SyncMode
    from duikou.pipeline.choice import FaceChoice
    from duikou.pipeline.plan import Spoken
    from duikou.progress import Progress
    from duikou.timebase import Interval

    AnyFace: TypeAlias = "duikou.Face | Face"
    AnySession: TypeAlias = "duikou.Session | Session"
    AnyResult: TypeAlias = "duikou.Result | Result"

KEY_VARIABLE: Final = "DUIKOU_KEY"  # no option: everybody on this machine sees the words of a command
TIMEOUT_S: Final = 600.0  # for an answer: the server looks at the whole video before it tells of faces
STAGE_WEIGHTS: Final = (19, 1)  # rough shares of the task and of the download in the time of a lip sync
NAMES: Final = {
    "base_url": "--server",
    "key": KEY_VARIABLE,
    "access_key": KEY_VARIABLE,
    "secret_key": KEY_VARIABLE,
    "video_url": "video",
    "video_id": "video",
    "face_choose": "choices",
    "face_id": "face_id",
    "sound_file": "audio",
    "audio_id": "audio",
    "sound_start_time": "trim_start_ms",
    "sound_end_time": "trim_end_ms",
    "sound_insert_time": "insert_ms",
    "sound_volume": "audio_volume",
    "original_audio_volume": "original_volume",
    "reference_urls": "references",
    "sync_mode": "sync_mode",
}
"""What the library calls the client's parameters and the fields of the wire."""
_FIELD: Final = re.compile(r"(?:face_choose\[(\d+)\]\.)?([a-z_]+)(\[\d+\])?: (.*)", re.DOTALL)
_FACE_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,80}")  # it becomes part of a file's name

ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="DUIKOU_SERVER",
        metavar="URL",
        help=f"Let this duikou server do the work; {KEY_VARIABLE} holds the key.",
        show_default="this machine",
    ),
]


@dataclass(frozen=True)
class Face:
    """A face that a server has found."""

    id: str
    interval: Interval
    box: tuple[int, int, int, int]
    warnings: tuple[FaceWarning, ...]
    picture_url: str
    server: Server = field(repr=False)

    def save_picture(self, path: Path) -> None:
        """Download the picture of the face."""
        with _own_errors():
            self.server.connection.download(self.picture_url, path)


@dataclass(frozen=True)
class Session:
    """A video and the faces that a server has found in it. info: `None` while it is known only to the server."""

    id: str
    video: Path
    info: VideoInfo | None
    faces: tuple[Face, ...]
    rejected: tuple[FaceWarning, ...]

    def face(self, face_id: str) -> Face:
        """The face with an id."""
        return next(face for face in self.faces if face.id == face_id)


@dataclass(frozen=True)
class Result:
    """A result that was downloaded."""

    video: Path
    info: VideoInfo
    watermark: Path | None
    spoken: tuple[Spoken, ...] = ()  # the wire does not tell of it


@contextmanager
def work_at(url: str | None) -> Iterator[Any]:
    """Whatever does the work: the library or, if there is a URL, a server that is there and takes the key."""
    if not url:
        yield duikou
        return
    from duikou.client import Duikou

    with _own_errors(), Duikou(url, _key(), timeout_s=TIMEOUT_S) as connection:
        connection.list(page_size=1)  # before anything is uploaded
        yield Server(connection)


def _key() -> str | client.KeyPair | None:
    """The key in the environment: a plain one, or `ACCESS:SECRET`, which signs a token for each call."""
    from duikou.client import KeyPair

    given = os.environ.get(KEY_VARIABLE) or None
    if given is None or ":" not in given:
        return given
    access, _, secret = given.partition(":")
    return KeyPair(access, secret)


@dataclass(frozen=True)
class Server:
    """A server in place of the library. Errors are the library's and name its parameters."""

    connection: client.Duikou

    def identify(self, video: Path | str, *, progress: Progress) -> Session:
        """See `duikou.identify`. Uploads the video, unless it is at a URL."""
        from duikou.media.video import probe_video

        info = None
        source: Path | str | client.Upload = video
        if isinstance(video, Path):
            info = probe_video(video)
            progress("uploading", 0.0)
            source = self._upload(video, "video")
        progress("finding faces", 0.5)
        with _own_errors():
            found = self.connection.identify(source)
        progress("finding faces", 1.0)
        faces = tuple(self._face(face) for face in found.faces)
        return Session(found.id, named(video), info, faces, tuple(map(_warning, found.rejected)))

    def lip_sync(
        self,
        session: Session,
        choices: Sequence[FaceChoice],
        output: duikou.Output,
        *,
        sync_mode: SyncMode | None,
        progress: Progress,
    ) -> Result:
        """See `duikou.lip_sync`. Uploads the other files and downloads the result. Ctrl-C cancels the task."""
        from duikou.media.video import probe_video
        from duikou.pipeline.checks import audio_lengths
        from duikou.pipeline.choice import ChoiceValidator

        if session.info is not None:
            intervals = {face.id: face.interval for face in session.faces}
            validator = ChoiceValidator(intervals, session.info.duration_ms, sync_mode)
            choices = validator.check_all(choices, audio_lengths(choices))
        rendering, downloading = split(STAGE_WEIGHTS)
        progress("uploading", 0.0)
        wanted = [self._uploaded(choice, f"choices[{number}]") for number, choice in enumerate(choices)]
        options: client.TaskOptions = {
            "external_task_id": f"duikou-{secrets.token_hex(16)}",
            "watermark": output.watermark is not None,
        }
        if sync_mode is not None:
            options["sync_mode"] = sync_mode.value
        with _own_errors(), self._cancelling(options["external_task_id"]):
            task = self.connection.lip_sync(session.id, wanted, **options)
            task = self.connection.wait(task, progress=_telling(scaled(progress, *rendering)))
        paths = output.paths(session.video)
        for number, (name, path) in enumerate(paths.items()):
            progress("downloading", downloading[0] + (downloading[1] - downloading[0]) * number / len(paths))
            self._download(task, path, marked=name == "watermark")
        progress("downloading", 1.0)
        return Result(paths["output"], probe_video(paths["output"]), output.watermark)

    def _face(self, face: client.Face) -> Face:
        from duikou.timebase import Interval

        if face.box is None or not _FACE_ID.fullmatch(face.id):
            raise InputError("this host does not say where faces are; only duikou servers do.", field="--server")
        box = face.box.x, face.box.y, face.box.width, face.box.height
        interval = Interval(face.start_ms, face.end_ms)
        return Face(face.id, interval, box, tuple(map(_warning, face.warnings)), face.picture_url, self)

    def _uploaded(self, choice: FaceChoice, place: str) -> client.FaceChoice:
        """The choice with uploads in place of its files."""
        from duikou.client import FaceChoice

        references = [
            self._upload(Path(path), f"{place}.references[{number}]") for number, path in enumerate(choice.references)
        ]
        audio = self._upload(Path(choice.audio), f"{place}.audio")
        return FaceChoice(**{**vars(choice), "audio": audio, "references": references})

    def _upload(self, path: Path, name: str) -> client.Upload:
        with _own_errors(file=name):
            return self.connection.upload(path)

    def _download(self, task: client.Task, path: Path, *, marked: bool) -> None:
        url = next((video.watermark_url if marked else video.url for video in task.videos), None)
        if not url:
            what = "marked file" if marked else "result"
            raise DuikouError(f"the server has no {what} of task {task.id}")
        try:
            with _own_errors():
                self.connection.download(url, path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error

    @contextmanager
    def _cancelling(self, task_id: str) -> Iterator[None]:
        """Cancel a task if the user stops the command."""
        from duikou.client import ClientError, InvalidRequestError, NotFoundError

        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            try:
                self.connection.cancel(task_id)
            except (NotFoundError, InvalidRequestError):  # it does not exist yet, or has just finished
                pass
            except ClientError as error:
                warn([f"task {task_id} goes on, because it cannot be cancelled: {error}"])
            raise


def _telling(progress: Progress) -> Any:
    """What `wait` calls with the task: tells its stage, or its place in the queue."""
    from duikou.client import TaskStatus

    def tell(task: client.Task) -> None:
        stage = task.stage or "working"
        if task.status is TaskStatus.SUBMITTED:
            stage = f"waiting at place {task.queue_position} of the queue" if task.queue_position else "waiting"
        progress(stage, task.progress or 0.0)

    return tell


def _warning(warning: client.FaceWarning) -> FaceWarning:
    from duikou.faces.track import FaceWarning
    from duikou.timebase import Interval

    return FaceWarning(warning.code, warning.message, Interval(warning.start_ms, warning.end_ms))


@contextmanager
def _own_errors(file: str = "") -> Iterator[None]:
    """Raise the client's errors as the library's, which decide on the exit status.

    file: the parameter whose file is uploaded.
    """
    from duikou import client

    try:
        yield
    except client.InputError as error:
        raise _about(str(error), file) from error
    except client.TaskFailedError as error:
        failure = _about(_with(error.task.message or "the task failed", f"task {error.task.id}"))
        raise failure if error.task.fault == "input" else DuikouError(str(failure)) from error
    except client.AuthenticationError as error:
        raise InputError(_with_request(error.message, error), field=KEY_VARIABLE) from error
    except client.UnsupportedError as error:
        reason = "this host takes no files, because it is no duikou server; `duikou.client` can send it URLs."
        raise InputError(_with_request(reason, error), field="--server") from error
    except (client.InvalidRequestError, client.ForbiddenError, client.NotFoundError) as error:
        raise _about(_with_request(error.message, error), file) from error
    except client.ProtocolError as error:
        raise InputError(str(error), field="--server") from error
    except client.ConnectionFailedError as error:
        raise DuikouError(f"--server: {error}") from error
    except client.ApiError as error:
        raise DuikouError(_with_request(error.message, error)) from error
    except client.ClientError as error:
        raise DuikouError(str(error)) from error


def _with_request(sentence: str, error: client.ApiError) -> str:
    """A sentence with the server's id of the call."""
    return _with(sentence, f"request {error.request_id}" if error.request_id else "")


def _with(sentence: str, more: str) -> str:
    return f"{sentence.rstrip('.')} ({more})." if more else sentence


def _about(sentence: str, file: str = "") -> InputError:
    """The error of a sentence that may begin with a field of the wire; it names the library's parameter."""
    found = _FIELD.fullmatch(sentence)
    name = ({**NAMES, "file": file}.get(found[2]) if found else file) or ""
    if found is None or not name:
        return InputError(sentence, field=name)
    place = f"choices[{found[1]}]." if found[1] is not None else ""
    return InputError(found[4], field=f"{place}{name}{found[3] or ''}")
