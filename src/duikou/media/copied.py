"""What a result says of the packets that it has from its source, bit for bit.

It is one JSON object under the key `duikou.copied` in the file's metadata (`moov.udta.meta`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from duikou.media import demux, sniff
from duikou.printable import cut
from duikou.timebase import Interval
from duikou.units import DAY_MS

KEY: Final = "duikou.copied"
MAX_INTERVALS: Final = 10_000  # that are read; the rest is left out
MAX_REASON: Final = 200  # characters of a reason that is read; the rest is cut


@dataclass(frozen=True)
class CopiedTrack:
    """What is copied of one track.

    intervals: on the result's timeline, in order. share: of the frames, or of the packets of sound, 0 to 1.
    reason: why nothing is copied; empty if something is.
    """

    intervals: tuple[Interval, ...] = ()
    share: float = 0.0
    reason: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """The values in JSON's types."""
        pairs = [[one.start_ms, one.end_ms] for one in self.intervals]
        return {"intervals_ms": pairs, "share": round(self.share, 4), "reason": self.reason}

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `json`. Anybody may have written it: what makes no sense is left out, and the rest is cut."""
        given: dict[str, Any] = value if isinstance(value, dict) else {}
        pairs, share, reason = given.get("intervals_ms"), given.get("share"), given.get("reason")
        read = [_interval(pair) for pair in pairs[:MAX_INTERVALS]] if isinstance(pairs, list) else []
        return cls(
            tuple(one for one in read if one is not None),
            float(share) if isinstance(share, int | float) and 0 <= share <= 1 else 0.0,
            cut(reason, MAX_REASON) if isinstance(reason, str) else "",
        )


def _interval(pair: object) -> Interval | None:
    match pair:
        case [int(start), int(end)] if 0 <= start < end <= DAY_MS:
            return Interval(start, end)
    return None


@dataclass(frozen=True)
class Copied:
    """What is copied of each track. sound: `None` where the result has none."""

    picture: CopiedTrack
    sound: CopiedTrack | None = None

    @property
    def json(self) -> dict[str, Any]:
        """The values in JSON's types."""
        return {"picture": self.picture.json, "sound": None if self.sound is None else self.sound.json}

    @property
    def tags(self) -> dict[str, str]:
        """The metadata to write into a file."""
        return {KEY: json.dumps(self.json, separators=(",", ":"))}

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a value of `tags`; `None` if it is none."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict) or "picture" not in value:
            return None
        sound = value.get("sound")
        return cls(CopiedTrack.parse(value["picture"]), None if sound is None else CopiedTrack.parse(sound))


def read(path: Path, *, field: str = "file") -> Copied | None:
    """What an mp4 or mov says of it. Raises `MediaError` that names `field` if the file cannot be read."""
    with demux.opened(path, field=field, formats=sniff.VIDEO_FORMATS) as (file, _):
        text = file.metadata.get(KEY)
    return None if text is None else Copied.parse(text)
