"""One trial of one fault, as a test."""

from __future__ import annotations

import os

import pytest

from tests.faults.rounds import Fault, tried
from tests.faults.systems import Installations

SEED = 1


def require_nothing_lost(installations: Installations, fault: Fault) -> None:
    """Fail the test if anything was lost, doubled or left behind; skip it if no small disk can be made."""
    try:
        system = installations.like(fault.setup)
    except PermissionError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    tally = tried(fault, 1, system, SEED)
    if tally.wrong:
        installations.give_up()
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.ended == tally.accepted > 0
