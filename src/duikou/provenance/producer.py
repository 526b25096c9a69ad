"""Who answers for results: the name in the AIGC label and the certificate that signs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from duikou.errors import StorageError
from duikou.provenance import certificates, credentials
from duikou.provenance.certificates import Certificate
from duikou.provenance.label import Label
from duikou.settings import Settings

NAME = "duikou"


@dataclass(frozen=True)
class Producer:
    """A name or code for the AIGC label, and a certificate that was seen to sign. Paths only: no key inside."""

    name: str
    certificate: Certificate


def producer(folder: Path, *, name: str = NAME, certificate: Path | None = None, key: Path | None = None) -> Producer:
    """The producer of these settings, checked by a trial signature.

    folder: where the self-made certificate is kept, which serves where no `certificate` with its `key` is given.
    Raises `InputError` that names the setting at fault, `StorageError` where no certificate can be made.
    """
    Label.first(name, "trial")
    chosen = certificates.own(folder) if certificate is None or key is None else Certificate(certificate, key)
    credentials.check(chosen)
    return Producer(name, chosen)


def configured(settings: Settings, folder: Path) -> Producer:
    """The producer that the settings name; `folder`, and what is raised, as for `producer`."""
    return producer(folder, name=settings.aigc_producer, certificate=settings.c2pa_certificate, key=settings.c2pa_key)


def user_folder() -> Path:
    """Where a user's programs keep their data: `$XDG_DATA_HOME/duikou`, by default `~/.local/share/duikou`."""
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "duikou"
    except RuntimeError as error:
        raise StorageError("this user has no home folder for a certificate; set XDG_DATA_HOME.") from error
