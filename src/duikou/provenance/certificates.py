"""What results are signed with: a configured certificate, or one of our own making.

The demands on it are those of C2PA 2.x, "X.509 certificates": for us ES256, an end entity below an authority, key usage
`digitalSignature`, extended key usage `emailProtection`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from duikou.errors import InputError, StorageError

SELF_MADE: Final = "duikou self-made certificate"
"""Organization that our own certificates name. Anyone can write that: it says who did not sign, not who did."""

_NAME: Final = "certificate"
_CHAIN, _KEY = "chain.pem", "key.pem"
_YEARS: Final = 20  # without a time stamp a signature lasts as long as its certificate
_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Certificate:
    """Where the signer's chain (PEM, its own certificate first) and its private key (PEM, PKCS#8) are."""

    chain: Path
    key: Path

    def load(self) -> tuple[str, bytes, bytes]:
        """C2PA's name of the algorithm, the chain and the key. Raises `InputError` that names the setting at fault."""
        chain, key = _read(self.chain, "c2pa_certificate"), _read(self.key, "c2pa_key")
        try:
            certificates = x509.load_pem_x509_certificates(chain)
        except ValueError as error:
            raise InputError(f"{self.chain} holds no certificate in PEM.", field="c2pa_certificate") from error
        try:
            private = serialization.load_pem_private_key(key, None)
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.key} holds no unencrypted private key in PEM.", field="c2pa_key") from error
        form = Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        if certificates[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
            raise InputError(f"{self.key} is not the key of the first certificate in {self.chain}.", field="c2pa_key")
        # Whatever PEM came, C2PA gets PKCS#8.
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return _algorithm(private, self.key), chain, pem


def own(folder: Path) -> Certificate:
    """The self-made certificate kept in `folder`, made now where there is none. Of two processes one makes it.

    The key of the authority above it is forgotten at once. Raises `StorageError`.
    """
    place = folder / _NAME
    with _storage_errors(place):
        if not place.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _make(place)
    return Certificate(place / _CHAIN, place / _KEY)


def exported(folder: Path) -> bytes:
    """The self-made certificate of `folder` with its key, as `adopt` takes it. Made now where there is none."""
    certificate = own(folder)
    with _storage_errors(folder / _NAME):
        return certificate.chain.read_bytes() + certificate.key.read_bytes()


def adopt(folder: Path, content: bytes) -> None:
    """Have `folder` hold that certificate, with which others sign as well. Raises `StorageError`."""
    start = content.index(b"-----BEGIN PRIVATE KEY")
    place = folder / _NAME
    with _storage_errors(place):
        shutil.rmtree(place, ignore_errors=True)
        _write(place, content[:start], content[start:])


def _make(place: Path) -> None:
    _write(place, *_self_made())


def _write(place: Path, chain: bytes, key: bytes) -> None:
    new = Path(tempfile.mkdtemp(prefix=f".{_NAME}.", dir=place.parent))  # readable by its owner alone
    try:
        for name, content in ((_CHAIN, chain), (_KEY, key)):
            with open(new / name, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            new.rename(place)  # both files at once; fails where another process came first
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _self_made() -> tuple[bytes, bytes]:
    """A chain of an end entity and the authority that signed it, and the end entity's key, in PEM."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("duikou self-made authority", authority_key, None, authority_key)
    certificate = _certificate("duikou", key, authority, authority_key)
    return (
        certificate.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """A certificate for `key`: an authority where there is no issuer, else an end entity that may sign."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, SELF_MADE), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    leads = issuer is None
    start = datetime.now(UTC) - timedelta(days=1)  # clocks differ
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage |= {"key_cert_sign": True, "crl_sign": True} if leads else {"digital_signature": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=leads, path_length=0 if leads else None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not leads:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(above, critical=False).add_extension(purpose, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _algorithm(key: object, path: Path) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise InputError(
        f"{path} is of a kind that C2PA does not sign with; it takes P-256, P-384, P-521, RSA and Ed25519.",
        field="c2pa_key",
    )


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).", field=field) from error


@contextmanager
def _storage_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"the certificate {place} cannot be made: {error.strerror or error}.") from error
