"""What `duikou doctor` finds out about the database, the broker, the storage and the packages that they need.

Nothing is created or migrated, and no password is shown.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from duikou.cli.checks import Check
from duikou.errors import DuikouError

if TYPE_CHECKING:
    from duikou.settings import Settings

PATIENCE_S: Final = 10.0  # with a file storage that does not answer
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9_.-]+)(?:\[.*?\])?[^;]*;.*extra == [\"'](\w+)[\"']")


def examine(settings: Settings) -> Iterator[Check]:
    """The checks of everything that these settings name. None of them raises."""
    packages = _packages(settings)
    yield packages
    if "missing" in packages.found:
        return  # what cannot be asked is no second fault
    from duikou.telemetry import logs

    logs.configure(settings.secrets())
    yield _checked("database", lambda: _database(settings), _database_remedy(settings))
    yield _checked(
        "broker",
        lambda: _broker(settings),
        "see that it runs, and that DUIKOU_BROKER_URL has a user, a password and a virtual host that it knows",
    )
    yield _checked(
        "storage",
        lambda: _storage(settings),
        "see that the bucket or folder of DUIKOU_STORAGE_URL exists, and that the AWS_ variables may list, read, write "
        "and delete in it"
        if settings.storage_url
        else "make DUIKOU_DATA a folder that this user may write to",
    )


def _checked(name: str, look: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, True, look())
    except DuikouError as error:
        return Check(name, False, re.sub(r"^(\w+_url|data): ", "", str(error)), remedy)
    except Exception as error:  # its text may repeat an address
        return Check(name, False, f"unexpected {type(error).__name__}", remedy)


def _packages(settings: Settings) -> Check:
    fleet = bool(settings.database_url or settings.broker_url or settings.storage_url.startswith("s3:"))
    extras = ["fleet"] if fleet else ["server"]
    extras += ["otel"] if settings.otel_endpoint else []
    absent = sorted(set(_absent({"server", *extras})))
    wanted = f"duikou[{','.join(extras)}]"
    if not absent:
        return Check("packages", True, f"those of {wanted} are there")
    # The library and `duikou sync` need none of them: only who has set up a server lacks something.
    needed = fleet or bool(settings.otel_endpoint) or settings.data.exists()
    return Check(
        "packages",
        not needed,
        f"{', '.join(absent)} of {wanted} missing" + ("" if needed else ", which only servers need"),
        f"{sys.executable} -m pip install '{wanted}'" if needed else "",
    )


def _absent(extras: set[str]) -> Iterator[str]:
    """The packages of these extras that cannot be imported."""
    modules: dict[str, list[str]] = {}
    for module, packages in importlib.metadata.packages_distributions().items():
        for package in packages:
            modules.setdefault(_plain(package), []).append(module)
    for line in importlib.metadata.requires("duikou") or ():
        found = _REQUIREMENT.match(line)
        wanted = found[1] if found and found[2] in extras and found[1] != "duikou" else ""
        if wanted and not any(map(_can_be_imported, modules.get(_plain(wanted), ()))):
            yield wanted


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _can_be_imported(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _database(settings: Settings) -> str:
    from duikou.database.engine import look
    from duikou.storage.data_folder import DataFolder

    return look(settings.database_url or DataFolder(settings.data).database_url)


def _database_remedy(settings: Settings) -> str:
    if not settings.database_url:
        return "move the file away, or restore a backup"
    return (
        "see that it runs, that it knows the user, the password and the database of DUIKOU_DATABASE_URL, and that the "
        "user owns that database"
    )


def _broker(settings: Settings) -> str:
    if not settings.broker_url:
        return "none: servers run their tasks themselves"
    from duikou.workers.celery_app import require_broker

    require_broker(settings)
    return f"{'Redis' if settings.broker_url.startswith('redis') else 'RabbitMQ'} answers"


def _storage(settings: Settings) -> str:
    """Writes and removes a file of a few bytes, since a bucket may be readable alone."""
    if not settings.storage_url:
        folder = settings.data.absolute()
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise _unwritable(existing)
        return f"the data folder {folder}"
    from duikou.database.ids import new_id
    from duikou.storage.factory import reached_files

    with tempfile.TemporaryDirectory() as made:
        folder, key = Path(made), f"media/{new_id()}.doctor"
        files = reached_files(settings.storage_url, folder, folder, PATIENCE_S)
        (folder / "written").write_bytes(b"duikou doctor")
        files.put(folder / "written", key)
        try:
            files.copy(key, folder / "read")
        finally:
            files.remove(key)
    return "S3 answers, and takes files" if settings.storage_url.startswith("s3:") else "the folder takes files"


def _unwritable(folder: Path) -> DuikouError:
    from duikou.errors import StorageError

    return StorageError(f"{folder} is not writable")
