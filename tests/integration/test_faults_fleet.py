"""Faults of `make faults`, once each, on a fleet: what was accepted ends once, and nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from services import need

from tests.faults.kinds import FAULTS
from tests.faults.rounds import tried
from tests.faults.systems import Installations

ALIKE = (  # left to `make faults`
    "fleet-server-killed",
    "fleet-both-killed",
    "fleet-all-killed",
    "fleet-worker-cut-off",
    "fleet-broker-stopped",
    "fleet-database-stopped",
    "fleet-storage-503",
    "fleet-disk-full",
    "fleet-lines-cut",
)
FAULT = {fault.name: fault for fault in FAULTS if fault.setup.fleet and fault.name not in ALIKE}
SEED = 1


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    need("postgres", "rabbit", "s3")
    with Installations(tmp_path_factory.mktemp("installations")) as made:
        yield made


@pytest.mark.parametrize("name", FAULT)
def test_nothing_is_lost_or_doubled(installations: Installations, name: str) -> None:
    try:
        system = installations.like(FAULT[name].setup)
    except PermissionError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    tally = tried(FAULT[name], 1, system, SEED)
    if tally.wrong:
        installations.give_up()
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.ended == tally.accepted > 0
