"""Videos of which a part is changed, and the rest is copied from the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import numpy.typing as npt
from h264_rules import check, read_track
from media_maker import Image, make_video, numbered, tone
from pictures import apart

from duikou.media.audio import read_audio
from duikou.media.encode import DELIVERY, PLAIN, Finish, Frames, Quality, VideoWriter
from duikou.media.groups import Stretch
from duikou.media.video import Video

FRAMES, GROUP = 150, 50  # frames of a source, and of a group of pictures in it
_USUAL = {"g": str(GROUP), "preset": "veryfast"}


def moving(number: int, width: int, height: int) -> Image:
    """A numbered picture in which much moves, so that frames refer to each other."""
    image = numbered(number, width, height)
    image[height // 4 :] = np.roll(image[height // 4 :], 3 * number, axis=1)
    return image


QUALIFY: dict[str, dict[str, Any]] = {
    "medium": {"options": {"preset": "medium"}},
    "one_key_frame": {"options": {"g": "1000", "bf": "3"}},
    "many_references": {"options": {"preset": "slower", "bf": "8", "refs": "8"}},
    "no_b_pyramid": {"options": {"bf": "2", "x264-params": "b-pyramid=none"}},
    "strict_b_pyramid": {"options": {"bf": "4", "x264-params": "b-pyramid=strict"}},
    "ultrafast": {"options": {"preset": "ultrafast"}},
    "baseline": {"options": {"profile": "baseline"}},
    "main": {"options": {"profile": "main", "bf": "2"}},
    "cavlc": {"options": {"x264-params": "cabac=0"}},
    "slices": {"options": {"x264-params": "slices=4"}},
    "delimiters": {"options": {"x264-params": "aud=1"}},
    "buffer_model": {"options": {"x264-params": "nal-hrd=vbr:vbv-maxrate=2000:vbv-bufsize=2000"}},
    "other_ids": {"options": {"x264-params": "sps-id=1"}},
    "open_groups": {"options": {"bf": "3", "x264-params": "open-gop=1"}},
    "intra_refresh": {"options": {"x264-params": "intra-refresh=1"}},
    "flat_matrices": {"options": {"x264-params": "cqm=jvt"}},
    "cropped": {"size": (190, 122)},
    "full_range": {"full_range": True, "matrix": 5},
    "untagged": {"tagged": False},
    "ntsc": {"fps": Fraction(30_000, 1_001), "time_base": Fraction(1, 30_000)},
    "uneven": {"pts": [100 * number + 37 * (number % 3) for number in range(FRAMES)], "time_base": Fraction(1, 3_000)},
    "late": {"pts": [507 + 512 * number for number in range(FRAMES)], "sound": tone(440, 6_000)},
}
"""Sources of which something can be copied: fields of `VideoSpec`."""


@dataclass(frozen=True)
class Spliced:
    """A source, a result in which the `changed` (N,) frames are inverted, and what of it was copied."""

    source: Video
    output: Path
    changed: npt.NDArray[np.bool_]
    stretches: tuple[Stretch, ...]

    @property
    def kept(self) -> list[int]:
        """Numbers of the copied frames."""
        return [number for one in self.stretches if one.copied for number in range(one.start, one.stop)]


def make_source(path: Path, **what: Any) -> Video:
    """A video with a key frame every two seconds. what: fields of `VideoSpec`; options are added to the usual ones."""
    options = _USUAL | (what.pop("options", None) or {})
    return Video.open(make_video(path, options=options, **({"frames": FRAMES, "paint": moving} | what)))


def spliced(folder: Path, kind: str, *parts: tuple[int, int]) -> Spliced:
    """A source of `QUALIFY` and its result. parts: the frames that change."""
    return splice(make_source(folder / "source.mp4", **QUALIFY[kind]), folder / "result.mp4", *parts)


def splice(
    source: Video, output: Path, *parts: tuple[int, int], finish: Finish = PLAIN, quality: Quality = DELIVERY
) -> Spliced:
    """Write a result of a source."""
    changed = np.zeros(len(source.frame_times), bool)
    for start, stop in parts:
        changed[start:stop] = True
    audio = read_audio(source.path) if source.info.audio else None
    with VideoWriter(output, source, audio, frames=Frames(changed=changed), quality=quality, finish=finish) as writer:
        for stretch in writer.stretches:
            if stretch.copied:
                writer.keep(stretch)
                continue
            for frame in source.frames(stretch.start, stretch.stop):
                if changed[frame.index]:
                    writer.write(255 - frame.image, frame.pts)
                else:
                    writer.copy(frame)
    return Spliced(source, output, changed, writer.stretches)


def decoded(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every frame that a decoder returns which takes no error: its time and its pixels."""
    with av.logging.Capture() as logs, av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode+crccheck+bitstream+buffer"}
        for frame in file.decode(stream):
            assert frame.pts is not None
            yield frame.pts, frame.to_ndarray().tobytes()
    assert [line for line in logs if line[0] <= av.logging.WARNING] == []


def check_result(made: Spliced) -> None:
    """The result is valid, has the source's packets where it says so, and its frames everywhere else."""
    before, after, times = read_track(made.source.path), read_track(made.output), made.source.frame_times
    check(after)
    numbers = {int(pts) + times.origin: number for number, pts in enumerate(times.pts)}
    packets = {unit.pts: unit.data for unit in after.units}
    copies = {numbers[unit.pts] for unit in before.units if packets.get(unit.pts - times.origin) == unit.data}
    assert copies == set(made.kept)
    assert not made.changed[made.kept].any()
    result = Video.open(made.output)
    np.testing.assert_array_equal(result.frame_times.pts, times.pts)
    assert result.frame_times.last_duration == times.last_duration
    assert result.info.duration_ms == made.source.info.duration_ms
    assert result.picture.alike(made.source.picture)
    was, now = dict(decoded(made.source.path)), dict(decoded(made.output))
    assert len(now) == len(times)
    for number in made.kept:
        pts = int(times.pts[number])
        assert now[pts] == was[pts + times.origin]
    for old, new in zip(made.source.frames(), result.frames(), strict=True):
        expected = 255 - old.image if made.changed[old.index] else old.image
        assert apart(new.image, expected) < 4
