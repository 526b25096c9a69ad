"""The producer of results: the name in the AIGC label and the certificate that signs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from duikou.errors import InputError, StorageError
from duikou.provenance import certificates, credentials
from duikou.provenance.certificates import Certificate
from duikou.provenance.label import Label
from duikou.settings import Settings

NAME: Final = "duikou"

_SETTINGS: Final = {"name": "aigc_producer", "certificate": "c2pa_certificate", "key": "c2pa_key"}
"""The setting behind each parameter of `producer`."""


@dataclass(frozen=True)
class Producer:
    """A name or code for the AIGC label, and a certificate that passed a trial signature. Holds paths, no key.

    certificate: `None` where somebody else signs.
    """

    name: str
    certificate: Certificate | None


def producer(folder: Path, *, name: str = NAME, certificate: Path | None = None, key: Path | None = None) -> Producer:
    """A producer with this name and certificate, checked by a trial signature.

    folder: where the self-signed certificate is stored, which is used unless a `certificate` with its `key` is given.
    Raises `InputError` that names the wrong parameter, `StorageError` if no certificate can be created.
    """
    try:
        Label.first(name, "trial")
    except InputError as error:
        raise error.renamed("name") from error
    chosen = certificates.self_signed(folder) if certificate is None or key is None else Certificate(certificate, key)
    credentials.check(chosen)
    return Producer(name, chosen)


def configured(settings: Settings, folder: Path) -> Producer:
    """The producer of the settings; `folder` as for `producer`.

    Raises `InputError` that names the wrong setting, `StorageError` if no certificate can be created.
    """
    chain, key = settings.c2pa_certificate, settings.c2pa_key
    try:
        return producer(folder, name=settings.aigc_producer, certificate=chain, key=key)
    except InputError as error:
        raise _of_setting(error, settings) from None


def check_name(settings: Settings) -> None:
    """Raise `InputError` that names the setting where the settings' producer cannot be a producer."""
    try:
        Label.first(settings.aigc_producer, "trial")
    except InputError as error:
        raise _of_setting(error.renamed("name"), settings) from None


def _of_setting(error: InputError, settings: Settings) -> InputError:
    """The error with the name of the setting at fault, and without any setting's value."""
    reason = error.reason.replace(repr(settings.aigc_producer), "the name")
    for path, shown in ((settings.c2pa_certificate, "the certificate file"), (settings.c2pa_key, "the key file")):
        reason = reason.replace(str(path), shown) if path else reason
    return InputError(reason, field=_SETTINGS.get(error.field, error.field))


def user_folder() -> Path:
    """The folder for this user's data: `$XDG_DATA_HOME/duikou`, by default `~/.local/share/duikou`."""
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "duikou"
    except RuntimeError as error:
        raise StorageError("this user has no home folder to store a certificate in; set XDG_DATA_HOME.") from error
