"""Photos (jpeg, png, webp), read with the limits that videos have."""

from __future__ import annotations

from pathlib import Path

from duikou.arrays import Image
from duikou.errors import MediaError
from duikou.media import decode, demux, sniff
from duikou.media.picture import Converter, Picture
from duikou.media.probe import VideoInfo
from duikou.media.video import probe_video


def probe_clip_or_photo(path: Path, *, field: str) -> VideoInfo | None:
    """Describe a video file; `None` for a photo. Raises `MediaError` that names `field` where neither can be read."""
    if sniff.photo(path, field=field) is None:
        sniff.container(path, field=field, formats=(*sniff.PHOTO_DEMUXERS, *sniff.VIDEO_FORMATS))
        return probe_video(path, field=field)
    read(path, field=field)
    return None


def read(path: Path, *, field: str) -> Image:
    """The upright picture (H, W, 3), BGR. Raises `MediaError` that names `field` for anything but a readable photo."""
    kind = sniff.photo(path, field=field)
    if kind is None:
        raise MediaError("the content is not a jpeg, png or webp photo.", field=field)
    with demux.opened_photo(path, kind, field=field) as (file, stream):
        frame = decode.first_frame(file, stream, field=field)
        return Converter(Picture.first(stream, frame)).bgr(frame)
