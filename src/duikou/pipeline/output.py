"""The files that a lip sync writes, and the provenance that they carry."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duikou import digests
from duikou.errors import InputError
from duikou.media import encoders
from duikou.media.encode import DELIVERY, Finish, Frames, VideoWriter
from duikou.media.encoders import Encoder
from duikou.media.sound import Sound
from duikou.media.timeline import Timeline
from duikou.media.unfinished import remove_abandoned
from duikou.media.video import Video
from duikou.pipeline.checks import check_path, check_space
from duikou.provenance import credentials
from duikou.provenance.credentials import Edit
from duikou.provenance.label import Label
from duikou.provenance.producer import Producer, producer, user_folder
from duikou.timebase import Interval


@dataclass(frozen=True)
class Output:
    """Where to write a result, and who is responsible for it.

    path: the mp4 file, by default `NAME.synced.mp4` beside the source. watermark: a second file with a visible mark.
    made_by: who is responsible for the result, by default `duikou` with this user's self-signed certificate.
    produce_id: number of the result in the AIGC label, by default a new one. encoder: an `Encoder` or its value.
    """

    path: Path | None = None
    watermark: Path | None = None
    made_by: Producer | None = None
    produce_id: str = ""
    encoder: Encoder | str = Encoder.X264

    def paths(self, source: Path) -> dict[str, Path]:
        """The files to write for a source, by the name of the parameter. Opens no file."""
        named = {"output": self.path or source.with_name(f"{source.stem}.synced.mp4"), "watermark": self.watermark}
        return {name: path for name, path in named.items() if path is not None}

    def clear(self, source: Path) -> list[Path]:
        """Remove what killed runs have left unfinished in the folders of the files. Returns the files that they missed.

        What a run of now still writes stays.
        """
        paths = self.paths(source).values()
        found = {path.absolute().parent: remove_abandoned(path.absolute().parent) for path in paths}
        return [path for path in paths if path.stem in found[path.absolute().parent]]

    def check(self, source: Path) -> None:
        """Check that the files can be written, before any work.

        Raises `InputError` that names `output`, `watermark` or `encoder`, `StorageError` where the disk has no room.
        """
        encoders.require(self.encoder)
        paths = self.paths(source)
        for name, path in paths.items():
            check_path(path, source, field=name)
        if self.watermark is not None and self.watermark.absolute() == paths["output"].absolute():
            raise InputError(f"{self.watermark.name} is the output itself; choose another name.", field="watermark")
        check_space(list(paths.values()), source)

    @classmethod
    def of(cls, given: str | Path | Output | None) -> Output:
        """Accept a path in place of an output."""
        return given if isinstance(given, Output) else cls(None if given is None else Path(given))


class OutputFiles:
    """The files that one lip sync writes. path: the result. watermark: the file with the visible mark, or `None`.

    Raises `InputError` where a file cannot be written, encoded or labelled, `StorageError` where the disk has no room.
    """

    def __init__(self, source: Video, output: Output) -> None:
        self._source = source
        output.clear(source.path)
        output.check(source.path)
        self.path, self.watermark = output.paths(source.path)["output"], output.watermark
        self._maker = output.made_by or producer(user_folder())
        self._quality = replace(DELIVERY, encoder=output.encoder)
        self._label = Label.first(self._maker.name, output.produce_id or uuid.uuid4().hex)

    def writers(
        self, timeline: Timeline, audio: Sound, spoken: Sequence[tuple[str, Interval]], frames: Frames
    ) -> tuple[VideoWriter, VideoWriter | None]:
        """Writers of the result and of the watermarked file.

        spoken: who speaks when, for the credentials. frames: of the result; all of the watermarked file are encoded.
        """
        source = self._source.path
        digest = "" if self._maker.certificate is None else digests.sha256(source)
        edit = Edit(source, digest, tuple(spoken), added=timeline.added)
        result = self._writer(self.path, frames, audio, edit)
        if self.watermark is None:
            return result, None
        return result, self._writer(self.watermark, Frames(timeline.times), audio, replace(edit, marked=True))

    def _writer(self, path: Path, frames: Frames, audio: Sound, edit: Edit) -> VideoWriter:
        """A writer that labels its file, and signs it unless somebody else does."""
        certificate = self._maker.certificate

        def seal(part: Path, sealed: Path) -> None:
            assert certificate is not None
            credentials.sign(part, sealed, title=path.name, edit=edit, certificate=certificate)

        finish = Finish(self._label.tags, None if certificate is None else seal)
        return VideoWriter(path, self._source, audio, frames=frames, quality=self._quality, finish=finish)
