"""Faults of `make faults`, once each, on a fleet: what was accepted ends once, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from services import need

from tests.faults.kinds import FAULTS
from tests.faults.once import require_nothing_lost
from tests.faults.systems import Installations

pytestmark = pytest.mark.long

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


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    need("postgres", "rabbit", "s3")
    with Installations(tmp_path_factory.mktemp("installations")) as made:
        yield made


@pytest.mark.parametrize("name", FAULT)
def test_nothing_is_lost_or_doubled(installations: Installations, name: str) -> None:
    require_nothing_lost(installations, FAULT[name])
