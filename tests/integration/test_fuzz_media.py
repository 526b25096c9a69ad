"""Damaged files of every kind through the real worker: values or one clear sentence, and a child that lives on."""

from __future__ import annotations

from pathlib import Path

import campaign
import mutants
import pytest
from repeats import repeats

pytestmark = pytest.mark.long

COUNT = repeats(2_000, 300)  # `make fuzz` tries more
START = 0  # the first number of each seed's mutants


@pytest.mark.parametrize("name", mutants.SEEDS)
def test_a_seed_is_good_and_its_mutants_are_made_again_exactly(tmp_path: Path, name: str) -> None:
    path = tmp_path / "seed"
    path.write_bytes(mutants.seed(name))
    assert mutants.read(path, lambda stage, share: None)
    assert mutants.bytes_of(name, 3) == mutants.bytes_of(name, 3) != mutants.bytes_of(name, 4)
    mutants.seed.cache_clear()
    assert path.read_bytes() == mutants.seed(name)


@pytest.mark.slow_repeats
def test_no_mutant_does_harm(tmp_path: Path) -> None:
    report = campaign.run(campaign.numbered(START, COUNT), tmp_path)
    assert not report.findings, "\n".join(report.findings)
    assert report.mutants == COUNT
    assert report.accepted > COUNT // 4, "hardly any mutant got past the probe: nothing behind it was tried"
    assert report.refused > COUNT // 4, "hardly any mutant was refused: the damage is too small to matter"
    assert list(tmp_path.iterdir()) == []
