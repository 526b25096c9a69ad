"""Faults of `make faults` on a server alone, once each: what was accepted ends once, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.once import chosen, require_nothing_lost
from tests.faults.systems import Installations

pytestmark = [pytest.mark.long, pytest.mark.slow_repeats]

FAULT = chosen(fleet=False)


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    with Installations(tmp_path_factory.mktemp("installations")) as made:
        yield made


@pytest.mark.parametrize("name", FAULT)
def test_nothing_is_lost_or_doubled(installations: Installations, name: str) -> None:
    require_nothing_lost(installations, FAULT[name])
