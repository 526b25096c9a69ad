"""How fast one worker on two cores is. `make bench` measures it and writes `paces.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("paces.json")


@dataclass(frozen=True)
class Pace:
    """Seconds of work of a sandboxed worker on two cores for each second of video, start of its child included.

    render: the lip sync of a face that speaks in all of the video, and the signature. identify: finding the faces.
    """

    render: float
    identify: float


def read(file: Path = FILE) -> dict[str, Pace]:
    """The paces by the size of the picture."""
    return {size: Pace(**pace) for size, pace in json.loads(file.read_text()).items()}


def write(paces: Mapping[str, Pace], file: Path = FILE) -> None:
    """Replace the paces, rounded to what a measurement tells."""
    lines = [
        f'  "{size}": {json.dumps({name: round(value, 2) for name, value in asdict(pace).items()})}'
        for size, pace in paces.items()
    ]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


PACES: Final = read()
