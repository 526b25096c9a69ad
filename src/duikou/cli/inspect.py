"""`duikou inspect`: what a file says about its origin, and what of it is copied from its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from duikou.cli.terminal import EXIT_ERROR, AsJson, complain, print_json, print_table, require_file

if TYPE_CHECKING:
    from duikou.media.copied import Copied, CopiedTrack
    from duikou.provenance.credentials import Credentials
    from duikou.provenance.label import Label

MAX_SHOWN: Final = 10  # copied intervals in the table; `--json` has all


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An mp4 or mov file.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show what FILE says about its origin, and what of it is its source's, bit for bit.

    Reads its AIGC label, its Content Credentials and duikou's note of what was copied. The exit status is 1 if it has
    neither label nor credentials, or if its signature does not hold.
    """
    from duikou.media import copied
    from duikou.provenance import credentials, label

    require_file(file, "file")
    signed, labelled, kept = credentials.read(file), label.read(file), copied.read(file)
    if as_json:
        print_json(
            {
                "file": str(file),
                "aigc_label": None if labelled is None else labelled.elements,
                "content_credentials": None if signed is None else asdict(signed),
                "copied": None if kept is None else kept.json,
            }
        )
    elif labelled is not None or signed is not None:
        print_table([*_label_rows(labelled), *_credentials_rows(signed), *_copied_rows(kept)])
    if labelled is None and signed is None:
        complain(f"{file.name} says nothing about its origin: it has neither an AIGC label nor Content Credentials")
        raise typer.Exit(EXIT_ERROR)
    if signed is not None and not signed.intact:
        complain(f"{file.name} was altered after it was signed, or its signature is invalid: {signed.faults[0]}")
        raise typer.Exit(EXIT_ERROR)


def _label_rows(label: Label | None) -> Iterator[tuple[str, str]]:
    from duikou.provenance.label import MEANINGS

    yield "AIGC label", "none" if label is None else MEANINGS.get(label.kind, "of an unknown kind")
    for name, value in ({} if label is None else label.elements).items():
        yield f"  {name}", value or "-"


def _credentials_rows(signed: Credentials | None) -> Iterator[tuple[str, str]]:
    yield "Content Credentials", "none" if signed is None else _validity(signed)
    if signed is None:
        return
    limits = ", which shows that the file is unaltered, but not who made it" if signed.self_signed else ""
    yield "  signed by", ", ".join(filter(None, (signed.signer, signed.issuer))) + limits
    yield "  written by", signed.generator
    yield "  title", signed.title
    if signed.source is not None:
        digest = f", SHA-256 {signed.source.sha256}" if signed.source.sha256 else ""
        yield "  source", signed.source.title + digest
    for action in signed.actions:
        kind = action.source_type.rsplit("/", 1)[-1]
        yield f"  {action.name}", " ".join(filter(None, (action.description, kind and f"[{kind}]")))


def _copied_rows(kept: Copied | None) -> Iterator[tuple[str, str]]:
    if kept is None:
        return
    yield "copied from the source", "bit for bit, without encoding it again"
    yield "  picture", _extent(kept.picture)
    if kept.sound is not None:
        yield "  sound", _extent(kept.sound)


def _extent(track: CopiedTrack) -> str:
    if not track.intervals:
        return "nothing" + (f": {track.reason}" if track.reason else "")
    shown = [f"{one.start_ms} to {one.end_ms} ms" for one in track.intervals[:MAX_SHOWN]]
    more = len(track.intervals) - len(shown)
    return f"{track.share:.0%}: " + ", ".join([*shown, *([f"and {more} more"] if more else [])])


def _validity(signed: Credentials) -> str:
    return "the signature holds" if signed.intact else f"the signature DOES NOT HOLD: {', '.join(signed.faults)}"
