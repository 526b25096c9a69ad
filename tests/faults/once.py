"""One trial of one fault, as a test."""

from __future__ import annotations

import os

import pytest
from repeats import FULL

from tests.faults.kinds import FAULTS
from tests.faults.rounds import Fault, tried
from tests.faults.systems import Installations

SEED = 1
QUICK = ("fleet-worker-killed", "fleet-database-killed", "server-child-killed", "server-killed")


def chosen(*, fleet: bool) -> dict[str, Fault]:
    """The faults of a fleet or of a server alone, by name: those of `QUICK`, or all where tests repeat in full."""
    return {one.name: one for one in FAULTS if one.setup.fleet == fleet and (FULL or one.name in QUICK)}


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
