"""Signing outside the cage: a caged process reads the files and asks, the parent signs claims of these files alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hostile_work
import pytest
from certificate_maker import OWNER, Key, make_certificate
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from media_maker import make_video, tone

from duikou import digests
from duikou.errors import InputError, StorageError
from duikou.provenance import credentials
from duikou.provenance.certificates import Certificate
from duikou.provenance.credentials import Asked, Edit
from duikou.provenance.notary import Notary
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import Limits
from duikou.timebase import Interval
from duikou.workers import work
from duikou.workers.work import SignJob

FACES = (("0", Interval(100, 600)),)
KEYS: dict[str, Key] = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.fixture(scope="module")
def worker() -> Iterator[SandboxProcess]:
    worker = SandboxProcess(Limits(wall_s=120, memory_mb=2048), threading.Event(), preload=work.__name__)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("source") / "clip.mp4", sound=tone(220, 1_000))


@pytest.fixture
def results(source: Path, tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "attempt"
    folder.mkdir()
    paths = folder / "result.mp4", folder / "marked.mp4"
    for path in paths:
        path.write_bytes(source.read_bytes())
    return paths


def job(source: Path, results: tuple[Path, Path], certificate: Certificate) -> SignJob:
    added = Interval(1_000, 1_500), "loop"
    return SignJob(source, ((results[0], False), (results[1], True)), FACES, added, *certificate.public())


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_signs_for_a_child_that_does_not_have_it(
    worker: SandboxProcess, source: Path, results: tuple[Path, Path], tmp_path: Path, kind: str
) -> None:
    certificate = make_certificate(tmp_path / "own", KEYS[kind])
    order = job(source, results, certificate)
    notary = Notary(certificate, [path.name for path in results])
    worker.run(work.sign, order, allowed=order.allowed_paths, answer=notary.sign)
    for path in results:
        found = credentials.read(path)
        assert found is not None
        assert (found.intact, found.signer, found.title, found.faults) == (True, OWNER, path.name, ())
        assert found.source == credentials.Source("clip.mp4", digests.sha256(source))
        names = ["c2pa.opened", "c2pa.edited", "c2pa.edited", "c2pa.dubbed"]
        assert [one.name for one in found.actions] == names + (["c2pa.addedText"] if path == results[1] else [])
        assert "face 0, 0.100 to 0.600 s" in found.actions[2].description
    assert sorted(path.name for path in results[0].parent.iterdir()) == ["marked.mp4", "result.mp4"]


def test_a_source_with_credentials_keeps_its_history(
    worker: SandboxProcess, source: Path, results: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "own")
    signed = tmp_path / "signed.mp4"
    edit = Edit(source, digests.sha256(source), FACES)
    credentials.sign(source, signed, title="signed.mp4", edit=edit, certificate=certificate)
    order = job(signed, results, certificate)
    worker.run(
        work.sign, order, allowed=order.allowed_paths, answer=Notary(certificate, ["result.mp4", "marked.mp4"]).sign
    )
    found = credentials.read(results[0])
    assert found is not None
    assert found.intact
    assert found.source is not None
    assert found.source.title == "signed.mp4"


def test_what_is_no_video_is_not_signed(
    worker: SandboxProcess, source: Path, results: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "own")
    order = job(source, results, certificate)
    results[0].write_bytes(b"no video")
    with pytest.raises((InputError, StorageError), match="sign"):
        worker.run(work.sign, order, allowed=order.allowed_paths, answer=Notary(certificate, ["result.mp4"]).sign)
    assert results[0].read_bytes() == b"no video"


@pytest.fixture(scope="module")
def claim(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, bytes]:
    """A certificate, and what C2PA asks to be signed for `result.mp4`."""
    folder = tmp_path_factory.mktemp("claim")
    certificate, asked = make_certificate(folder), list[bytes]()

    def signature(content: bytes) -> bytes:
        asked.append(content)
        return certificate.signature(content)

    edit = Edit(source, digests.sha256(source), FACES)
    signer = Asked(*certificate.public(), signature)
    credentials.sign(source, folder / "signed.mp4", title="result.mp4", edit=edit, certificate=signer)
    (content,) = asked
    return certificate, content


def test_a_claim_is_signed_once(claim: tuple[Certificate, bytes]) -> None:
    certificate, content = claim
    notary = Notary(certificate, ["result.mp4", "marked.mp4"])
    assert notary.sign(content)
    with pytest.raises(InputError, match="of no file that is left to sign"):
        notary.sign(content)


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "other title": lambda content: content.replace(b"result.mp4", b"report.pdf"),
    "other program": lambda content: content.replace(b"fduikou", b"fcamera"),
    "other assertion": lambda content: content.replace(b"c2pa.actions.v2", b"c2pa.actions.xx"),
    "assertion of a camera": lambda content: content.replace(b"c2pa.actions.v2", b"stds.exif.photo"),
    "other purpose": lambda content: content.replace(b"Signature1", b"Signature2"),
    "more behind it": lambda content: content + b"\0",
    "cut": lambda content: content[:-1],
    "nothing": lambda content: b"",
    "a certificate": lambda content: content[content.index(b"0\x82") :],
    "endless list": lambda content: b"\x9b" + b"\xff" * 8,
    "deep": lambda content: b"\x81" * 30_000,
    "long": lambda content: content + bytes(40_000),
    "text": lambda content: b"GET / HTTP/1.1",
}


@pytest.mark.parametrize("what", FORGERIES)
def test_nothing_else_is_signed(claim: tuple[Certificate, bytes], what: str) -> None:
    certificate, content = claim
    forged = FORGERIES[what](content)
    assert forged != content
    with pytest.raises(InputError, match=r"is no claim of duikou|of no file that is left"):
        Notary(certificate, ["result.mp4"]).sign(forged)


def test_no_damage_to_a_claim_is_more_than_refused(claim: tuple[Certificate, bytes]) -> None:
    certificate, content = claim
    signed = 0
    for at in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        with suppress(InputError):
            signed += bool(Notary(certificate, ["result.mp4"]).sign(bytes(damaged)))
    assert signed < len(content), "digests and ids may be any"


def test_a_child_that_asks_for_another_signature_gets_none(worker: SandboxProcess, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "own")
    with pytest.raises(InputError, match="is no claim of duikou"):
        worker.run(hostile_work.ask, answer=Notary(certificate, ["result.mp4"]).sign)
