"""Keeps what is read seldom outside of memory once it is large: in temporary files without a name.

The system removes such a file when it is no longer used. Where it cannot be written, that is a `StorageError`.
"""

from __future__ import annotations

import math
import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, IntArray
from duikou.errors import StorageError
from duikou.units import MIB

Number = TypeVar("Number", bound=np.generic)

LEAST = 8 * MIB
"""Bytes that are worth a file: the packed landmarks of a face that shows for five minutes."""

PREFIX = "duikou-"


class Rows(Generic[Number]):
    """The rows of an array (N, ...), written once and read in parts, from `LEAST` bytes on in a file."""

    def __init__(self, shape: tuple[int, ...], kind: type[Number], blocks: Iterable[npt.NDArray[Number]]) -> None:
        """blocks: of rows, in order."""
        self.shape = shape
        self._kind = np.dtype(kind)
        self._file = None if self.nbytes < LEAST else _written(self.nbytes, blocks)
        if self._file is None:
            none = np.empty((0, *shape[1:]), self._kind)
            self._rows: npt.NDArray[Number] = np.concatenate([none, *blocks])
        else:
            self._rows = np.frombuffer(self._file, self._kind).reshape(shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, wherever they lie."""
        return math.prod(self.shape) * self._kind.itemsize

    def __getitem__(self, rows: BoolArray | IntArray | slice) -> npt.NDArray[Number]:
        """A copy of some rows."""
        found = np.array(self._rows[rows])
        if self._file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)  # else the pages that were read would stay
        return found


class Records:
    """Bytes that are put aside one after another and read again, beyond `LEAST` in a file. Not thread-safe."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(LEAST, prefix=PREFIX)  # noqa: SIM115 - it lives as long as this
        weakref.finalize(self, self._file.close)
        self._size = 0

    def put(self, record: bytes) -> int:
        """Put a record aside. Returns its place."""
        place = self._size
        with _storage_errors():
            self._file.seek(place)
            self._file.write(record)
        self._size += len(record)
        return place

    def get(self, place: int, size: int) -> bytes:
        """The bytes of a record, or the first of them."""
        self._file.seek(place)
        return self._file.read(size)


def _written(size: int, blocks: Iterable[npt.NDArray[Number]]) -> mmap.mmap:
    """A file of so many bytes that holds the blocks."""
    with _storage_errors(), tempfile.TemporaryFile(prefix=PREFIX) as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
        file.flush()
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"temporary files (TMPDIR) cannot be written: {error.strerror or error}.") from error
