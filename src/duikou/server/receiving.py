"""How a file gets in: by URL, as an upload, in base64, or stored already. Each is probed and checked here.

Each takes the room on the disk that its bytes need, as they arrive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from duikou.errors import InputError
from duikou.media.probe import VideoInfo
from duikou.net.addresses import AddressPolicy
from duikou.server import in_flight, leniency, validation
from duikou.server.caller import Caller
from duikou.server.probing import MediaProber
from duikou.server.schemas.requests import FaceChoose
from duikou.server.threads import run_in_threadpool
from duikou.settings import Settings
from duikou.storage.data_folder import Room
from duikou.tasks.models import AUDIO_SUFFIXES, PHOTO_SUFFIXES, VIDEO_SUFFIXES, Media, MediaKind
from duikou.tasks.service import NewMedia, TaskService
from duikou.telemetry.traces import traces
from duikou.units import MIB

SOUNDS = 8  # largest sounds that one request may bring, together
FETCHES = 5  # longest fetches that one request may take, together
REFERENCE_SUFFIXES = (*VIDEO_SUFFIXES, *PHOTO_SUFFIXES)
UPLOAD_SUFFIXES = (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES, *PHOTO_SUFFIXES)
NAMES = {
    VIDEO_SUFFIXES: "video",
    AUDIO_SUFFIXES: "sound",
    REFERENCE_SUFFIXES: "clip or photo",
    UPLOAD_SUFFIXES: "file",
}
"""What a missing file of some kind is called."""


@dataclass(frozen=True)
class FileReference:
    """How a request names a file: by the id of a stored one or by a URL. field: the request's field, for errors."""

    media_id: str | None
    url: str | None
    field: str
    suffixes: tuple[str, ...]


@dataclass(frozen=True)
class IncomingFile:
    """A file that is being received. room: asked for more space before each piece is written."""

    path: Path
    room: Room


class FileReceiver:
    """Receives files of every kind. A refused file raises `InputError` that names the request's field."""

    def __init__(self, service: TaskService, prober: MediaProber, addresses: AddressPolicy, settings: Settings) -> None:
        self._service, self._prober, self._addresses, self._settings = service, prober, addresses, settings
        self._uploads = in_flight.uploads(settings.uploads_at_once)

    # Uploads

    async def store_upload(self, account: str, receive: Callable[[IncomingFile], Awaitable[None]]) -> Media:
        """Store an uploaded file. receive: writes it to its path. Raises `InputError` that names `file`."""
        return await self._store(account, receive, "file")

    async def store_from_url(self, caller: Caller, url: str) -> Media:
        """Fetch a file of any kind and store it; the stored one where the URL is this server's.

        Raises `InputError` that names `url`.
        """
        media = await self.stored(caller, FileReference(None, url, "url", UPLOAD_SUFFIXES))
        if media is not None:
            await run_in_threadpool(self._service.renew_upload, media)
            return await run_in_threadpool(self._service.media, caller.account, media.id) or media
        return await self._store(caller.account, lambda file: self._fetch(url, file, self._max_upload_mb, "url"), "url")

    @property
    def _max_upload_mb(self) -> int:
        return max(self._settings.max_video_mb, self._settings.max_audio_mb)

    async def _store(self, account: str, receive: Callable[[IncomingFile], Awaitable[None]], field: str) -> Media:
        with self._uploads.place(account):
            return await self._store_one(account, receive, field)

    async def _store_one(self, account: str, receive: Callable[[IncomingFile], Awaitable[None]], field: str) -> Media:
        await run_in_threadpool(lambda: self._service.require_storage(account, upload=True))
        settings = self._settings
        async with self.incoming_file(account) as file:
            await receive(file)
            path = file.path
            found = await self._prober.upload(account, path, field)
            max_mb = settings.max_audio_mb if found.suffix in AUDIO_SUFFIXES else settings.max_video_mb
            if (size := path.stat().st_size) > max_mb * MIB:
                raise InputError(f"the file has {size} bytes; at most {max_mb} MB are allowed.", field=field)
            new = NewMedia(path, MediaKind.UPLOAD, found.suffix, found.duration_ms)
            return await run_in_threadpool(self._service.add_media, account, new)

    # Videos

    @asynccontextmanager
    async def fetched_video(self, account: str, url: str, field: str) -> AsyncIterator[tuple[Path, VideoInfo]]:
        """A video from elsewhere, checked, as a file that the block may take away; else it is removed at the end."""
        async with self.incoming_file(account) as file:
            await self._fetch(url, file, self._settings.max_video_mb, field)
            yield file.path, await self._checked_video(account, file.path, field)

    @asynccontextmanager
    async def stored_video(self, media: Media, field: str) -> AsyncIterator[tuple[Path, VideoInfo]]:
        """A stored video, checked, as a local path that the block only reads: the file in its place, or a copy."""
        async with self._reading(media, field, VIDEO_SUFFIXES):
            if (path := self._service.local_file(media.key)) is not None:
                yield path, await self._checked_video(media.account, path, field)
            else:
                async with self.incoming_file(media.account) as file:
                    await self.copy(media.key, media.size, file)
                    yield file.path, await self._checked_video(media.account, file.path, field)

    @asynccontextmanager
    async def _reading(self, media: Media, field: str, suffixes: tuple[str, ...]) -> AsyncIterator[None]:
        """Read a stored file in the block. Where it went meanwhile, to make room, whatever fails is `InputError`."""
        try:
            yield
        except Exception as error:
            if await run_in_threadpool(self._service.media, media.account, media.id) is None:
                raise _gone(field, suffixes, media.id) from error
            raise

    async def use_source(self, media: Media, field: str) -> None:
        """Keep a stored video because a call uses it. Raises `InputError` where it has just gone."""
        if not await run_in_threadpool(self._service.extend_upload, media, as_source=True):
            raise _gone(field, VIDEO_SUFFIXES, media.id)

    async def _checked_video(self, account: str, path: Path, field: str) -> VideoInfo:
        info = await self._prober.video(account, path, field)
        validation.check_video(info, field, any_size=self._settings.any_size)
        return info

    # Speech and references

    async def speech(self, caller: Caller, given: FileReference, to: IncomingFile) -> int:
        """Receive speech that a request names or holds in base64; its length in ms."""
        text, field, max_mb = given.url or "", given.field, self._settings.max_audio_mb
        media = await self.stored(caller, given)
        if media is not None:
            await self._copy_upload(media, given, to)
        elif leniency.is_url(text):
            await self._fetch(text, to, max_mb, field)
        else:
            content = await run_in_threadpool(leniency.decode_audio, text, field, max_mb * MIB)
            to.room.take(len(content))
            await run_in_threadpool(to.path.write_bytes, content)
        info = await self._prober.audio(caller.account, to.path, field)
        validation.check_audio(info, field)
        return info.duration_ms

    async def reference(self, caller: Caller, url: str, field: str, to: IncomingFile) -> None:
        """Receive a clip or a photo that lends its teeth."""
        given = FileReference(None, url, field, REFERENCE_SUFFIXES)
        media = await self.stored(caller, given)
        if media is not None:
            await self._copy_upload(media, given, to)
        else:
            await self._fetch(url, to, self._settings.max_video_mb, field)
        validation.check_reference(await self._prober.reference(caller.account, to.path, field), field)

    async def _copy_upload(self, media: Media, given: FileReference, to: IncomingFile) -> None:
        async with self._reading(media, given.field, given.suffixes):
            await self.copy(media.key, media.size, to)
        await run_in_threadpool(lambda: self._service.extend_upload(media, as_source=False))

    # Any file

    @asynccontextmanager
    async def incoming_file(self, account: str) -> AsyncIterator[IncomingFile]:
        """A new file of an account; what is still there at the end is removed. Raises `StorageError`."""
        path = self._service.incoming()
        with self._service.reserve(account) as room:
            try:
                yield IncomingFile(path, room)
            finally:
                path.unlink(missing_ok=True)

    async def copy(self, key: str, size: int, to: IncomingFile) -> None:
        """Copy a stored file of that size. Raises `StorageError`."""
        to.room.take(size)
        await run_in_threadpool(self._service.copy_file, key, to.path)

    async def stored(self, caller: Caller, given: FileReference) -> Media | None:
        """The stored file that a request names by its id or by a URL of this server; `None` for any other URL.

        Raises `InputError` where the account has no such file, or none of that kind.
        """
        if media_id := given.media_id or caller.urls.media_id(given.url or "", given.field):
            media = await run_in_threadpool(self._service.media, caller.account, media_id)
        elif key := caller.urls.storage_key(given.url or ""):
            media = await run_in_threadpool(self._service.media_by_key, caller.account, key)
        else:
            return None
        if media is None or media.suffix not in given.suffixes:
            raise _gone(given.field, given.suffixes, media_id)
        return media

    async def _fetch(self, url: str, to: IncomingFile, max_mb: int, field: str) -> None:
        with traces.span("fetch"):
            fetch = await run_in_threadpool(_fetcher)
            await fetch(
                url,
                to.path,
                max_bytes=max_mb * MIB,
                timeout_s=self._settings.fetch_timeout_s,
                policy=self._addresses,
                field=field,
                arrived=to.room.take,
            )


def _fetcher() -> Callable[..., Awaitable[Path]]:
    """What fetches files. Only the first fetch imports its HTTP client: that takes a tenth of a server's start."""
    from duikou.net.fetch import fetch

    return fetch


def _gone(field: str, suffixes: tuple[str, ...], media_id: str | None) -> InputError:
    """The error for a file that is not stored. suffixes: of what was asked for."""
    shown = f" {media_id[:80]!r}" if media_id else ""
    return InputError(f"there is no {NAMES[suffixes]}{shown}, or it has expired.", field=field)


class RequestFiles:
    """The speech and the references that one request brings.

    A sound that several entries name is received once. All together have limits of bytes and of time.
    stack: removes what is left of the files.
    """

    def __init__(self, receiver: FileReceiver, caller: Caller, settings: Settings, stack: AsyncExitStack) -> None:
        self._receiver, self._caller, self._stack = receiver, caller, stack
        self._sounds: dict[tuple[str | None, str | None], tuple[Path, int]] = {}
        self._with_references: set[str] = set()
        self._most_bytes = self._bytes_left = SOUNDS * settings.max_audio_mb * MIB
        self._most_s = FETCHES * settings.fetch_timeout_s
        self._until_s = monotonic() + self._most_s

    async def audio(self, asked: FaceChoose, entry: str) -> tuple[Path, int]:
        """Receive the speech of one choice: its file and its length in ms. entry: the choice, for errors.

        Raises `InputError`.
        """
        if bool(asked.sound_file) == bool(asked.audio_id):
            raise InputError("exactly one of sound_file and audio_id must be given.", field=entry)
        named = asked.audio_id or None, asked.sound_file or None
        if named in self._sounds:
            return self._sounds[named]
        field = f"{entry}.audio_id" if asked.audio_id else f"{entry}.sound_file"
        self._check_time(field)
        to = await self._stack.enter_async_context(self._receiver.incoming_file(self._caller.account))
        given = FileReference(asked.audio_id, asked.sound_file or "", field, AUDIO_SUFFIXES)
        audio_ms = await self._receiver.speech(self._caller, given, to)
        self._count(to.path, field)
        self._sounds[named] = to.path, audio_ms
        return self._sounds[named]

    async def references(self, asked: FaceChoose, entry: str) -> tuple[Path, ...]:
        """Receive the references of one choice, unless another one of its face has brought them.

        Raises `InputError`.
        """
        if asked.face_id in self._with_references:
            return ()
        if asked.reference_urls:
            self._with_references.add(asked.face_id)
        received = []
        for place, url in enumerate(asked.reference_urls):
            field = f"{entry}.reference_urls[{place}]"
            self._check_time(field)
            to = await self._stack.enter_async_context(self._receiver.incoming_file(self._caller.account))
            await self._receiver.reference(self._caller, url, field, to)
            received.append(to.path)
        return tuple(received)

    def _count(self, path: Path, field: str) -> None:
        """Count a sound. Raises `InputError` where all of them are too large."""
        self._bytes_left -= path.stat().st_size
        if self._bytes_left < 0:
            all_bytes = self._most_bytes - self._bytes_left
            raise InputError(
                f"the sounds of the request have {all_bytes} bytes or more; at most {self._most_bytes} are taken.",
                field=field,
            )

    def _check_time(self, field: str) -> None:
        """Raise `InputError` where the files have taken too long to come."""
        if monotonic() > self._until_s:
            raise InputError(f"the files of the request were not here within {self._most_s} s.", field=field)
