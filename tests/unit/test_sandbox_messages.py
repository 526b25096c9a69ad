"""Messages of a child: every text can be stored, and what does not match the schema is one clear error."""

from __future__ import annotations

import errno
import math
import os
import struct
from fractions import Fraction
from multiprocessing import Pipe

import hostile_work
import pytest
import stub_work
from hostile_work import FALSE_MESSAGES, INFO

from duikou.errors import FetchError, InputError, MediaError, ModelError, NotFoundError, StorageError, WorkerError
from duikou.faces.track import FaceWarning, Speaking
from duikou.media.losses import Loss
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.sandbox import messages
from duikou.sandbox.messages import (
    Done,
    Failed,
    Inbox,
    InvalidMessageError,
    LogLine,
    StageProgress,
    UnexpectedError,
    plain_text,
)
from duikou.tasks.models import FaceRecord, FoundFaces
from duikou.timebase import Interval
from duikou.units import DAY_MS
from duikou.workers import work
from duikou.workers.work import UploadInfo

SOUND = AudioInfo("aac", 48_000, 2, 4_990)
LOSS = Loss("fewer_bits", "the video has 10 bits in each channel; the result has 8")
VIDEO = VideoInfo("mp4", "h264", 1280, 720, 90, 125, Fraction(30_000, 1_001), 5_000, SOUND, (LOSS,))
FACE = FaceRecord("0", Interval(0, 1), (FaceWarning("lost", "人脸 \\u0000", Interval(1, 1)),), (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("the video is damaged at frame 7", None),
        ("人脸", None),
        ("a\0b", "a?b"),
        ("half \ud800 a character", "half ? a character"),
    ],
    ids=["plain", "chinese", "nul", "surrogate"],
)
def test_what_no_database_takes_is_replaced(given: str, stored: str | None) -> None:
    assert plain_text(given) == (given if stored is None else stored)
    assert plain_text(given, 3) == plain_text(given)[:3]


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (work.probe_video, VIDEO),
        (work.probe_audio, AudioInfo("mp3", 44_100, 1, 0)),
        (work.probe_upload, UploadInfo(".mp4", 7 * DAY_MS)),
        (work.identify, FoundFaces((FACE, FaceRecord("1", Interval(5, 9))), FACE.warnings)),
        (work.identify, FoundFaces()),
        (work.render, 10_000),
        (stub_work.die_once, "\\\\u0000"),
    ],
    ids=["video", "audio", "upload", "faces", "no face", "length", "backslashes"],
)
def test_values_come_back_as_they_were(function, value) -> None:
    read = messages.reader(function)(messages.done(function, value).encode())
    assert isinstance(read, Done)
    assert (read.value, type(read.value)) == (value, type(value))


@pytest.mark.parametrize("name", FALSE_MESSAGES)
def test_what_matches_no_schema_is_an_error(name: str) -> None:
    with pytest.raises(WorkerError, match=r"the worker process sent an invalid message: .{10,200}$"):
        messages.reader(hostile_work.send)(FALSE_MESSAGES[name])


def test_the_message_that_the_others_are_made_of_is_valid() -> None:
    read = messages.reader(hostile_work.send)(f'{{"kind":"done","value":{INFO}}}'.encode())
    assert isinstance(read, Done)
    assert read.value == VideoInfo("mp4", "h264", 2, 2, 0, 1, Fraction(25), 40, None)


@pytest.mark.parametrize(
    "interval", ['{"start_ms":5,"end_ms":4}', '{"start_ms":-5,"end_ms":4}'], ids=["turned", "early"]
)
def test_an_interval_that_is_none_is_an_error(interval: str) -> None:
    good = messages.done(work.identify, FoundFaces((FaceRecord("0", Interval(3, 4)),)))
    messages.reader(work.identify)(good.encode())
    with pytest.raises(WorkerError, match="invalid message"):
        messages.reader(work.identify)(good.replace('{"start_ms":3,"end_ms":4}', interval).encode())


@pytest.mark.parametrize(
    "error",
    [
        InputError("it is too long", field="video"),
        MediaError("the video is damaged"),
        FetchError("no", field="url"),
        NotFoundError("no face '7'", field="face_id"),
        ModelError("run: make setup"),
        StorageError("result.mp4 cannot be written"),
        WorkerError("it died"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_duikou_keep_class_text_and_field(error: Exception) -> None:
    again = Failed.model_validate_json(Failed.of(error).model_dump_json()).exception()
    assert (type(again), str(again)) == (type(error), str(error))
    if isinstance(error, InputError):
        assert isinstance(again, InputError)
        assert (again.reason, again.field) == (error.reason, error.field)


def test_other_errors_keep_their_class_as_a_word_alone() -> None:
    again = Failed.of(KeyError("/a/private/file")).exception()
    assert (type(again), str(again)) == (UnexpectedError, "unexpected KeyError; see the server's log")


def test_errors_of_the_system_keep_their_number_alone() -> None:
    again = Failed.of(OSError(errno.ENOSPC, "no room", "/a/private/file")).exception()
    assert (type(again), str(again)) == (OSError, "[Errno 28] No space left on device")
    assert isinstance(Failed.of(OSError("no number")).exception(), UnexpectedError)


def test_what_a_child_says_by_mistake_is_made_fit() -> None:
    assert StageProgress.of("x\0" * 50, 1.5) == StageProgress(stage="x?" * 32, share=1.0)
    assert StageProgress.of("x", math.nan).share == 0.0
    line = LogLine.of("loud", "\ud800", {"nan": math.nan, "path": ..., "text": "\0", "yes": True, "n" * 200: 1})
    assert (line.level, line.event) == ("info", "?")
    assert line.fields == {"nan": "nan", "path": "Ellipsis", "text": "?", "yes": True, "n" * 100: 1}
    assert len(LogLine.of("info", "", {str(number): 1 for number in range(100)}).fields) == 64


def test_a_value_of_another_type_is_a_mistake_of_the_work() -> None:
    with pytest.raises(ValueError, match="Expected `int`"):
        messages.done(work.render, "a text")


def test_a_function_without_a_return_annotation_cannot_be_run() -> None:
    with pytest.raises(TypeError, match="untyped has no return annotation"):
        messages.reader(hostile_work.untyped)


def test_the_faces_of_an_hour_with_a_cut_every_second_fit() -> None:
    def cut(ms: int) -> FaceWarning:
        return FaceWarning("shot_cut", f"the shot begins at {ms} ms", Interval(ms, ms))

    faces = []
    for number in range(3_600):
        begin, end = 1_000 * number, 1_000 * number + 1_000
        small = FaceWarning("small_face", "the lips are 28 px wide", Interval(begin, end))
        speaking = (Speaking(Interval(begin, end), 0.4123456789),)
        warnings = (cut(begin), cut(end), small)
        faces.append(FaceRecord(str(number), Interval(begin, end), warnings, (1_000, 1_000, 400, 500), speaking))
    found = FoundFaces(tuple(faces))
    read = messages.reader(work.identify)(messages.done(work.identify, found).encode())
    assert isinstance(read, Done)
    assert read.value == found


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"kind":"log","level":"info","event":"%b","fields":{}}' % (b"x" * messages.MAX_OTHER_BYTES), "bytes"),
        (b'{"kind":"done","value":[' + b"1," * messages.MAX_ITEMS + b"1]}", "items"),
        (b'{"kind":"done","value":{' + b"".join(b'"%d":1,' % one for one in range(2_000)) + b'"x":1}}', "faults"),
    ],
    ids=["long line", "many items", "many faults"],
)
def test_too_much_is_no_message(content: bytes, why: str) -> None:
    with pytest.raises(InvalidMessageError, match=rf"invalid message: .*[0-9]+ {why}$"):
        messages.reader(work.identify)(content)


def test_a_line_has_texts_for_one_stack_trace_in_all() -> None:
    line = LogLine.of("info", "x" * 10_000, {"first": "y" * 10_000, "second": "z" * 10_000, "count": 10**30})
    texts = [line.event, *(value for value in line.fields.values() if isinstance(value, str))]
    assert sum(map(len, texts)) == messages.MAX_TEXT
    assert len(line.model_dump_json()) < messages.MAX_OTHER_BYTES
    assert messages.reader(work.render)(line.model_dump_json().encode()) == line


def test_the_longest_error_and_line_are_messages() -> None:
    odd = "\x01" * 100_000  # takes six bytes a character
    error = Failed.of(MediaError(odd, field=odd))
    line = LogLine.of("info", odd, {f"{number}{odd}": odd for number in range(100)})
    for message in (error, line):
        assert messages.reader(work.render)(message.model_dump_json().encode()) == message


def test_messages_are_cut_out_of_what_arrives() -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        inbox = Inbox(ours)
        assert inbox.next() is None
        theirs.send_bytes(b"one")
        theirs.send_bytes(b"")
        os.write(theirs.fileno(), b"\0\0\0\5thr")
        inbox.fetch()
        assert [inbox.next() for _ in range(3)] == [b"one", b"", None]
        os.write(theirs.fileno(), b"ee")
        inbox.fetch()
        assert [inbox.next() for _ in range(2)] == [b"three", None]
        theirs.close()
        with pytest.raises(EOFError):
            inbox.fetch()


@pytest.mark.parametrize("length", [-1, messages.MAX_BYTES + 1, 2**31 - 1])
def test_a_length_that_no_message_has_is_not_waited_for(length: int) -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        os.write(theirs.fileno(), struct.pack("!i", length))
        inbox = Inbox(ours)
        inbox.fetch()
        with pytest.raises(InvalidMessageError, match=f"a message of more than {messages.MAX_BYTES} bytes"):
            inbox.next()
