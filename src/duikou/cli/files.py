"""The files that a command reads and writes: told apart by their content, before any work."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Final
from urllib.parse import unquote, urlsplit

import typer

from duikou.cli.terminal import require_file
from duikou.errors import InputError, MediaError
from duikou.printable import printable

STILL_S: Final = 10  # length of the video that the remedy for a picture makes


def is_url(text: str) -> bool:
    """Whether a text is an http or https URL in place of a path."""
    return text.lower().startswith(("http://", "https://"))


def video_of(text: str, server: str | None, field: str) -> Path | str:
    """The path of a video, or its URL if a server does the work. Raises `InputError` that names `field`."""
    if not is_url(text):
        return Path(text)
    if not server:
        raise InputError("a URL needs --server, which fetches the video; or download it first.", field=field)
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if not host:
        raise InputError(f"{text} is no URL: it names no host.", field=field)
    return text


def named(video: Path | str) -> Path:
    """The path of a video; of a URL the last part of its path, as a file in this folder."""
    if isinstance(video, Path):
        return video
    return Path(Path(unquote(urlsplit(video).path).replace("\0", "")).name or "video.mp4")


def default_output(video: Path | str) -> Path | None:
    """Where the result of a video at a URL goes; `None` for a file, beside which the library puts it."""
    return None if isinstance(video, Path) else Path(f"{named(video).stem}.synced.mp4")


def require_video(path: Path, field: str) -> None:
    """Raise `InputError` that names `field` unless the file begins as an mp4 or mov. The text says how to make one."""
    from duikou.media import sniff

    require_file(path, field)
    content = sniff.describe(path, field=field)
    if content.container in sniff.VIDEO_FORMATS:
        return
    reason = f"{path.name} is {content.words}; a video must be mp4 or mov."
    source, target = quote(str(path)), quote(str(path.with_name(f"{path.stem}.mp4")))
    if content.words == "a picture":
        still = f"ffmpeg -loop 1 -i {source} -t {STILL_S} -r 25 -vf 'pad=ceil(iw/2)*2:ceil(ih/2)*2' -pix_fmt yuv420p"
        reason += f" To make one of {STILL_S} s: {still} {target}"
    elif content.words.endswith("video"):
        reason += f" To make one: ffmpeg -i {source} -pix_fmt yuv420p {target}"
    raise InputError(reason, field=field)


def require_sound(path: Path, field: str) -> None:
    """Raise `InputError` that names `field` unless the file is an mp3, wav, m4a or aac file.

    Also takes an mp4 without a picture: some programs write sound so. The text says how to make one.
    """
    from duikou.media import probe, sniff

    require_file(path, field)
    content = sniff.describe(path, field=field)
    if content.container in sniff.AUDIO_FORMATS:
        return
    if content.container is not None:
        try:
            probe.probe_audio(path, field=field)
            return
        except MediaError as error:
            if "is a video" not in error.reason:
                raise
    reason = f"{path.name} is {content.words}; speech must be mp3, wav, m4a or aac."
    if content.words.endswith(("audio", "video")):
        source, target = quote(str(path)), quote(str(path.with_suffix(".wav")))
        reason += f" To make one: ffmpeg -i {source} -vn {target}"
    raise InputError(reason, field=field)


def require_ours(path: Path, field: str, producer: str, *, ask: bool = True) -> None:
    """Ask before a file is overwritten that duikou has not made; without a terminal raise `InputError`.

    producer: the name in the AIGC label of this user's results. ask: whether to ask at a terminal.
    """
    if not path.is_file() or made_by_duikou(path, producer):
        return
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        if typer.confirm(printable(f"{path} exists, and duikou has not made it. Overwrite it?"), err=True):
            return
        raise InputError(f"{path} is kept; choose another name.", field=field)
    raise InputError(f"{path} exists, and duikou has not made it; --force overwrites it.", field=field)


def made_by_duikou(path: Path, producer: str) -> bool:
    """Whether a file has the AIGC label of this producer, or Content Credentials that duikou wrote."""
    from duikou.provenance import credentials, label

    try:
        labelled = label.read(path)
        if labelled is not None and labelled.producer == producer:
            return True
        signed = credentials.read(path)
    except MediaError:
        return False
    return signed is not None and signed.generator.startswith("duikou")
