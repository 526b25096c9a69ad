"""Where the volume of a video's own audio applies. Opens no files."""

from __future__ import annotations

from enum import StrEnum

from duikou.errors import InputError


class OriginalScope(StrEnum):
    """Where the volume of the video's own audio applies. speech: while the speech lasts. video: throughout."""

    SPEECH = "speech"
    VIDEO = "video"

    @classmethod
    def of(cls, given: OriginalScope | str) -> OriginalScope:
        """Accept the value of a scope in its place. Raises `InputError` that names `original_scope` for other text."""
        if given in list(cls):
            return cls(given)
        raise InputError(f"{given!r} is not one of {', '.join(cls)}.", field="original_scope")
