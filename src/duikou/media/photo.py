"""Reads photos (jpeg, png, webp) with the limits that videos have."""

from __future__ import annotations

from pathlib import Path

from duikou.arrays import Image
from duikou.errors import MediaError
from duikou.media import decode, demux, sniff
from duikou.media.picture import Converter, Picture


def read(path: Path, *, field: str) -> Image:
    """The upright picture (H, W, 3), BGR. Raises `MediaError` that names `field` for anything but a readable photo."""
    kind = sniff.photo(path, field=field)
    if kind is None:
        raise MediaError("the content is not a jpeg, png or webp photo.", field=field)
    with demux.opened_photo(path, kind, field=field) as (file, stream):
        frame = decode.first_frame(file, stream, field=field)
        return Converter(Picture.of(stream, frame)).bgr(frame)
