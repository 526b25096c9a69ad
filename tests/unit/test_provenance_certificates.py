"""Certificates: a self-signed one is created once and only its owner can read it, a bad one is found before work."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificate_maker import DAY, Key, make_certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from duikou.cli.terminal import read_settings
from duikou.errors import InputError, StorageError
from duikou.provenance import certificates, credentials
from duikou.provenance.certificates import Certificate
from duikou.provenance.producer import configured, producer, user_folder
from duikou.settings import Settings


def test_our_own_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    made = certificates.self_signed(folder)
    content = made.chain.read_bytes(), made.key.read_bytes()
    again = certificates.self_signed(folder)
    assert again == made
    assert (again.chain.read_bytes(), again.key.read_bytes()) == content
    assert [path.name for path in folder.iterdir()] == ["certificate"]
    assert sorted(path.name for path in made.chain.parent.iterdir()) == ["chain.pem", "key.pem"]


def test_nobody_else_can_read_our_own(tmp_path: Path) -> None:
    made = certificates.self_signed(tmp_path)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700


def test_our_own_has_what_c2pa_asks_for(tmp_path: Path) -> None:
    owned, authority = x509.load_pem_x509_certificates(certificates.self_signed(tmp_path).chain.read_bytes())
    owned.verify_directly_issued_by(authority)
    assert isinstance(owned.public_key(), ec.EllipticCurvePublicKey)
    assert not owned.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert owned.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    purposes = owned.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (owned.not_valid_after_utc - owned.not_valid_before_utc).days > 10 * 365


def test_two_that_start_at_once_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, make = threading.Barrier(4), certificates._generate

    def made_at_once() -> tuple[bytes, bytes]:
        together.wait(30)  # all have seen by now that there is none
        return make()

    monkeypatch.setattr(certificates, "_generate", made_at_once)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: certificates.self_signed(tmp_path), range(4)))
    assert len(set(found)) == 1
    credentials.check(found[0])
    assert [path.name for path in tmp_path.iterdir()] == ["certificate"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="certificate cannot be created"):
        certificates.self_signed(tmp_path / "file")


def test_nothing_is_left_of_one_that_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        certificates.self_signed(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "es256"),
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    ],
    ids=["p256", "p384", "rsa", "ed25519"],
)
def test_every_kind_of_key_that_c2pa_knows_signs(tmp_path: Path, key: Key, algorithm: str) -> None:
    given = make_certificate(tmp_path, key)
    assert given.load()[0] == algorithm
    credentials.check(given)


def test_a_key_in_openssls_older_form_signs(tmp_path: Path) -> None:
    given = make_certificate(tmp_path, form=PrivateFormat.TraditionalOpenSSL)
    assert b"BEGIN EC PRIVATE KEY" in given.key.read_bytes()
    credentials.check(given)


def bad(tmp_path: Path, what: str) -> Certificate:
    good = make_certificate(tmp_path)
    match what:
        case "no chain":
            good.chain.unlink()
        case "no key":
            good.key.unlink()
        case "junk chain":
            good.chain.write_text("junk")
        case "junk key":
            good.key.write_text("junk")
        case "another key":
            return Certificate(good.chain, make_certificate(tmp_path / "other").key)
        case "odd curve":
            return make_certificate(tmp_path, ec.generate_private_key(ec.SECP256K1()))
        case "expired":
            return make_certificate(tmp_path, ends=-DAY)
        case "for web servers":
            return make_certificate(tmp_path, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    return good


@pytest.mark.parametrize(
    ("what", "field", "sentence"),
    [
        ("no chain", "certificate", r"chain\.pem cannot be read \(No such file or directory\)"),
        ("no key", "key", r"key\.pem cannot be read \(No such file or directory\)"),
        ("junk chain", "certificate", "holds no certificate in PEM"),
        ("junk key", "key", "holds no unencrypted private key in PEM"),
        ("another key", "key", "is not the key of the first certificate"),
        ("odd curve", "key", "of a kind that C2PA does not support"),
        ("expired", "certificate", "cannot sign Content Credentials"),
        ("for web servers", "certificate", "cannot sign Content Credentials"),
    ],
)
def test_a_bad_certificate_is_found_before_any_work(tmp_path: Path, what: str, field: str, sentence: str) -> None:
    given = bad(tmp_path, what)
    with pytest.raises(InputError, match=sentence) as caught:
        producer(tmp_path, certificate=given.chain, key=given.key)
    assert caught.value.field == field


def test_the_settings_name_the_producer(tmp_path: Path) -> None:
    given = make_certificate(tmp_path)
    settings = Settings(c2pa_certificate=given.chain, c2pa_key=given.key, aigc_producer="example")
    made_by = configured(settings, tmp_path / "unused")
    assert (made_by.name, made_by.certificate) == ("example", given)
    assert not (tmp_path / "unused").exists()
    with pytest.raises(InputError, match=r"^aigc_producer: .* printable ASCII"):
        configured(Settings(aigc_producer="two words"), tmp_path)


def test_certificate_and_key_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="must be set together"):
        Settings(c2pa_key=Path("key.pem"))
    monkeypatch.setenv("DUIKOU_C2PA_KEY", "key.pem")
    with pytest.raises(InputError, match=r"^DUIKOU_C2PA_CERTIFICATE and DUIKOU_C2PA_KEY must be set together$"):
        read_settings()
    monkeypatch.setenv("DUIKOU_C2PA_KEY", "")
    assert read_settings().c2pa_key is None


def test_where_a_users_certificate_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "duikou"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".local/share/duikou"
