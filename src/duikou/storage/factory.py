"""Opens the storage that the settings name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from duikou.errors import StorageError
from duikou.storage.base import Files
from duikou.storage.local import LocalFiles


def open_files(url: str, root: Path, scratch: Path, patience_s: float) -> Files:
    """The storage that `storage_url` names, the folder `root` where it names none. It is not asked for anything yet.

    Raises `StorageError` where the URL names no storage or a package is missing.

    scratch: folder for workspaces of an object storage. patience_s: seconds for which a storage that does not answer
    is asked again.
    """
    if not url:
        return LocalFiles(root)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme == "file" and not (parts.netloc or parts.query or parts.fragment) and parts.path.startswith("/"):
        return LocalFiles(Path(unquote(parts.path)))
    if parts.scheme == "s3" and not parts.fragment:
        try:
            from duikou.storage.s3 import ObjectFiles
        except ModuleNotFoundError as error:
            raise StorageError("storage_url: s3 needs the package obstore; install duikou[fleet]") from error
        return ObjectFiles(url, scratch, patience_s)
    raise StorageError("storage_url: must be empty, file:///folder or s3://bucket/prefix?endpoint=...&region=...")


def reached_files(url: str, root: Path, scratch: Path, patience_s: float) -> Files:
    """The same, once it has answered. Raises `StorageError` that names `storage_url` also where it does not answer."""
    files = open_files(url, root, scratch, patience_s)
    try:
        files.ping()
    except StorageError as error:
        raise StorageError(f"{'storage_url' if url else 'data'}: {error}") from error
    return files
