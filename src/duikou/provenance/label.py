"""The implicit label of GB 45438-2025: one JSON object under the key `AIGC` in a file's own metadata.

Elements and their characters: annex E of the standard. Its place in an mp4, `moov.udta.meta` with the key in `keys` and
the value in `ilst`: TC260-PG-20257A. FFmpeg writes it there under `use_metadata_tags`, and drops it silently without.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from duikou.errors import InputError
from duikou.media import demux

KEY: Final = "AIGC"
MEANINGS: Final = {
    "1": "AI-generated or synthesized",
    "2": "possibly AI-generated",
    "3": "suspected of being AI-generated",
}
"""What the element `Label` may hold, annex E c)."""

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
    """The seven elements: what the content is, who made it under which number, who spread it under which number."""

    kind: str
    producer: str
    produce_id: str
    reserved_1: str
    propagator: str
    propagate_id: str
    reserved_2: str

    @classmethod
    def first(cls, producer: str, produce_id: str) -> Self:
        """The label of new content: whoever makes it is named as spreading it too (annex E, note 1).

        Raises `InputError` for a producer that the standard's characters cannot write.
        """
        if not _VALUE.fullmatch(producer):
            raise InputError(
                f"{producer!r} is not printable ASCII without spaces, quotes and backslashes.",
                field="aigc_producer",
            )
        return cls("1", producer, produce_id, "", producer, produce_id, "")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The label in a field's text, `None` where it holds none. Takes the form inside another `AIGC` object too."""
        try:
            value = json.loads(text)
        except ValueError:
            return None
        value = value.get(KEY, value) if isinstance(value, dict) else None
        if not isinstance(value, dict) or _ELEMENTS["kind"] not in value:
            return None
        return cls(**{name: str(value.get(element) or "") for name, element in _ELEMENTS.items()})

    @property
    def elements(self) -> dict[str, str]:
        """The values under the standard's own names, in its order."""
        return {_ELEMENTS[name]: value for name, value in asdict(self).items()}

    @property
    def tags(self) -> dict[str, str]:
        """The metadata that a file must carry."""
        return {KEY: json.dumps(self.elements, separators=(",", ":"))}


def read(path: Path, *, field: str = "file") -> Label | None:
    """The label of an mp4 or mov. Raises `MediaError` that names `field` where the file cannot be read."""
    with demux.opened(path, field=field) as (file, _):
        text = file.metadata.get(KEY)
    return None if text is None else Label.parse(text)
