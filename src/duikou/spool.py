"""Large arrays of which a few rows are read at a time, outside of memory."""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, IntArray
from duikou.errors import StorageError
from duikou.units import MIB

Number = TypeVar("Number", bound=np.generic)

LEAST = 8 * MIB
"""Bytes from which rows are worth a file: the landmarks of a face that shows for five minutes."""


class Rows(Generic[Number]):
    """The rows of an array (N, ...), written once and read in parts.

    From `LEAST` bytes on they lie in a temporary file without a name, of which memory holds only what is being read.
    """

    def __init__(self, shape: tuple[int, ...], kind: type[Number], blocks: Iterable[npt.NDArray[Number]]) -> None:
        """blocks: of rows, in order. Raises `StorageError` where the file cannot be written."""
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


def _written(size: int, blocks: Iterable[npt.NDArray[Number]]) -> mmap.mmap:
    """A temporary file of so many bytes that holds the blocks; the system removes it when it is no longer used."""
    try:
        with tempfile.TemporaryFile(prefix="duikou-") as file:
            for block in blocks:
                file.write(np.ascontiguousarray(block).data)
            file.flush()
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"the folder for temporary files, {tempfile.gettempdir()}, cannot be written: {reason}."
        ) from error
