"""`--server`: a duikou server finds the faces and renders, by the calls that the library has.

`work_at` yields the library itself, or a `Server`. What the two return has the same attributes, as far as the commands
print them.
"""

from __future__ import annotations

import itertools
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
from duikou.cli.remote_errors import KEY_VARIABLE, own_errors
from duikou.cli.terminal import warn
from duikou.errors import DuikouError, InputError, StorageError
from duikou.progress import scaled, split

if TYPE_CHECKING:
    from duikou import client
    from duikou.faces.track import FaceWarning, Speaking
    from duikou.media.probe import VideoInfo
    from duikou.media.sync_mode import SyncMode
    from duikou.pipeline.choice import FaceChoice
    from duikou.pipeline.plan import Spoken
    from duikou.progress import Progress
    from duikou.timebase import Interval

    AnyFace: TypeAlias = "duikou.Face | Face"
    AnySession: TypeAlias = "duikou.Session | Session"
    AnyResult: TypeAlias = "duikou.Result | Result"

TIMEOUT_S: Final = 600.0  # for an answer: the server looks at the whole video before it tells of faces
PATIENT_TRIES: Final = 12  # of a call: with the client's waits they take 3 to 5 minutes
STAGE_WEIGHTS: Final = (19, 1)  # rough shares of the task and of the download in the time of a lip sync
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
    speaking: tuple[Speaking, ...]
    picture_url: str
    server: Server = field(repr=False)

    def save_picture(self, path: Path) -> None:
        """Download the picture of the face."""
        with own_errors():
            self.server.connection.download(self.picture_url, path)


@dataclass(frozen=True)
class Session:
    """A video and the faces that a server has found in it. info: `None` while it is known only to the server."""

    id: str
    video: Path
    info: VideoInfo | None
    faces: tuple[Face, ...]
    rejected: tuple[FaceWarning, ...]
    warnings: tuple[FaceWarning, ...]

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
def work_at(url: str | None, *, patient: bool = False) -> Iterator[Any]:
    """Whatever does the work: the library or, if there is a URL, a server that is there and takes the key.

    patient: whether every call outlasts a server that restarts, and not only `wait`.
    """
    if not url:
        yield duikou
        return
    from duikou.client import Duikou, Retry

    with own_errors(), Duikou(url, _key(), timeout_s=TIMEOUT_S) as connection:
        connection.list(page_size=1)  # before anything is uploaded
        if not patient:
            yield Server(connection)
            return
    with own_errors(), Duikou(url, _key(), timeout_s=TIMEOUT_S, retry=Retry(tries=PATIENT_TRIES)) as connection:
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
    """A server in place of the library. Errors are the library's and name its parameters.

    task_name: the caller's own id for the next task; by default a random one.
    """

    connection: client.Duikou
    task_name: str = ""

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
        with own_errors():
            found = self.connection.identify(source)
        progress("finding faces", 1.0)
        faces = tuple(self._face(face) for face in found.faces)
        rejected, warnings = tuple(map(_warning, found.rejected)), tuple(map(_warning, found.warnings))
        return Session(found.id, named(video), info, faces, rejected, warnings)

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
        from duikou.pipeline.checks import audio_lengths
        from duikou.pipeline.choice import ChoiceValidator

        if session.info is not None:
            intervals = {face.id: face.interval for face in session.faces}
            validator = ChoiceValidator(intervals, session.info.duration_ms, sync_mode)
            choices = validator.check_all(choices, audio_lengths(choices))
        rendering, downloading = split(STAGE_WEIGHTS)
        progress("uploading", 0.0)
        files: dict[Path, client.Upload] = {}
        wanted = [self._uploaded(choice, f"choices[{number}]", files) for number, choice in enumerate(choices)]
        options: client.TaskOptions = {
            "external_task_id": self.task_name or f"duikou-{secrets.token_hex(16)}",
            "watermark": output.watermark is not None,
        }
        if sync_mode is not None:
            options["sync_mode"] = sync_mode.value
        with own_errors(), self._cancelling(options["external_task_id"]):
            task = self.connection.lip_sync(session.id, wanted, **options)
            task = self.connection.wait(task, progress=_telling(scaled(progress, *rendering)))
        return self._finished(task, output, session.video, scaled(progress, *downloading))

    def earlier(self, name: str) -> tuple[str, client.Task | None]:
        """The first of the names `name-1`, `name-2` and so on whose task has not failed, and this task if there is one.

        Tasks that failed keep their names, so a further try needs another one.
        """
        from duikou.client import NotFoundError, TaskStatus

        for number in itertools.count(1):
            try:
                with own_errors():
                    task = self.connection.get(f"{name}-{number}")
            except InputError as error:
                if isinstance(error.__cause__, NotFoundError):
                    return f"{name}-{number}", None
                raise
            if task.status is not TaskStatus.FAILED:
                return f"{name}-{number}", task
        raise AssertionError("unreachable")

    def resume(self, task: client.Task, video: Path | str, output: duikou.Output, *, progress: Progress) -> Result:
        """Wait for a task that an earlier command made, and download its result. Ctrl-C cancels the task."""
        rendering, downloading = split(STAGE_WEIGHTS)
        with own_errors(), self._cancelling(task.id):
            task = self.connection.wait(task, progress=_telling(scaled(progress, *rendering)))
        return self._finished(task, output, named(video), scaled(progress, *downloading))

    def cancel(self, name: str) -> None:
        """Cancel the task of that name, if it exists and is not finished. Errors become warnings."""
        from duikou.client import ClientError, InvalidRequestError, NotFoundError

        try:
            self.connection.cancel(name)
        except (NotFoundError, InvalidRequestError):  # it does not exist yet, or has just finished
            pass
        except ClientError as error:
            warn([f"task {name} goes on, because it cannot be cancelled: {error}"])

    def _finished(self, task: client.Task, output: duikou.Output, video: Path, progress: Progress) -> Result:
        """The result of a task, downloaded."""
        from duikou.media.video import probe_video

        paths = output.paths(video)
        for number, (name, path) in enumerate(paths.items()):
            progress("downloading", number / len(paths))
            self._download(task, path, marked=name == "watermark")
        progress("downloading", 1.0)
        return Result(paths["output"], probe_video(paths["output"]), output.watermark)

    def _face(self, face: client.Face) -> Face:
        from duikou.timebase import Interval

        if face.box is None or not _FACE_ID.fullmatch(face.id):
            raise InputError("this host does not say where faces are; only duikou servers do.", field="--server")
        box = face.box.x, face.box.y, face.box.width, face.box.height
        interval = Interval(face.start_ms, face.end_ms)
        warnings, speaking = tuple(map(_warning, face.warnings)), tuple(map(_speaking, face.speaking))
        return Face(face.id, interval, box, warnings, speaking, face.picture_url, self)

    def _uploaded(self, choice: FaceChoice, place: str, files: dict[Path, client.Upload]) -> client.FaceChoice:
        """The choice with uploads in place of its files. files: what is uploaded already."""
        from duikou.client import FaceChoice

        def upload(path: Path, name: str) -> client.Upload:
            if path not in files:
                files[path] = self._upload(path, f"{place}.{name}")
            return files[path]

        references = [upload(Path(path), f"references[{number}]") for number, path in enumerate(choice.references)]
        audio = upload(Path(choice.audio), "audio")
        return FaceChoice(**{**vars(choice), "audio": audio, "references": references})

    def _upload(self, path: Path, name: str) -> client.Upload:
        with own_errors(file=name):
            return self.connection.upload(path)

    def _download(self, task: client.Task, path: Path, *, marked: bool) -> None:
        url = next((video.watermark_url if marked else video.url for video in task.videos), None)
        if not url:
            what = "marked file" if marked else "result"
            raise DuikouError(f"the server has no {what} of task {task.id}")
        try:
            with own_errors():
                self.connection.download(url, path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error

    @contextmanager
    def _cancelling(self, task_id: str) -> Iterator[None]:
        """Cancel a task if the user stops the command."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.cancel(task_id)
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


def _speaking(speaking: client.Speaking) -> Speaking:
    from duikou.faces.track import Speaking
    from duikou.timebase import Interval

    return Speaking(Interval(speaking.start_ms, speaking.end_ms), speaking.score)


def _warning(warning: client.FaceWarning) -> FaceWarning:
    from duikou.faces.track import FaceWarning
    from duikou.timebase import Interval

    return FaceWarning(warning.code, warning.message, Interval(warning.start_ms, warning.end_ms))
