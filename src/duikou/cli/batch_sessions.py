"""The faces of videos that several jobs of a batch have in common: each video is uploaded and searched once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from duikou.cli.remote import AnySession
    from duikou.progress import Progress

LIFETIME_S: Final = 12 * 3_600  # a server forgets a session after 24 hours, and a task may wait in its queue


@dataclass
class _Search:
    lock: threading.Lock = field(default_factory=threading.Lock)
    session: AnySession | None = None
    ended_s: float = 0.0


class Sessions:
    """The sessions of the videos that were used last. keep: of how many. Threads may share one."""

    def __init__(self, keep: int) -> None:
        self._keep, self._changing = keep, threading.Lock()
        self._searches: OrderedDict[tuple[Any, ...], _Search] = OrderedDict()

    def identify(self, work: Any, video: Path | str, progress: Progress) -> AnySession:
        """The session of a video, as `work` has found it for this file or finds it now. Raises what `work` raises."""
        key: tuple[Any, ...] = (video,)
        if isinstance(video, Path):
            found = video.stat()
            key = (video, found.st_size, found.st_mtime_ns)
        with self._changing:
            search = self._searches.setdefault(key, _Search())
            self._searches.move_to_end(key)
            while len(self._searches) > self._keep:
                self._searches.popitem(last=False)
        with search.lock:  # whoever comes while another job's search goes on waits for its result
            if search.session is None or monotonic() - search.ended_s > LIFETIME_S:
                search.session, search.ended_s = work.identify(video, progress=progress), monotonic()
        progress("finding faces", 1.0)
        return search.session


@dataclass(frozen=True)
class Shared:
    """The library or a server, which looks for faces only in videos that are not among the sessions."""

    work: Any
    sessions: Sessions

    def identify(self, video: Path | str, *, progress: Progress) -> AnySession:
        """See `duikou.identify`."""
        return self.sessions.identify(self.work, video, progress)

    def lip_sync(self, *arguments: Any, **options: Any) -> Any:
        """See `duikou.lip_sync`."""
        return self.work.lip_sync(*arguments, **options)
