"""Tables of the measures with verdicts: on the terminal, as JSON, and in the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.classifier import ToldApart
from benchmarks.quality.edge import EdgeReport
from benchmarks.quality.inside import PERCENTILES, InsideReport
from benchmarks.quality.lips import LAGS_MS, Agreement
from benchmarks.quality.phones import NONE, Heard, Language
from benchmarks.quality.run import ROWS, FaceReport
from benchmarks.quality.teeth import RANGE, Rigid, TeethReport
from benchmarks.quality.tracks import SetScore
from benchmarks.quality.wider import WiderReport
from benchmarks.tables import Table, markdown, markers, write_between

MARKERS = markers("figures", "make quality")

TIMES_LOUDNESS = 1.3
CLOSURES_MET, PHONES_MET = 0.90, 0.85
SHARPNESS = (0.85, 1.15)
FLICKER = 1.2
COMPARED = ("ours", "loudness only")
FLICKERS = ("light", "mouth", "landmarks")
SEAM = SLIDE = 1.2
SHOWN = 0.8
INSIDE = 0.08
SCALE, STAYS = (0.95, 1.05), 0.01
ROUGH, LEFT = 1.1, 0.05
TOLD = {"talking": 0.60, "idle": 0.75}
SET_R = {"grid": 0.72, "mead_lrs3": 0.55, "talkvid": 0.38, "arabic_news": 0.32}
"""Least mean r(gap) by set. Of all bounds above, those of seam, sliding and hard cases are duikou's own."""


@dataclass(frozen=True)
class Verdict:
    """One bound: what is asked and found, and by how much it is missed (0 or less if it is met)."""

    about: str
    asked: str
    found: str
    short: float

    @property
    def text(self) -> str:
        """The verdict in words."""
        return "met" if self.short <= 0 else f"missed by {self.short:.3g}"


@dataclass(frozen=True)
class Measured:
    """All results of one run. hard: faces of the hard cases. insides: painted mouths against the withheld real ones.
    left_out: (clip, reason) of what cannot be measured. wider: withheld wide openings. edges, teeth, told: of single
    mouths.
    """

    faces: list[FaceReport]
    hard: list[FaceReport]
    insides: list[InsideReport]
    sets: list[SetScore]
    heard: list[Heard]
    languages: list[Language]
    left_out: list[tuple[str, str]]
    wider: list[WiderReport] = field(default_factory=list)
    edges: list[EdgeReport] = field(default_factory=list)
    teeth: list[TeethReport] = field(default_factory=list)
    told: list[ToldApart] = field(default_factory=list)


def tables(found: Measured) -> list[Table]:
    """Every table, the verdicts first."""
    made = [
        _verdict_table(verdicts(found)),
        _rows_table(found.faces),
        _clips_table(found.faces),
        _silence_table(found.faces),
        _picture_table("3. Picture", found.faces),
        _inside_table(found.insides),
        _wider_table(found.wider),
        _teeth_table(found.teeth),
        _edge_table(found.edges),
        _told_table(found.told),
        _sets_table(found.sets),
        _phones_table(found.heard),
        _languages_table(found.languages),
        _hard_table(found.hard),
        _picture_table("5a. Picture of hard cases", found.hard),
        Table("Left out", ["clip", "reason"], [list(one) for one in found.left_out]),
    ]
    return [table for table in made if table.rows]


def verdicts(found: Measured) -> list[Verdict]:
    """The verdicts on all bounds for which there are measures."""
    talking = [face for face in found.faces if face.rows]
    made: list[Verdict] = []
    if talking:
        made += _sync_verdicts(talking)
    if found.heard:
        lips = sum((one.bilabials for one in found.heard), NONE)
        made.append(_at_least("p, b, m in generated speech that close the lips", lips.recall, PHONES_MET))
    if found.languages:
        worst = min(found.languages, key=lambda one: one.r_gap - one.r_loudness)
        text = f"{worst.r_gap:.2f} to {worst.r_loudness:.2f} in {worst.language}"
        made.append(
            Verdict("r(gap) in generated speech, every language", ">= loudness", text, worst.r_loudness - worst.r_gap)
        )
    quiet = [face for face in found.faces if len(face.calm) == 2]
    if quiet:
        ours, real = (_pause_motion(quiet, row) for row in ("ours", "real"))
        made.append(
            Verdict("motion in pauses, eye distances per s", f"<= {real:.4f} (real)", f"{ours:.4f}", ours - real)
        )
    made += _picture_verdicts(found.faces)
    if found.insides:
        distance = float(np.mean([one.distance for one in found.insides]))
        made.append(
            Verdict("inside, painted against real: brightness", f"<= {INSIDE}", f"{distance:.3f}", distance - INSIDE)
        )
    made += _mouth_verdicts(found)
    made += [
        _at_least(f"mean r(gap) on {one.group}", one.r_gap, SET_R[one.group])
        for one in found.sets
        if one.group in SET_R
    ]
    if found.hard:
        shown = {face.name: face.shown for face in found.hard}
        made.append(_each("hard cases: r(gap) shown with the one asked for", shown, SHOWN, 1.0))
        made += [replace(one, about=f"hard cases: {one.about}") for one in _picture_verdicts(found.hard)]
    return made


def write_json(path: Path, found: Measured, about: dict[str, Any]) -> None:
    """Write all measures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = about | {
        "verdicts": [one.__dict__ | {"met": one.short <= 0} for one in verdicts(found)],
        "faces": [_plain(face) for face in found.faces],
        "hard": [_plain(face) for face in found.hard],
        "insides": [one.plain() for one in found.insides],
        "wider": [one.plain() for one in found.wider],
        "teeth": [one.plain() for one in found.teeth],
        "edges": [asdict(one) for one in found.edges],
        "told_apart": [asdict(one) | {"area": one.area} for one in found.told],
        "sets": [one.__dict__ for one in found.sets],
        "heard": [asdict(one) for one in found.heard],
        "languages": [asdict(one) for one in found.languages],
        "left_out": [{"clip": clip, "reason": reason} for clip, reason in found.left_out],
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_between_markers(page: Path, made: Sequence[Table]) -> None:
    """Put the tables between the markers of a page. Raises `ValueError` for a page without markers."""
    write_between(page, MARKERS, "\n\n".join(markdown(table) for table in made))


def _sync_verdicts(talking: list[FaceReport]) -> list[Verdict]:
    ours, loud = (float(np.mean([face.rows[row].r_gap for face in talking])) for row in COMPARED)
    own = [float(np.mean([face.rows[row].r_own_lag for face in talking])) for row in COMPARED]
    asked = TIMES_LOUDNESS * max(loud, 0.0)
    lag, frame = _mean_lag(talking, "ours"), float(np.mean([face.frame_ms for face in talking]))
    met = sum(face.rows["ours"].met for face in talking)
    closures = sum(face.rows["ours"].closures for face in talking)
    bitten = sum(face.rows["ours"].bitten for face in talking)
    labiodentals = sum(face.rows["ours"].labiodentals for face in talking)
    return [
        Verdict(
            f"mean r(gap) of ours, {TIMES_LOUDNESS} times that of loudness only",
            f">= {asked:.3f}",
            f"{ours:.3f} to {loud:.3f}; at each clip's own lag {own[0]:.3f} to {own[1]:.3f}",
            asked - ours,
        ),
        Verdict("best lag of the mean r(gap), ms", f"<= {frame:.0f} (a frame)", f"{lag:+d}", abs(lag) - frame),
        Verdict(
            "lag behind the motion asked for, worst clip, ms",
            f"<= {frame:.0f} (a frame)",
            f"{max((face.behind_ms for face in talking), key=abs):+d}",
            max(abs(face.behind_ms) - face.frame_ms for face in talking),
        ),
        _at_least("closures of the speech that are seen", met / max(closures, 1), CLOSURES_MET),
        _at_least("f and v of the speech that are seen", bitten / max(labiodentals, 1), CLOSURES_MET),
    ]


def _picture_verdicts(faces: list[FaceReport]) -> list[Verdict]:
    pictures = [(face.name, face.picture) for face in faces if face.picture is not None]
    if not pictures:
        return []
    outside = sum(one.outside for _, one in pictures)
    made = [Verdict("pixels changed outside the face", "0", str(outside), float(outside))]
    sharp = {name: one.sharpness if one.flicker else one.sharpness_lips for name, one in pictures}
    made.append(_each("sharpness of the mouth", sharp, *SHARPNESS))
    made.append(_each("slope across the mask's edge", {name: one.seam for name, one in pictures}, 0.0, SEAM))
    moving = [(name, one) for name, one in pictures if one.flicker]
    if moving:
        made += [
            _each(f"flicker of {about}", {name: one.flicker[about] for name, one in moving}, 0.0, FLICKER)
            for about in FLICKERS
        ]
        made.append(_each("sliding of skin and lips", {name: one.slide for name, one in moving}, 0.0, SLIDE))
    return made


def _mouth_verdicts(found: Measured) -> list[Verdict]:
    """Of single mouths."""
    made = []
    made += _teeth_verdicts(found.teeth)
    rough = {one.name: one.ratio for one in found.edges if one.ratio is not None}
    if rough:
        made.append(_each("roughness of the inner lip edge", rough, 0.0, ROUGH))
    if found.edges:
        made.append(_each("marks left beside narrower mouths", {one.name: one.left for one in found.edges}, 0.0, LEFT))
    for one in found.told:
        bound = TOLD[one.group]
        about = f"told apart by a classifier, {one.group}: area under the curve"
        made.append(Verdict(about, f"<= {bound:.2f}", f"{one.area:.2f}", one.area - bound))
    return made


def _teeth_verdicts(teeth: list[TeethReport]) -> list[Verdict]:
    """Scale and place of our teeth. Where real teeth of the same row measure worse, that is the bound."""
    scales, ways = {}, {}
    for one in teeth:
        if one.ours is not None:
            low, high = SCALE if one.real is None else one.real.across[[0, -1]]
            narrow, wide = one.ours.across[[0, -1]]
            name = f"{one.name} {one.row}"
            over = max(min(low, SCALE[0]) - narrow, wide - max(high, SCALE[1]))
            scales[name] = float(over), f"{narrow:.2f} to {wide:.2f}"
            ways[name] = one.ours.away - max(STAYS, 0.0 if one.real is None else one.real.away), f"{one.ours.away:.3f}"
    if not scales:
        return []
    low, high = SCALE
    return [
        _worst(
            f"scale of teeth across, {RANGE[0]} to {RANGE[-1]} %", f"{low:.2f} to {high:.2f}, or as real ones", scales
        ),
        _worst("motion of teeth against skull or jaw", f"<= {STAYS:.2f}, or as real ones", ways),
    ]


def _worst(about: str, asked: str, found: dict[str, tuple[float, str]]) -> Verdict:
    """A bound that every row of teeth must meet. found: by how much each one misses it, and its figure."""
    worst = max(found, key=lambda name: found[name][0])
    broken = sum(over > 0 for over, _ in found.values())
    return Verdict(about, asked, f"{broken} of {len(found)} outside, {worst} {found[worst][1]}", found[worst][0])


def _at_least(about: str, value: float, bound: float) -> Verdict:
    return Verdict(about, f">= {bound:.2f}", f"{value:.3f}", bound - value)


def _each(about: str, values: dict[str, float], least: float, most: float) -> Verdict:
    """A bound that every clip must meet; `short` is that of the worst clip."""
    over = {name: max(least - value, value - most) for name, value in values.items()}
    worst = max(over, key=lambda name: over[name])
    broken = sum(value > 0 for value in over.values())
    asked = f"<= {most:.2f}" if least <= 0 else f"{least:.2f} to {most:.2f}"
    mean = float(np.mean(list(values.values())))
    found = f"{mean:.2f} in the mean; {broken} of {len(values)} outside, {worst} {values[worst]:.2f}"
    return Verdict(about, asked, found, over[worst])


def _mean_lag(talking: list[FaceReport], row: str) -> int:
    """The lag at which the mean r over the clips is highest."""
    mean = np.mean([face.rows[row].by_lag for face in talking if row in face.rows], axis=0)
    return int(LAGS_MS[int(np.argmax(mean))])


def _pause_motion(faces: list[FaceReport], row: str) -> float:
    """Root mean square motion over all pauses."""
    seconds = [face.calm[row].pause_s for face in faces]
    return float(np.sqrt(np.average([face.calm[row].pauses ** 2 for face in faces], weights=seconds)))


def _verdict_table(made: list[Verdict]) -> Table:
    rows = [[one.about, one.asked, one.found, one.text] for one in made]
    return Table("Bounds", ["bound", "asked", "found", "verdict"], rows)


def _rows_table(faces: list[FaceReport]) -> Table:
    """The four rows of the re-enactment as means over the clips."""
    talking = [face for face in faces if face.rows]
    rows = []
    for row in ROWS:
        found = [face.rows[row] for face in talking if row in face.rows]
        if not found:
            continue

        def mean(of: Callable[[Agreement], float], found: list[Agreement] = found) -> str:
            return f"{np.mean([of(one) for one in found]):.3f}"

        met, closures = sum(one.met for one in found), sum(one.closures for one in found)
        lag = f"{_mean_lag(talking, row):+d}"
        recall = f"{met / max(closures, 1):.2f} ({met} of {closures})"
        r = [mean(lambda one: one.r_gap), mean(lambda one: one.r_own_lag), mean(lambda one: one.r_width)]
        rows.append([row, *r, lag, recall, mean(lambda one: one.distance)])
    columns = [
        "mean over clips",
        "r(gap)",
        "at each clip's own lag",
        "r(width)",
        "best lag, ms",
        "closure recall",
        "landmark distance",
    ]
    return Table("1. Re-enactment", columns, rows)


def _clips_table(faces: list[FaceReport]) -> Table:
    """Ours / loudness only / no change, clip by clip."""
    rows = []
    for face in faces:
        if not face.rows:
            continue

        def each(of: Callable[[Agreement], str], face: FaceReport = face) -> str:
            return " / ".join(of(face.rows[row]) if row in face.rows else "-" for row in ROWS[1:])

        real = face.rows["real"]
        rows.append(
            [
                face.name,
                str(face.frames),
                each(lambda one: f"{one.r_gap:.2f}"),
                f"{_ratio(face.heard)} / {face.shown:.2f}",
                each(lambda one: f"{one.r_width:.2f}"),
                f"{face.rows['ours'].lag_ms:+d} / {face.behind_ms:+d}",
                f"{real.met} / " + each(lambda one: str(one.met)) + f" of {real.closures}",
                f"{real.bitten} / " + each(lambda one: str(one.bitten)) + f" of {real.labiodentals}",
                each(lambda one: f"{one.distance:.3f}"),
            ]
        )
    columns = ["clip", "frames", "r(gap)", "heard / shown", "r(width)", "lag", "closures", "f, v", "distance"]
    note = (
        "Ours / loudness only / no change. Heard: r of the gap asked for with the real one; shown: of ours with the "
        "one asked for. Lag: of ours behind the real lips / behind the motion asked for, ms. Closures, and f and v, "
        "that are seen: the real lips' first. Distance: of the lower face's landmarks, in eye distances."
    )
    return Table("1a. Re-enactment by clip", columns, rows, note)


def _inside_table(insides: list[InsideReport]) -> Table:
    rows = []
    for one in insides:
        for (low, high), real, ours in zip(one.gaps, one.real, one.ours, strict=True):
            light = [f"{painted:.2f} / {true:.2f}" for painted, true in zip(ours.light, real.light, strict=True)]
            colours = [
                f"{painted[0]:.2f}, {painted[1]:.2f} / {true[0]:.2f}, {true[1]:.2f}"
                for painted, true in ((ours.bright, real.bright), (ours.dark, real.dark))
            ]
            rows.append([one.name, f"{low:.2f} to {high:.2f}", *light, *colours, f"{one.distance:.3f}"])
    columns = ["clip", "lip gap", *(f"{percent} %" for percent in PERCENTILES), "bright", "dark", "distance"]
    note = (
        "Ours / real. The open mouths of the clip are withheld, so that they are painted. Percentiles of the "
        "brightness between the lips, relative to the cheeks; blue and red relative to green of the brightest and "
        "the darkest tenth; mean distance of the percentiles over the clip."
    )
    return Table("3a. Inside, painted against real", columns, rows, note)


def _wider_table(wider: list[WiderReport]) -> Table:
    rows = [
        [
            one.name,
            str(one.mouths),
            f"{one.gaps[0]:.2f} to {one.gaps[1]:.2f}",
            f"{one.ours:.1f}",
            "-" if one.alike is None else f"{one.alike:.1f}",
        ]
        for one in wider
    ]
    columns = ["clip", "mouths", "lip gap", "ours", "two real ones alike"]
    note = (
        "The widest third of the openings is withheld and asked for. Median difference of the inside's colours from "
        "the real ones at the same moment, in units of L*a*b*; beside it that of two real mouths of nearly the same "
        "shape."
    )
    return Table("3b. Withheld width", columns, rows, note)


def _teeth_table(teeth: list[TeethReport]) -> Table:
    def scales(one: Rigid | None) -> list[str]:
        if one is None:
            return ["-"] * 4
        ranges = (" / ".join(f"{value:.2f}" for value in way) for way in (one.across, one.down))
        return [str(one.rows), *ranges, f"{100 * one.away:.1f} %"]

    rows = [
        [one.name, one.row + (", painted" if one.painted else ""), *scales(one.ours), *scales(one.real)]
        for one in teeth
    ]
    measures = ["rows", "across", "down", "away"]
    columns = ["clip", "teeth", *(f"{name}, {kind}" for kind in ("ours", "real") for name in measures)]
    low, middle, high = RANGE
    note = (
        f"Scale of teeth against the clip's own, {low} / {middle} / {high} %, across and down; median way from where "
        "skull or jaw would hold them, in eye distances. Painted: the clip shows none, so that our own are compared "
        "with each other. The real columns are what the method makes of teeth that never change; downwards it tells "
        "little, because few lines of teeth run across."
    )
    return Table("3c. Rigid teeth", columns, rows, note)


def _edge_table(edges: list[EdgeReport]) -> Table:
    rows = [
        [
            one.name,
            str(one.mouths),
            *("-" if value is None else f"{1000 * value:.2f}" for value in (one.rough_ours, one.rough_real)),
            _ratio(one.ratio),
            f"{one.left:.2f}",
            f"{one.left_real:.2f}",
        ]
        for one in edges
    ]
    columns = ["clip", "mouths", "rough, ours", "rough, real", "ratio", "marks left, ours", "marks left, real"]
    note = (
        "Root mean square distance of the inner lip edge from its smooth course, in thousandths of the eye distance, "
        "of wide openings. Marks: share of mouths with a dark or red mark beside their corners that this person's own "
        "real mouths do not have."
    )
    return Table("3d. Lip edge", columns, rows, note)


def _told_table(told: list[ToldApart]) -> Table:
    rows = []
    for one in told:
        clips = ", ".join(f"{name} {value:.2f}" for name, value in one.by_clip.items())
        rows.append([one.group, f"{one.ours}, {one.real}", f"{one.area:.2f}", clips])
    columns = ["clips", "mouths, ours and real", "area", "by clip"]
    note = (
        "Area under the curve of a classifier that learns mouths of all other clips: 0.5 is chance. Idle: mouths "
        "painted without an open one to go by, against real open ones."
    )
    return Table("3e. Told apart by a classifier", columns, rows, note)


def _silence_table(faces: list[FaceReport]) -> Table:
    rows = []
    for face in faces:
        if len(face.calm) < 2:
            continue
        ours, real = face.calm["ours"], face.calm["real"]
        share = f"{real.share:.2f}" if face.rows else "-"
        rows.append(
            [face.name, f"{ours.pause_s:.1f}", f"{ours.pauses:.3f}", f"{real.pauses:.3f}", f"{ours.share:.2f}", share]
        )
    columns = ["clip", "pauses, s", "ours", "real", "ours / its speech", "real / its speech"]
    note = "Motion of the lips, root mean square, in eye distances per second; then relative to that in speech."
    return Table("2. Silence", columns, rows, note)


def _picture_table(title: str, faces: list[FaceReport]) -> Table:
    rows = []
    for face in faces:
        one = face.picture
        if one is None:
            continue
        slide = one.slide if one.flicker else None  # relative to a mouth that never moves, any motion is too much
        ratios = (one.sharpness, one.sharpness_alike, one.sharpness_lips, one.seam, slide)
        figures = [f"{one.light:.1%}", *(_ratio(ratio) for ratio in (*ratios, *map(one.flicker.get, FLICKERS)))]
        rows.append([face.name, str(one.frames), str(one.outside), *figures])
    columns = ["clip", "frames", "outside", "light off", "sharp", "alike", "lips", "seam", "slide", *FLICKERS]
    note = (
        "Outside: pixels changed outside the lower face. Light off: how far the skin's light is from the source's. The "
        "others are ratios to the source. Sharp: variance of the Laplacian over the mouth's region; alike: beside the "
        "source's most similar mouths; lips: of lips and skin alone, which is what counts where the source never shows "
        "its mouth's inside. Seam: slope of brightness across the mask's edge. Slide: way of skin and lips against "
        "the landmarks from frame to frame. Flicker, second difference over frames: of the skin's light, of the "
        "mouth's mean colour, of landmarks."
    )
    return Table(title, columns, rows, note)


def _hard_table(faces: list[FaceReport]) -> Table:
    rows = []
    for face in faces:
        if "ours" not in face.rows:
            continue
        ours = face.rows["ours"]
        seen = [f"{ours.met} of {ours.closures}", f"{ours.bitten} of {ours.labiodentals}"]
        yaw = "{:.0f} to {:.0f}".format(*face.yaw)
        rows.append([face.name, str(face.frames), yaw, f"{face.shown:.2f}", f"{face.behind_ms:+d}", *seen])
    columns = ["clip", "frames", "yaw, degrees", "r(gap) shown", "lag, ms", "closures", "f, v"]
    note = (
        "Clips of table 1 made hard: turned (60 degrees is the most that is taken), lit from one side, tilted by 30 "
        "degrees, moving fast, far away with lips of 34 pixels. Frames that follow the speech wholly; r and lag of the "
        "result against the motion asked for; closures, and f and v, that are seen."
    )
    return Table("5. Hard cases", columns, rows, note)


def _sets_table(sets: list[SetScore]) -> Table:
    rows = [
        [one.group, str(one.clips), f"{one.r_gap:.3f}", f"{one.r_loudness:.3f}", f"{SET_R[one.group]:.2f}",
         f"{one.r_width:.3f}", f"{one.best_lag_ms:+d}"]
        for one in sets
    ]  # fmt: skip
    columns = ["set", "clips", "r(gap)", "loudness", "asked", "r(width)", "best lag, ms"]
    return Table("4. Speech to motion alone, at one fixed lag", columns, rows)


def _phones_table(heard: list[Heard]) -> Table:
    rows = [
        [one.voice]
        + [text for kind in (one.bilabials, one.labiodentals)
           for text in (str(kind.phones), f"{kind.recall:.2f}", f"{kind.precision:.2f}")]
        for one in heard
    ]  # fmt: skip
    columns = ["voice", "p, b, m", "recall", "precision", "f, v", "recall", "precision"]
    note = (
        "Voices never heard in training. Recall: of p, b and m that close the lips, of f and v that bring the lower "
        "lip to the teeth; precision: of such gestures at one."
    )
    return Table("4a. Closures, f and v in generated speech with known phones", columns, rows, note)


def _languages_table(languages: list[Language]) -> Table:
    rows = [
        [
            one.language,
            f"{one.r_gap:.2f}",
            f"{one.r_loudness:.2f}",
            f"{one.bilabials.recall:.2f} of {one.bilabials.phones}",
        ]
        for one in languages
    ]
    columns = ["language", "r(gap)", "loudness", "p, b, m that close the lips"]
    note = "With the opening that the phones ask for; the same voices."
    return Table("4b. Languages, in generated speech with known phones", columns, rows, note)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _plain(face: FaceReport) -> dict[str, Any]:
    rows = {row: one.__dict__ | {"by_lag": np.round(one.by_lag, 4).tolist()} for row, one in face.rows.items()}
    return {
        "name": face.name,
        "frames": face.frames,
        "yaw": face.yaw,
        "rows": rows,
        "heard": face.heard,
        "shown": face.shown,
        "behind_ms": face.behind_ms,
        "calm": {row: one.__dict__ for row, one in face.calm.items()},
        "picture": None if face.picture is None else face.picture.__dict__,
    }
