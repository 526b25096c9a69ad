"""Reading the headers of received files in a sandboxed child process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from duikou.errors import MediaError
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.sandbox.messages import InvalidMessageError
from duikou.sandbox.pool import SandboxPool
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.telemetry.traces import traces
from duikou.workers.work import UploadInfo, Work

PROCESSES = 2  # reading headers takes milliseconds; no account has both
LIMITS = Limits(wall_s=30, memory_mb=1024, cpu_s=20, file_mb=0)  # headers that take more are an attack

log = structlog.get_logger(__name__)


class MediaProber:
    """Probes files of accounts, which take turns. Every method raises `MediaError` that names `field`."""

    def __init__(self, work: Work, stopping: threading.Event) -> None:
        self._work = work
        self._pool = SandboxPool("probe", PROCESSES, LIMITS, stopping, preload=work.preload)

    def start(self) -> None:
        """Start the child process."""
        self._pool.start()

    def join(self) -> None:
        """Wait, after the stop was requested, until the child is gone."""
        self._pool.join()

    async def video(self, account: str, path: Path, field: str) -> VideoInfo:
        """The headers of a video."""
        info: VideoInfo = await self._probe(account, self._work.probe_video, path, field)
        return info

    async def audio(self, account: str, path: Path, field: str) -> AudioInfo:
        """The headers of an audio file."""
        info: AudioInfo = await self._probe(account, self._work.probe_audio, path, field)
        return info

    async def reference(self, account: str, path: Path, field: str) -> VideoInfo | None:
        """The headers of a clip; `None` for a photo."""
        info: VideoInfo | None = await self._probe(account, self._work.probe_reference, path, field)
        return info

    async def upload(self, account: str, path: Path, field: str) -> UploadInfo:
        """The type and length of a file of any kind."""
        found: UploadInfo = await self._probe(account, self._work.probe_upload, path, field)
        return found

    async def _probe(self, account: str, function: Callable[..., Any], path: Path, field: str) -> Any:
        with traces.span("probe"):
            found = self._pool.submit(account, function, path, field, allowed=AllowedPaths((path,)))
            try:
                return await asyncio.wrap_future(found)
            except InvalidMessageError as error:  # honest work sends none: the file has taken it over
                log.error("a probe failed", error=repr(error))
                raise MediaError("the file cannot be read; see the server's log.", field=field) from error
