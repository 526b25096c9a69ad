"""Content Credentials: a signed C2PA manifest in a result that names the source and the edit. Nothing uses the network.

Manifest and actions: C2PA 2.x. Source type: the IPTC's `compositeWithTrainedAlgorithmicMedia`, a recording in which
a trained model made a part.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final

import c2pa

from duikou.errors import InputError, MediaError, StorageError
from duikou.media import sniff
from duikou.printable import cut
from duikou.provenance.certificates import SELF_SIGNED_NAMES, Certificate
from duikou.timebase import Interval

SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHETIC: Final = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"

_MIME: Final = {"mp4": "video/mp4", "mov": "video/quicktime"}
_PARENT: Final = "source"  # the ingredient's name in actions
_HASH_NAME: Final = "nih:sha-256;"  # RFC 6920: a name made of a digest
_SETTINGS: Final = {
    "core": {
        # By default a video is held in memory twice. Hashed in blocks and stored in temporary files, signing 200 MB
        # takes 5 MB of memory instead of 380.
        "merkle_tree_chunk_size_in_kb": 1024,
        "backing_store_memory_threshold_in_mb": 8,
        "allowed_network_hosts": [],
    },
    "verify": {
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
        "verify_trust": False,  # there is no list of trusted signers; `inspect` shows who signed
        "verify_timestamp_trust": False,
        "verify_after_sign": False,  # would read the video again
    },
    "builder": {
        "thumbnail": {"enabled": False},
        "actions": {f"auto_{name}_action": {"enabled": False} for name in ("created", "opened", "placed")},
    },
}
MAX_CHARACTERS: Final = 1000  # of a text that is read; the rest is cut
MAX_REASON: Final = 200  # characters of what C2PA says of a manifest that it cannot read
MAX_ACTIONS: Final = 1000  # that are read; the rest is left out
MAX_FAULTS: Final = 100  # the same
_TRIAL: Final = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>'


@dataclass(frozen=True)
class Edit:
    """What a lip sync did.

    source: the original video. source_sha256: its digest in hex. faces: ids of the faces that speak, and when; an empty
    id is the most visible face. marked: whether a visible mark was drawn. added: the part by which the video was
    lengthened with its own frames, and the sync mode.
    """

    source: Path
    source_sha256: str
    faces: tuple[tuple[str, Interval], ...]
    marked: bool = False
    added: tuple[Interval, str] | None = None


@dataclass(frozen=True)
class Asked:
    """A signer whose private key another process holds. algorithm: C2PA's name. chain: of certificates, in PEM.

    signature: called with the bytes to sign, for the signature in the form of `Certificate.signature`.
    """

    algorithm: str
    chain: bytes
    signature: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Source:
    """What a manifest says about the edited file; `sha256` is empty unless duikou wrote the manifest."""

    title: str
    sha256: str


@dataclass(frozen=True)
class Action:
    """One step of an edit: C2PA's name for it, its description, and the IPTC's source type."""

    name: str
    description: str
    source_type: str


@dataclass(frozen=True)
class Credentials:
    """What a file's active manifest says.

    intact: whether the signature is valid and the file unchanged. faults: C2PA's codes of what is wrong.
    signer, issuer: of the certificate. self_signed: whether it is one that nobody vouches for.
    generator: the program. source: the edited file, if the manifest names one.
    """

    intact: bool
    faults: tuple[str, ...]
    signer: str
    issuer: str
    self_signed: bool
    generator: str
    title: str
    source: Source | None
    actions: tuple[Action, ...]


def check(certificate: Certificate) -> None:
    """Make a trial signature. Raises `InputError` that names `certificate` or `key` if results could not be signed."""
    with _signer(certificate) as signer, _context() as context:
        created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + "algorithmicMedia"}
        manifest = json.dumps(_manifest("trial.svg", [created]))
        try:
            with c2pa.Builder.from_json(manifest, context) as builder:
                builder.sign(signer, "image/svg+xml", io.BytesIO(_TRIAL), io.BytesIO())
        except c2pa.C2paError as error:
            raise _refused(certificate, str(error)) from error


def sign(video: Path, signed: Path, *, title: str, edit: Edit, certificate: Certificate | Asked) -> None:
    """Write `video`, a finished mp4, with its manifest to `signed`.

    Raises `StorageError` if it cannot be written, `InputError` if the certificate cannot sign.
    """
    with _signer(certificate) as signer, _context() as context:
        try:
            with _builder(title, edit, context) as builder, video.open("rb") as file, signed.open("w+b") as target:
                builder.sign(signer, _MIME["mp4"], file, target)
                target.flush()
        except c2pa.C2paError.Io as error:
            raise StorageError(f"{title} cannot be signed: {error}.") from error
        except c2pa.C2paError as error:
            raise _refused(certificate, str(error)) from error


def read(path: Path, *, field: str = "file") -> Credentials | None:
    """What the manifest in an mp4 or mov says, `None` if there is none.

    Raises `MediaError` that names `field` for other kinds of file and for a manifest that cannot be read.
    """
    name = sniff.container(path, field=field, formats=sniff.VIDEO_FORMATS)
    if name not in _MIME:
        raise MediaError(f"the content is {name}; only mp4 and mov files are read for their origin.", field=field)
    try:
        with _context() as context, path.open("rb") as file:
            reader = c2pa.Reader.try_create(_MIME[name], file, context=context)
            if reader is None:
                return None
            with reader:
                return _credentials(reader)
    except (c2pa.C2paError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = cut(str(error), MAX_REASON)
        raise MediaError(f"the Content Credentials cannot be read ({reason}).", field=field) from error


def _credentials(reader: c2pa.Reader) -> Credentials:
    manifest = _object(reader.get_active_manifest())
    signature = _object(manifest.get("signature_info"))
    generator = next(_objects(manifest.get("claim_generator_info")), {})
    parents = [one for one in _objects(manifest.get("ingredients")) if one.get("relationship") == "parentOf"]
    actions = (
        Action(_text(one.get("action")), _text(one.get("description")), _text(one.get("digitalSourceType")))
        for assertion in _objects(manifest.get("assertions"))
        if _text(assertion.get("label")).startswith("c2pa.actions")
        for one in _objects(_object(assertion.get("data")).get("actions"))
    )
    faults, issuer = _faults(reader), _text(signature.get("issuer"))
    return Credentials(
        intact=not faults,
        faults=faults,
        signer=_text(signature.get("common_name")),
        issuer=issuer,
        self_signed=issuer in SELF_SIGNED_NAMES,
        generator=" ".join(filter(None, (_text(generator.get("name")), _text(generator.get("version"))))),
        title=_text(manifest.get("title")),
        source=_source(parents[0]) if parents else None,
        actions=tuple(islice(actions, MAX_ACTIONS)),
    )


def _source(ingredient: dict[str, Any]) -> Source:
    name = _text(ingredient.get("instance_id"))
    return Source(_text(ingredient.get("title")), name.removeprefix(_HASH_NAME) if name.startswith(_HASH_NAME) else "")


def _faults(reader: c2pa.Reader) -> tuple[str, ...]:
    active = _object(_object(reader.get_validation_results()).get("activeManifest"))
    failures = islice(_objects(active.get("failure")), MAX_FAULTS)
    codes = tuple(_text(fault.get("code")) or "invalid" for fault in failures)
    return codes or (() if reader.get_validation_state() in ("Valid", "Trusted") else ("invalid",))


def _object(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one: anybody may have written a manifest, of any shape."""
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def _text(value: object) -> str:
    return cut(value, MAX_CHARACTERS) if isinstance(value, str) else ""


def _builder(title: str, edit: Edit, context: c2pa.Context) -> c2pa.Builder:
    """A manifest of the edit, ready for signing. It includes the source's own manifest, so that no history is lost."""
    manifest = _manifest(title, _actions(edit))
    ingredient = {
        "title": edit.source.name,
        "relationship": "parentOf",
        "instance_id": _HASH_NAME + edit.source_sha256,
        "label": _PARENT,
    }
    kind = _MIME[sniff.container(edit.source, field="video")]
    builder = c2pa.Builder.from_json(json.dumps(manifest), context)
    try:
        with edit.source.open("rb") as file:
            builder.add_ingredient(json.dumps(ingredient), kind, file)
    except c2pa.C2paError:  # a source that C2PA cannot read is still named
        builder.close()
        manifest["ingredients"] = [ingredient | {"format": kind}]
        builder = c2pa.Builder.from_json(json.dumps(manifest), context)
    return builder


def _manifest(title: str, actions: list[dict[str, Any]]) -> dict[str, Any]:
    data = {"actions": actions, "allActionsIncluded": True}
    return {
        "claim_generator_info": [_agent()],
        "title": title,
        "assertions": [{"label": "c2pa.actions.v2", "data": data}],
    }


def _actions(edit: Edit) -> list[dict[str, Any]]:
    common = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "softwareAgent": _agent()}
    regions = [
        {
            "description": _named(face),
            "region": [
                {"type": "temporal", "time": {"type": "npt", "start": _npt(when.start_ms), "end": _npt(when.end_ms)}}
            ],
        }
        for face, when in edit.faces
    ]
    times = "; ".join(f"{_named(face)}, {_npt(when.start_ms)} to {_npt(when.end_ms)} s" for face, when in edit.faces)
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}},
        {
            "action": "c2pa.edited",
            "description": f"Lip sync: mouths were changed to match other speech ({times}).",
            "digitalSourceType": SYNTHETIC,
            "changes": regions,
        },
        {"action": "c2pa.dubbed", "description": f"Speech was inserted ({times}).", "changes": regions},
    ]
    if edit.added is not None:
        part, how = edit.added
        seconds = f"{_npt(part.start_ms)} to {_npt(part.end_ms)} s"
        description = f"The video was lengthened with its own frames ({how}, {seconds})."
        actions.insert(1, {"action": "c2pa.edited", "description": description})
    if edit.marked:
        actions.append({"action": "c2pa.addedText", "description": "A visible mark says that AI was used."})
    return [common | action for action in actions]


def _named(face: str) -> str:
    return f"face {face}" if face else "the most visible face"


def _npt(ms: int) -> str:
    """Normal play time of RFC 2326, in seconds."""
    return f"{ms / 1000:.3f}"


def _agent() -> dict[str, str]:
    return {"name": "duikou", "version": version("duikou")}


def _signer(certificate: Certificate | Asked) -> c2pa.Signer:
    # No time-stamping authority: that would need the network.
    try:
        if isinstance(certificate, Asked):
            kind = c2pa.C2paSigningAlg[certificate.algorithm.upper()]
            return c2pa.Signer.from_callback(certificate.signature, kind, certificate.chain.decode())
        algorithm, chain, key = certificate.load()
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm.encode(), chain, key, None))
    except c2pa.C2paError as error:
        raise _refused(certificate, str(error)) from error


def _context() -> c2pa.Context:
    return c2pa.Context.from_dict(_SETTINGS)


def _refused(certificate: Certificate | Asked, reason: str) -> InputError:
    name = certificate.chain if isinstance(certificate, Certificate) else "the certificate"
    return InputError(f"{name} cannot sign Content Credentials ({reason}).", field="certificate")
