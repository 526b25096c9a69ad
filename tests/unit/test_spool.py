"""What is read seldom, outside of memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duikou import spool
from duikou.errors import StorageError
from duikou.spool import Records, Rows
from duikou.units import MIB

PROC = Path("/proc/self/status")
SHAPE = (500, 7, 3)


def blocks(shape: tuple[int, ...] = SHAPE) -> Iterator[npt.NDArray[np.int16]]:
    """Values that tell each row from the others, a few rows at a time; not contiguous."""
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape[::-1]).T
    return iter(np.array_split(values, 9))


@pytest.mark.parametrize("least", [1, 1 << 40], ids=["in a file", "in memory"])
def test_rows_are_those_that_were_written(least: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spool, "LEAST", least)
    rows, wanted = Rows(SHAPE, np.int16, blocks()), np.concatenate(list(blocks()))
    assert (len(rows), rows.shape, rows.nbytes) == (500, SHAPE, wanted.nbytes)
    for some in (slice(None), slice(3, 9), slice(0, 0), np.array([400, 2]), np.arange(500) % 3 == 0):
        assert np.array_equal(rows[some], wanted[some])
        assert rows[some].dtype == np.int16
    part = rows[2:4]
    part[:] = 0
    assert np.array_equal(rows[2:4], wanted[2:4]), "what was read is a copy"
    assert not list(tmp_path.iterdir()), "the file has no name"


def test_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LEAST", 1)
    none: Rows[np.int16] = Rows((0, 7, 3), np.int16, iter(()))
    assert (len(none), none[:].shape) == (0, (0, 7, 3))


@pytest.mark.parametrize("least", [30, 1 << 40], ids=["in a file", "in memory"])
def test_records_are_read_at_their_places(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LEAST", least)
    records, wanted = Records(), [bytes([number]) * (number + 1) for number in range(20)]
    places = []
    for number, one in enumerate(wanted):
        places.append(records.put(one))
        assert records.get(places[number // 2], number // 2 + 1) == wanted[number // 2], "reading does not move the end"
    for place, one in reversed(list(zip(places, wanted, strict=True))):
        assert records.get(place, len(one)) == one


@pytest.mark.skipif(not PROC.exists(), reason="only Linux tells which pages of a process are in memory")
def test_rows_that_were_read_do_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (4_000, 1_000)  # 7.6 MiB
    wanted = np.concatenate(list(blocks(shape)))
    monkeypatch.setattr(spool, "LEAST", 1)
    rows = Rows(shape, np.int16, blocks(shape))
    before = resident_mib()
    for start in range(0, len(rows), 100):
        assert np.array_equal(rows[start : start + 100], wanted[start : start + 100])
    assert resident_mib() - before < 2


def resident_mib() -> float:
    """Pages of files that this process has in memory."""
    lines = (line.split() for line in PROC.read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "RssFile:") * 1024 / MIB


def test_a_full_disk_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on a process's files")
    monkeypatch.setattr(spool, "LEAST", 1)
    records = Records()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    refused = r"^temporary files \(TMPDIR\) cannot be written: .+\.$"
    try:
        with pytest.raises(StorageError, match=refused):
            Rows(SHAPE, np.int16, blocks())
        with pytest.raises(StorageError, match=refused):
            for _ in range(20):
                records.put(bytes(1_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
