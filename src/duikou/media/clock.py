"""Decides where time 0 of a file's timeline lies on the clocks of its tracks.

A clip starts with the first thing that it shows or plays, whatever its time stamps are: broadcasts carry the time since
their start, and a part of a longer recording may keep its old time. Picture and sound keep their distance, so a picture
that starts later than the sound stays late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from duikou.media.iso import Edits

PRIMING_S: Final = Fraction(50, 1000)
"""Audio that a codec puts before the first sample: at most 2,112 samples of AAC, which are 48 ms at 44.1 kHz."""
NEAR_S: Final = 1
"""Tracks that start at most this far apart have one clock, even where one ends before the other starts."""


@dataclass(frozen=True)
class Span:
    """The time that a track covers on its own clock, in s.

    reordering: how much later than it is decoded its first frame shows.
    """

    start: Fraction
    end: Fraction
    reordering: Fraction = Fraction(0)

    def starts_near(self, other: Span) -> bool:
        """Whether both tracks start at about the same time."""
        return abs(self.start - other.start) <= NEAR_S


@dataclass(frozen=True)
class Clock:
    """Time 0 of a file on the clocks of its tracks, in s: a time stamp less this is a time on the file's timeline.

    picture: a whole number of the video track's units. sound: the same time, unless the two clocks are unrelated.
    picture_end: where the edit list ends the picture, on the clock of its track; `None` where it does not.
    """

    picture: Fraction = Fraction(0)
    sound: Fraction = Fraction(0)
    picture_end: Fraction | None = None

    @classmethod
    def of_video(cls, picture: Span, sound: Span | None, unit: Fraction, edits: Edits) -> Clock:
        """The clock of a video. unit: of the video track's time stamps, in s. edits: of the file.

        Without exact edit lists, the delays of codecs are part of the time stamps. Sound that starts earlier than the
        picture by no more than these delays does not make the picture late: it is dropped.
        A picture that starts far behind the end of the sound has a clock of its own, and both start at 0. So has sound
        behind the end of the picture, unless an edit list has put it there.
        """
        if sound is None:
            return cls(picture.start, picture.start)
        apart = picture.start >= sound.end or (sound.start >= picture.end and not edits.exact)
        if apart and not picture.starts_near(sound):
            return cls(picture.start, sound.start + (0 if edits.ends else picture.reordering))
        delays = Fraction(0) if edits.exact else picture.reordering + PRIMING_S
        heard = max(sound.start, Fraction(0)) if edits.exact else sound.start  # an edit may begin inside a packet
        start = picture.start if picture.start - heard <= delays else heard
        origin = math.floor(start / unit) * unit
        return cls(origin, origin)

    @classmethod
    def of_audio(cls, sound: Span, edits: Edits) -> Clock:
        """The clock of an m4a. In fragments, which may carry any time, the first sample is at 0."""
        anywhere = edits.fragmented and abs(sound.start) > PRIMING_S
        return cls(sound=sound.start if anywhere else Fraction(0))
