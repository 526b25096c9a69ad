"""The other half of the faults on a fleet; see test_faults_fleet.py. None of them is among the quick ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from repeats import FULL
from services import need

from tests.faults.once import chosen, require_nothing_lost
from tests.faults.systems import Installations

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow_repeats,
    pytest.mark.skipif(not FULL, reason="`make test-repeats` has them"),
]

FAULT = chosen(fleet=True, apart=True)


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    need("postgres", "rabbit", "s3")
    with Installations(tmp_path_factory.mktemp("installations")) as made:
        yield made


@pytest.mark.parametrize("name", FAULT)
def test_nothing_is_lost_or_doubled(installations: Installations, name: str) -> None:
    require_nothing_lost(installations, FAULT[name])
