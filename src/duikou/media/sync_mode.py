"""What to do with speech that lasts longer than the picture it belongs to."""

from __future__ import annotations

from enum import StrEnum


class SyncMode(StrEnum):
    """What to do where speech lasts longer than the video, or than the face can be seen.

    cut_off: the speech ends with the face's interval. loop: the video starts again from its beginning. bounce: it is
    played backwards, then forwards, and so on. silence: its last frame stands.
    """

    CUT_OFF = "cut_off"
    LOOP = "loop"
    BOUNCE = "bounce"
    SILENCE = "silence"
