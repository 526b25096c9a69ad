"""The certificate that signs results: a configured one, or a self-signed one that is created on first use.

C2PA 2.x, "X.509 certificates", sets the requirements. The self-signed one has ES256, an end entity below an authority,
key usage `digitalSignature` and extended key usage `emailProtection`.
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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from duikou.errors import InputError, StorageError

SELF_SIGNED: Final = "duikou self-signed certificate"
"""Organization in self-signed certificates. Anyone can write it: it shows that nobody vouches for the signer."""

SELF_SIGNED_NAMES: Final = frozenset({SELF_SIGNED, "duikou self-made certificate"})
"""Every such Organization: certificates written by earlier versions have the second one and remain in use."""

_NAME: Final = "certificate"
_CHAIN, _KEY = "chain.pem", "key.pem"
_YEARS: Final = 20  # without a time stamp a signature is valid as long as its certificate
_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_HASHES: Final = {"es256": hashes.SHA256(), "es384": hashes.SHA384(), "es512": hashes.SHA512()}

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Certificate:
    """Paths of the signer's chain (PEM, its own certificate first) and its private key (PEM, PKCS#8)."""

    chain: Path
    key: Path

    def load(self) -> tuple[str, bytes, bytes]:
        """C2PA's name of the algorithm, the chain and the key.

        Raises `InputError` that names `certificate` or `key`.
        """
        algorithm, chain, private = self._read()
        # C2PA takes PKCS#8 only.
        return algorithm, chain, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public(self) -> tuple[str, bytes]:
        """C2PA's name of the algorithm and the chain: what anybody may see. Raises as `load`."""
        algorithm, chain, _ = self._read()
        return algorithm, chain

    def signature(self, content: bytes) -> bytes:
        """The signature of these bytes, in DER where the algorithm is ECDSA. Raises as `load`."""
        algorithm, _, private = self._read()
        match private:
            case ec.EllipticCurvePrivateKey():
                return private.sign(content, ec.ECDSA(_HASHES[algorithm]))
            case rsa.RSAPrivateKey():
                salted = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
                return private.sign(content, salted, hashes.SHA256())
        return private.sign(content)

    def _read(self) -> tuple[str, bytes, PrivateKey]:
        chain, key = _read(self.chain, "certificate"), _read(self.key, "key")
        try:
            certificates = x509.load_pem_x509_certificates(chain)
        except ValueError as error:
            raise InputError(f"{self.chain} holds no certificate in PEM.", field="certificate") from error
        try:
            private = serialization.load_pem_private_key(key, None)
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.key} holds no unencrypted private key in PEM.", field="key") from error
        form = Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        if certificates[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
            raise InputError(f"{self.key} is not the key of the first certificate in {self.chain}.", field="key")
        if isinstance(private, PrivateKey):
            if not isinstance(private, ec.EllipticCurvePrivateKey):
                return "ps256" if isinstance(private, rsa.RSAPrivateKey) else "ed25519", chain, private
            if private.curve.name in _CURVES:
                return _CURVES[private.curve.name], chain, private
        raise InputError(
            f"{self.key} is of a kind that C2PA does not support; use P-256, P-384, P-521, RSA or Ed25519.", field="key"
        )


def self_signed(folder: Path) -> Certificate:
    """The self-signed certificate in `folder`, created if there is none. If two processes race, both get the same one.

    The key of the authority above it is not stored. Raises `StorageError`.
    """
    place = folder / _NAME
    with _storage_errors(place):
        if not place.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _write(place, *_generate())
    return Certificate(place / _CHAIN, place / _KEY)


def export_self_signed(folder: Path) -> bytes:
    """The self-signed certificate in `folder` with its key, for `import_self_signed`. Created if there is none."""
    certificate = self_signed(folder)
    with _storage_errors(folder / _NAME):
        return certificate.chain.read_bytes() + certificate.key.read_bytes()


def import_self_signed(folder: Path, content: bytes) -> None:
    """Replace the certificate in `folder` with one that other machines sign with too. Raises `StorageError`."""
    start = content.index(b"-----BEGIN PRIVATE KEY")
    place = folder / _NAME
    with _storage_errors(place):
        shutil.rmtree(place, ignore_errors=True)
        _write(place, content[:start], content[start:])


def _write(place: Path, chain: bytes, key: bytes) -> None:
    new = Path(tempfile.mkdtemp(prefix=f".{_NAME}.", dir=place.parent))  # readable by its owner alone
    try:
        for name, content in ((_CHAIN, chain), (_KEY, key)):
            with open(new / name, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            new.rename(place)  # both files at once; fails if another process was first
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _generate() -> tuple[bytes, bytes]:
    """A new chain of an end entity and the authority that signed it, and the end entity's key, in PEM."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("duikou self-signed authority", authority_key, None, authority_key)
    certificate = _certificate("duikou", key, authority, authority_key)
    return (
        certificate.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """A certificate for `key`: an authority if there is no issuer, else an end entity that may sign."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, SELF_SIGNED), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    is_authority = issuer is None
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
    usage |= {"key_cert_sign": True, "crl_sign": True} if is_authority else {"digital_signature": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not is_authority:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(above, critical=False).add_extension(purpose, critical=False)
    return builder.sign(signer, hashes.SHA256())


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
        raise StorageError(f"the certificate {place} cannot be created: {error.strerror or error}.") from error
