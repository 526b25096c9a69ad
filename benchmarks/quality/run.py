"""Run the product on one clip and take all measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.quality import clips, mouths, picture, sheet
from benchmarks.quality.clips import Take
from benchmarks.quality.engines import Driven, Watched, WatchedRenderer, loudness_motion
from benchmarks.quality.lips import LAGS_MS, NO_LAG, Agreement, Lips, agreement, by_lag, gestures, same_face, tracked
from benchmarks.quality.mouths import OPEN, Filmed, Mouth
from benchmarks.quality.picture import Compared, Picture
from benchmarks.quality.silence import Calm, calm
from duikou import FaceChoice, Session, identify, lip_sync
from duikou.arrays import Float64Array, Image, IntArray
from duikou.engines.base import Engine
from duikou.faces import pose
from duikou.faces.track import Face
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.pipeline.plan import Spoken
from duikou.progress import Progress, scaled
from duikou.render import mesh
from duikou.speech.articulation import articulate
from duikou.speech.motion import MouthMotion

Cells = dict[str, dict[int, Image]]
"""Mouths by name of the strip, then by row of the track."""

WHOLE = 0.99
"""Strength from which a frame follows only the speech."""

ROWS = ("real", "ours", "loudness only", "no change")
STEPS = ("finding faces", "ours", "loudness only", "tracking", "pictures")


@dataclass(frozen=True)
class FaceReport:
    """All measures of one face of one clip. rows: agreement by row of `ROWS`. calm: by row.

    yaw: turn of the head to either side, in degrees (5th and 95th percentile).

    heard: r of the gap that the speech asks for with the real gap. shown: r of the result's gap with the wanted gap.
    behind_ms: its lag behind the wanted gap. These limit how well the result can follow the real lips.

    A clip of a silent person has no truth to agree with: only pauses and pictures are measured.

    mouths: single ones, real and ours, encoded alike: of a talking person with the same gaps.
    """

    name: str
    frames: int
    frame_ms: float
    yaw: tuple[float, float]
    rows: dict[str, Agreement]
    heard: float | None
    shown: float
    behind_ms: int
    calm: dict[str, Calm]
    picture: Picture | None
    mouths: list[Mouth] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """One take, the motion that its speech asks for, the motion of its loudness, and the folder of the sheets.

    again: the given clip once more through the product's encoder, as the result is; not of a hard case, whose mouths
    were never filmed.
    """

    take: Take
    again: Path | None
    asked: MouthMotion
    loud: MouthMotion
    sheets: Path


class UnmeasuredError(Exception):
    """A clip cannot be measured; the text gives the reason."""


@dataclass(frozen=True)
class _Case:
    """One face: its result, its lips by row, when it spoke, and what was painted."""

    name: str
    result: Path
    lips: dict[str, Lips]
    spoken: Spoken
    painted: WatchedRenderer


def measure(take: Take, folder: Path, sheets: Path, progress: Progress, *, talks: bool) -> Iterator[FaceReport]:
    """Run the job on a take and measure each of its faces. talks: whether its real mouth is the truth.

    Raises `UnmeasuredError` with the reason.
    """
    parts = [scaled(progress, n / len(STEPS), (n + 1) / len(STEPS)) for n in range(len(STEPS))]
    parts[0](STEPS[0], 0.0)
    real = identify(take.real)
    given = real if take.given == take.real else identify(take.given)
    pairs = [(face, same_face(face, real.faces)) for face in given.faces]
    faces = [(face, other) for face, other in pairs if other is not None]
    if not faces:
        raise UnmeasuredError("no face is found in both the clip and the clip displaced in time")
    sound = read_audio(take.sound, channels=1)
    asked, loud = (listen(sound.samples[:, 0], sound.rate) for listen in (articulate, loudness_motion))
    again = None if take.clip.altered else clips.unchanged(take.given, take.frames, folder / "again.mp4")
    job = _Job(take, again, asked, loud, sheets)
    watched, ours, other = Watched(), folder / "ours.mp4", folder / "loudness.mp4"
    chosen = [face for face, _ in faces]
    spoken = _sync(given, chosen, take.sound, ours, watched, parts[1])
    if talks:
        _sync(given, chosen, take.sound, other, Driven(loud), parts[2])
    for number, (face, real_face) in enumerate(faces):
        parts[3](STEPS[3], number / len(faces))
        lips = {"real": tracked(take.real, real_face, take.frames), "ours": tracked(ours, face, take.frames)}
        lips["no change"] = tracked(take.given, face, take.frames) if talks else lips["real"]
        if talks:
            lips["source"] = tracked(take.clip.video, real_face, take.frames)
            lips["loudness only"] = tracked(other, face, take.frames)
        name = take.clip.name if len(faces) == 1 else f"{take.clip.name}_{face.id}"
        case = _Case(name, ours, lips, spoken[number], watched.faces[number])
        yield _report(job, case, scaled(parts[4], number / len(faces), (number + 1) / len(faces)))


def _sync(
    given: Session, faces: list[Face], sound: Path, output: Path, engine: Engine, progress: Progress
) -> list[Spoken]:
    choices = [FaceChoice(sound, face.id, original_volume=0.0) for face in faces]
    return list(lip_sync(given, choices, output, engine=engine, progress=progress).spoken)


def _report(job: _Job, case: _Case, progress: Progress) -> FaceReport:
    used = case.spoken.frames[case.spoken.strength > WHOLE]
    rows: dict[str, Agreement] = {}
    if "source" in case.lips:
        found = {row: agreement(case.lips[row], case.lips["source"], used, job.asked) for row in ROWS}
        rows = {row: one for row, one in found.items() if one is not None}
    shown = by_lag(case.lips["ours"].among(used), job.asked)
    pauses = {row: calm(case.lips[row], job.asked) for row in ("real", "ours")}
    return FaceReport(
        name=case.name,
        frames=len(used),
        frame_ms=float(np.median(np.diff(case.spoken.times_ms))),
        yaw=_yaw(case.lips["ours"].among(used)),
        rows=rows,
        heard=float(by_lag(case.lips["source"].among(used), job.asked)[NO_LAG]) if "source" in case.lips else None,
        shown=float(shown[NO_LAG]),
        behind_ms=int(LAGS_MS[int(np.argmax(shown))]),
        calm={row: one for row, one in pauses.items() if one is not None},
        picture=_pictures(job, case, progress),
        mouths=_mouths(job, case, used),
    )


def _mouths(job: _Job, case: _Case, used: IntArray) -> list[Mouth]:
    """Mouths of the result and of the given clip; of an idle face mostly open ones, and a few of its own."""
    if job.again is None:
        return []
    ours, given = (case.lips[row].among(used) for row in ("ours", "no change"))
    if "source" in case.lips:
        chosen = mouths.alike(ours, given)
    else:
        is_open = ours.gap > OPEN
        chosen = (
            np.union1d(mouths.evenly(ours.frames[is_open]), mouths.evenly(ours.frames[~is_open], mouths.FEW)),
            mouths.evenly(given.frames, mouths.FEW),
        )
    videos = (Filmed(job.take.clip.name, case.name, case.result, ours, ours=True),
              Filmed(job.take.clip.name, case.name, job.again, given, ours=False))  # fmt: skip
    return [mouth for video, frames in zip(videos, chosen, strict=True) for mouth in mouths.cut(video, frames)]


def _yaw(lips: Lips) -> tuple[float, float]:
    turned = np.abs(pose.fit(lips.track.landmarks).degrees[:, 0])
    return float(np.percentile(turned, 5)), float(np.percentile(turned, 95))


def _pictures(job: _Job, case: _Case, progress: Progress) -> Picture | None:
    """Measure the painted frames and write the sheet."""
    given, ours = case.lips["no change"], case.lips["ours"]
    common = np.intersect1d(np.intersect1d(given.frames, ours.frames), list(case.painted.changes_made))
    if not len(common):
        return None
    before, after = given.among(common), ours.among(common)
    strips = {
        "most different mouths": sheet.different(after.gap, after.width),
        "frames that follow each other": _restless_run(after),
    }
    wanted = set(np.concatenate(list(strips.values())).tolist())
    frames, cells = _compared(job.take, case, before, after, wanted, progress)
    cells["real"] = _real_cells(job.take, case, {int(common[row]): row for row in wanted})
    _write_sheet(job, case, after, strips, cells)
    found = picture.summary(frames, *(np.stack([lips.gap, lips.width], 1) for lips in (before, after)))
    if "source" not in case.lips:
        return found
    return replace(found, flicker=picture.flickers(frames, common) | {"landmarks": _lips_flicker(case, common)})


def _compared(
    take: Take, case: _Case, before: Lips, after: Lips, wanted: set[int], progress: Progress
) -> tuple[list[Compared], Cells]:
    """Compare each frame that both tracks have with its source; also the mouths of the rows `wanted`."""
    cells: Cells = {"given": {}, "ours": {}}
    found: list[Compared] = []
    row_of = {int(frame): row for row, frame in enumerate(before.frames)}
    last: tuple[int, Image, Image] | None = None
    for frame in decode.frames(take.given, stop=take.frames):
        row = row_of.get(frame.index)
        if row is None:
            continue
        progress(STEPS[4], row / len(row_of))
        own, new = frame.image, case.painted.changes_made[frame.index].on(frame.image)
        was, now = _points(before, row), _points(after, row)
        compared = picture.measure(own, new, was, now)
        if last is not None and last[0] == frame.index - 1:
            slides = (
                picture.slide((last[1], own), (_points(before, row - 1), was)),
                picture.slide((last[2], new), (_points(after, row - 1), now)),
            )
            compared = replace(compared, slide=slides)
        found.append(compared)
        last = frame.index, own, new
        if row in wanted:
            cells["given"][row] = sheet.mouth(own, was)
            cells["ours"][row] = sheet.mouth(new, now)
    return found, cells


def _points(lips: Lips, row: int) -> Float64Array:
    return lips.track.landmarks[row, :, :2].astype(np.float64)


def _lips_flicker(case: _Case, used: IntArray) -> float:
    """Second difference of the lower face's unsmoothed landmarks in the result, relative to the real clip's."""
    moved = list(mesh.MOVED)
    found = []
    for row in ("ours", "real"):
        lips = case.lips[row].among(used)
        found.append(picture.flicker(lips.raw[:, moved, :2], lips.frames))
    return found[0] / max(found[1], 1e-9)


def _restless_run(lips: Lips) -> IntArray:
    """Rows of consecutive frames around the most abrupt motion of the mouth."""
    second = np.abs(np.diff(lips.gap, 2))
    middle = int(np.argmax(second)) + 1 if len(second) else 0
    first = int(np.clip(middle - sheet.COLUMNS // 2, 0, max(len(lips.frames) - sheet.COLUMNS, 0)))
    return np.arange(first, min(first + sheet.COLUMNS, len(lips.frames)))


def _real_cells(take: Take, case: _Case, wanted: dict[int, int]) -> dict[int, Image]:
    """Mouths of the real clip. wanted: row by frame number."""
    real = case.lips["real"]
    row_of = {int(frame): row for row, frame in enumerate(real.frames)}
    return {
        wanted[frame.index]: sheet.mouth(frame.image, _points(real, row_of[frame.index]))
        for frame in decode.frames(take.clip.video, stop=take.frames)
        if frame.index in wanted and frame.index in row_of
    }


def _write_sheet(job: _Job, case: _Case, ours: Lips, rows: dict[str, IntArray], cells: Cells) -> None:
    blank = np.full((sheet.CELL, sheet.CELL, 3), sheet.PAPER, np.uint8)
    strips = []
    for about, chosen in rows.items():
        times = ", ".join(str(ms) for ms in ours.track.times_ms[chosen])
        for name in ("real", "given", "ours"):
            title = f"{name}: {about}" + (f" ({times} ms)" if name == "real" else "")
            strips.append(sheet.Strip(title, [cells[name].get(int(row), blank) for row in chosen]))
    times_s = ours.track.times_ms / 1000
    real = case.lips["real"]
    curves = {
        "real gap": np.interp(times_s, real.track.times_ms / 1000, real.gap),
        "gap of ours": ours.gap,
        "gap asked for": job.asked.at(times_s)[:, 0].astype(np.float64),
        "loudness": job.loud.at(times_s)[:, 0].astype(np.float64),
    }
    plot = sheet.Plot(times_s, curves, gestures(job.asked, "closure"))
    sheet.write(job.sheets / f"{case.name}.png", case.name, strips, plot)
