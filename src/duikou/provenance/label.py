"""The implicit label of GB 45438-2025: one JSON object under the key `AIGC` in a file's metadata.

Annex E of the standard defines the elements and their characters. TC260-PG-20257A defines the place in an mp4:
`moov.udta.meta`, with the key in `keys` and the value in `ilst`. FFmpeg writes it there with `use_metadata_tags`, and
silently drops it without.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from duikou.errors import InputError
from duikou.media import demux, sniff
from duikou.printable import cut

KEY: Final = "AIGC"
MEANINGS: Final = {
    "1": "AI-generated or synthesized",
    "2": "possibly AI-generated",
    "3": "suspected of being AI-generated",
}
"""Values of the element `Label`, annex E c)."""
MAX_CHARACTERS: Final = 1000  # of a value that is read; the longest that the standard has in view are signatures

_ELEMENTS: Final = {
    "kind": "Label",
    "producer": "ContentProducer",
    "produce_id": "ProduceID",
    "reserved_1": "ReservedCode1",
    "propagator": "ContentPropagator",
    "propagate_id": "PropagateID",
    "reserved_2": "ReservedCode2",
}
_VALUE: Final = re.compile(r"[!#-\[\]-~]+")  # annex E j): printable ASCII without space, quote and backslash


@dataclass(frozen=True)
class Label:
    """The seven elements: what the content is, who produced it under which id, who distributed it under which id."""

    kind: str
    producer: str
    produce_id: str
    reserved_1: str
    propagator: str
    propagate_id: str
    reserved_2: str

    @classmethod
    def first(cls, producer: str, produce_id: str) -> Self:
        """The label of new content, whose producer is also its distributor (annex E, note 1).

        Raises `InputError` that names `producer` if it has characters that the standard does not allow.
        """
        if not _VALUE.fullmatch(producer):
            raise InputError(
                f"{producer!r} is not printable ASCII without spaces, quotes and backslashes.", field="producer"
            )
        return cls("1", producer, produce_id, "", producer, produce_id, "")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The label in a metadata value, `None` if it holds none. Also reads a label inside another `AIGC` object.

        Anybody may have written it: values that are neither text nor numbers are empty, and long ones are cut.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        value = value.get(KEY, value) if isinstance(value, dict) else None
        if not isinstance(value, dict) or _ELEMENTS["kind"] not in value:
            return None
        return cls(**{name: _text(value.get(element)) for name, element in _ELEMENTS.items()})

    @property
    def elements(self) -> dict[str, str]:
        """The values under the standard's names, in its order."""
        return {_ELEMENTS[name]: value for name, value in asdict(self).items()}

    @property
    def tags(self) -> dict[str, str]:
        """The metadata to write into a file."""
        return {KEY: json.dumps(self.elements, separators=(",", ":"))}


def _text(value: object) -> str:
    return cut(str(value), MAX_CHARACTERS) if value and isinstance(value, str | int | float) else ""


def read(path: Path, *, field: str = "file") -> Label | None:
    """The label of an mp4 or mov. Raises `MediaError` that names `field` if the file cannot be read."""
    with demux.opened(path, field=field, formats=sniff.VIDEO_FORMATS) as (file, _):
        text = file.metadata.get(KEY)
    return None if text is None else Label.parse(text)
